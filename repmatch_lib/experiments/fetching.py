"""The recorded results as one file, for those who installed the package without them."""

from __future__ import annotations

import hashlib
import tempfile
import urllib.request
import zipfile
from pathlib import Path
from typing import IO
from urllib.error import URLError

from tqdm.auto import tqdm

from repmatch_lib.experiments.recorded import EPOCH, Recorded, fetched
from repmatch_lib.store import whole

PIECE = 1 << 20
LARGEST = 200 << 20  # what the results may come to is less than half of it


def archive(file: Path, there: Recorded | None = None) -> str:
    """Write all packs into one zip file; the same packs give the same bytes.

    Parameters
    ----------
    file : Path
    there : Recorded, optional
        ``data/recorded/results`` of the project if not given.

    Returns
    -------
    str
        Its SHA-256.

    Raises
    ------
    FileNotFoundError
        If a pack is not there.
    """
    there = there or Recorded()
    if missing := there.missing:
        raise FileNotFoundError(
            f"{', '.join(missing)} are not installed: get them with 'repmatch fetch-recorded ADDRESS'"
        )
    with whole(file) as temporary, zipfile.ZipFile(temporary, "w") as zipped:
        for name in sorted(there.hashes):
            zipped.writestr(zipfile.ZipInfo(name, EPOCH), there.pack_file(name).read_bytes())
    return _sha256(file)


def fetch(source: str | Path, sha256: str = "", there: Recorded | None = None, progress: bool = True) -> list[str]:
    """Put the packs of an archive where `Recorded` looks for them.

    Parameters
    ----------
    source : path or str
        A file that `archive` wrote, or its ``https`` address.
    sha256 : str
        What its hash has to be; each pack is checked against the package's own list in any case.
    there : Recorded, optional
    progress : bool
        Show how much has come.

    Returns
    -------
    list of str
        The packs.

    Raises
    ------
    ValueError
        If the archive is damaged, of another release, or not what ``sha256`` says.
    OSError
        If it cannot be read.
    """
    there, address = there or Recorded(), str(source)
    if "://" in address and not address.startswith("https://"):
        raise ValueError(f"{address}: give a file or an https address")
    with tempfile.NamedTemporaryFile() as temporary:
        file = Path(temporary.name) if "://" in address else Path(source)
        if "://" in address:
            _download(address, temporary.file, progress)
        if sha256 and _sha256(file) != sha256.lower():
            raise ValueError(f"{address} has the SHA-256 {_sha256(file)}, not {sha256}: fetch it again")
        return _unpack(file, address, there)


def _unpack(file: Path, address: str, there: Recorded) -> list[str]:
    try:
        with zipfile.ZipFile(file) as zipped:
            contents = {name: zipped.read(name) for name in zipped.namelist() if name in there.hashes}
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise ValueError(f"{address} is damaged ({error}): fetch it again") from error
    if missing := sorted(there.hashes.keys() - contents):
        raise ValueError(f"{address} lacks {', '.join(missing)}: give the archive of this release")
    for name, content in contents.items():
        if hashlib.sha256(content).hexdigest() != there.hashes[name]:
            raise ValueError(f"{name} in {address} is not that of this release: fetch the archive again")
    fetched().mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        with whole(fetched() / name) as temporary:
            temporary.write_bytes(content)
    return sorted(contents)


def _download(address: str, to: IO[bytes], progress: bool) -> None:
    try:
        with urllib.request.urlopen(address, timeout=60) as answer:
            size = int(answer.headers.get("Content-Length") or 0)
            with tqdm(total=size or None, unit="B", unit_scale=True, disable=not progress, leave=False) as bar:
                while piece := answer.read(PIECE):
                    to.write(piece)
                    bar.update(len(piece))
                    if to.tell() > LARGEST:
                        raise ValueError(f"{address} is larger than the recorded results can be")
    except URLError as error:
        raise OSError(f"{address} cannot be fetched ({error.reason}): check the address, or give a file") from error
    to.flush()


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
