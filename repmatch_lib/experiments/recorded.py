"""Recorded results: what requests came to on the real corpora, shipped with the project and frozen.

A few zip files hold them, and an index says of each what was asked, by which code it was made, and the SHA-256 of its
files. A result is found by the request alone: no corpus is needed, and new code does not make it stale.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from repmatch_lib.paths import default_store, project_file
from repmatch_lib.store import Store, key, whole, write_atomically

INDEX, PACKS = "index.json", "packs.sha256"
EPOCH = (1980, 1, 1, 0, 0, 0)  # of every file in a pack: the same results give the same bytes
UNPACKED = "recorded"  # kind of result in a store: what a pack held
FRESH = "REPMATCH_FRESH"  # set: nothing is answered by what is recorded

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Entry:
    """One recorded result.

    Attributes
    ----------
    settings : dict
        The request with all its settings, and its kind.
    pack : str
        Name of the zip file.
    files : dict of str to str
        SHA-256 of each file, by its name within the result's folder.
    made : dict
        Version of the code, and software, device and seconds where the result says them.
    """

    settings: dict[str, Any]
    pack: str
    files: dict[str, str]
    made: dict[str, Any]

    @property
    def real(self) -> bool:
        """Whether it is of real corpora, not of the bundled ones."""
        return sources(self.settings) != {"mini"}


class Recorded:
    """The folder of recorded results.

    Parameters
    ----------
    root : path, optional
        ``data/recorded/results`` of the project if not given.
    """

    def __init__(self, root: str | Path | None = None) -> None:
        self.root = Path(root) if root else project_file("data/recorded/results")

    @property
    def entries(self) -> dict[str, Entry]:
        """All of them, by the id of what was asked."""
        index = self.root / INDEX
        return _read(index, index.stat().st_mtime_ns) if index.is_file() else {}

    @property
    def hashes(self) -> dict[str, str]:
        """SHA-256 of every pack, by its name, in the format of ``sha256sum``."""
        listed = self.root / PACKS
        lines = listed.read_text().splitlines() if listed.is_file() else []
        return {name: digest for digest, name in (line.split() for line in lines)}

    def pack_file(self, name: str) -> Path:
        """A pack's file: the project's, else a fetched one, which need not be there."""
        own = self.root / name
        return own if own.is_file() else fetched() / name

    @property
    def missing(self) -> list[str]:
        """Packs that are neither with the project nor fetched."""
        return sorted(name for name in self.hashes if not self.pack_file(name).is_file())

    def find(self, asked: str, settings: Settings) -> Entry | None:
        """The entry of a request, or None.

        Parameters
        ----------
        asked : str
            The id of the settings that are not as by default.
        settings : mapping
            All of them; one that is not as it was recorded, because a default has changed, makes it another request.
        """
        entry = self.entries.get(asked)
        known = json.loads(json.dumps(settings))
        return entry if entry and _within(entry.settings, known) and self.pack_file(entry.pack).is_file() else None

    def folder(self, entry: Entry, store: Store) -> Path:
        """A result's folder, unpacked into a store.

        Raises
        ------
        ValueError
            If a file is not as it was recorded.
        """
        return store.make(UNPACKED, key(files=entry.files), lambda folder: self._unpack(entry, folder))

    def near(self, settings: Settings) -> str:
        """What is recorded nearest to a request that is not, in words."""
        if missing := self.missing:
            return f"{', '.join(missing)} are not installed: get them with 'repmatch fetch-recorded ADDRESS'."
        wanted = flat(json.loads(json.dumps(settings)))
        others = [flat(e.settings) for e in self.entries.values() if e.settings["kind"] == settings["kind"]]
        differing = [[name for name in wanted if other.get(name) != wanted[name]] for other in others]
        if not differing:
            return f"No {settings['kind']} is recorded."
        fewest = min(map(len, differing))
        values: dict[str, set[str]] = {}
        for names, other in zip(differing, others, strict=True):
            for name in names if len(names) == fewest else ():
                values.setdefault(name, set()).add(repr(other.get(name)))
        clauses = [f"{name} = {', '.join(sorted(found))} (asked: {wanted[name]!r})" for name, found in values.items()]
        return f"The nearest recorded {settings['kind']} has {'; '.join(clauses)}."

    def add(self, pack: str, results: Mapping[str, tuple[dict[str, Any], Path, list[str], dict[str, Any]]]) -> None:
        """Write results into a pack, in place of what it held.

        Parameters
        ----------
        pack : str
        results : mapping
            By id: settings, folder, names of the files in it, and what made it.
        """
        entries = {asked: entry for asked, entry in self.entries.items() if entry.pack != pack}
        with whole(self.root / pack) as temporary, zipfile.ZipFile(temporary, "w") as zipped:
            for asked, (settings, folder, names, made) in sorted(results.items()):
                contents = {name: (folder / name).read_bytes() for name in sorted(names)}
                for name, content in contents.items():
                    zipped.writestr(zipfile.ZipInfo(f"{asked}/{name}", EPOCH), content, zipfile.ZIP_DEFLATED, 9)
                hashes = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
                entries[asked] = Entry(settings, pack, hashes, made)
        packs = {entry.pack for entry in entries.values()}
        listed = {asked: asdict(entry) for asked, entry in sorted(entries.items())}
        write_atomically(self.root / INDEX, json.dumps(listed, indent=1, sort_keys=True) + "\n")
        digests = {name: hashlib.sha256((self.root / name).read_bytes()).hexdigest() for name in sorted(packs)}
        write_atomically(self.root / PACKS, "".join(f"{digest}  {name}\n" for name, digest in digests.items()))

    def _unpack(self, entry: Entry, folder: Path) -> None:
        asked = next(asked for asked, other in self.entries.items() if other == entry)
        file = self.pack_file(entry.pack)
        try:
            with zipfile.ZipFile(file) as zipped:
                for name, expected in entry.files.items():
                    content = zipped.read(f"{asked}/{name}")
                    if hashlib.sha256(content).hexdigest() != expected:
                        raise ValueError(f"{asked}/{name} is not what the index says")
                    (folder / name).parent.mkdir(parents=True, exist_ok=True)
                    (folder / name).write_bytes(content)
        except (OSError, KeyError, ValueError, zipfile.BadZipFile, zlib.error) as error:
            raise ValueError(f"the recorded results in {file} are damaged ({error}): fetch the file again") from error


def fetched() -> Path:
    """Where packs are that came after the package."""
    return default_store() / "packs"


def wanted() -> bool:
    """Whether requests may be answered by what is recorded."""
    return not os.environ.get(FRESH)


def flat(settings: Settings, prefix: str = "") -> dict[str, Any]:
    """Settings within settings by dotted names."""
    parts: dict[str, Any] = {}
    for name, value in settings.items():
        parts |= flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return parts


def sources(settings: Settings) -> set[str]:
    """Where the rows of a request come from: ``mini``, ``local``, ``hub`` or ``auto``."""
    return {value for name, value in flat(settings).items() if name.split(".")[-1] == "source"}


@lru_cache(maxsize=4)
def _read(index: Path, changed: int) -> dict[str, Entry]:
    try:
        return {asked: Entry(**content) for asked, content in json.loads(index.read_text()).items()}
    except (ValueError, TypeError) as error:
        raise ValueError(f"{index} is damaged ({error}): fetch it again") from error


def _within(recorded: Settings, current: Settings) -> bool:
    known = flat(current)
    return all(name in known and known[name] == value for name, value in flat(recorded).items())
