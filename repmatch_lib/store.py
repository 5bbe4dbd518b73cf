"""Results by the hash of what made them: written whole or not at all, found again, never stale.

The book's page on running at scale says what is kept and when it is made again.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

from repmatch_lib.paths import default_store
from repmatch_lib.versions import code_version

HASHES = "files.sha256"  # of a result's files, beside them
log = logging.getLogger(__name__)


class Store:
    """A folder of results, one folder each, named by their key.

    Safe for many processes at once: a result is made by one of them, under a lock, in a temporary folder beside its
    place, and appears there in one step. A process that is killed leaves nothing that looks like a result. A result
    whose files were changed since is made again.
    """

    def __init__(self, root: str | Path | None = None) -> None:
        self.root = Path(root) if root else default_store()

    def path(self, kind: str, key: str) -> Path:
        """Where a result is, once it is made."""
        return self.root / kind / key

    def make(self, kind: str, key: str, write: Callable[[Path], object]) -> Path:
        """Find a result, or make it.

        Parameters
        ----------
        kind : str
            Such as ``"adapters"``.
        key : str
            From `key`.
        write : callable
            Fills an empty folder. If it raises, the folder is removed and nothing is stored.

        Raises
        ------
        OSError
            If the store cannot be written: found out before ``write`` is called, where it can be.
        """
        final = self.path(kind, key)
        # Without the lock first: a result that is there is only read.
        if _is_sound(final):
            return final
        with self._writing():
            final.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(final.parent / f".{key}.lock")
            lock.acquire()
        try:
            if not _is_sound(final):  # another process may have made it meanwhile
                self._write(final, write)
        finally:
            lock.release()
        return final

    def _write(self, final: Path, write: Callable[[Path], object]) -> None:
        with self._writing():
            for abandoned in final.parent.glob(f".{final.name}-*"):  # ours alone, since we hold the lock
                shutil.rmtree(abandoned)
            temporary = Path(tempfile.mkdtemp(prefix=f".{final.name}-", dir=final.parent))
        try:
            with self._writing(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO):
                write(temporary)
            with self._writing():
                # The hashes come last, so that a folder without them is known to be incomplete.
                write_atomically(temporary / HASHES, json.dumps(_hashes(temporary), indent=1) + "\n")
                temporary.chmod(0o755)  # mkdtemp's is for its maker alone, and others may read a store
                if final.is_dir():  # it was damaged
                    shutil.rmtree(final)
                os.replace(temporary, final)
                shutil.rmtree(unfinished(temporary), ignore_errors=True)
        except BaseException as error:
            shutil.rmtree(temporary, ignore_errors=True)
            if isinstance(error, ArithmeticError | ValueError):  # it would end so again
                shutil.rmtree(unfinished(temporary), ignore_errors=True)
            raise

    @contextmanager
    def _writing(self, *reasons: int) -> Iterator[None]:
        """Say of an OSError that the store is at fault: of any, or of one for these reasons."""
        try:
            yield
        except OSError as error:
            if reasons and error.errno not in reasons:
                raise
            raise OSError(
                f"the store {self.root} cannot be written: {error}. Free some space, or set REPMATCH_STORE to a "
                "folder you may write to"
            ) from error


def stored(
    kind: str, module: str, write: Callable[[Path], object], store: Store | None = None, /, **decisive: Any
) -> Path:
    """The folder of a result: found in the store, or written there on one thread.

    Parameters
    ----------
    kind : str
        Such as ``"adapters"``.
    module : str
        The caller's ``__name__``: its code, and all that it imports, belongs to the key.
    write : callable
        Fills an empty folder.
    store : Store, optional
    **decisive
        Everything else that decides what the result is: fingerprints, settings.
    """
    # The code that computes a result is one of the things that decide it.
    key_of_all = key(code=code_version(module), **decisive)

    def write_on_one_thread(folder: Path) -> None:
        with one_thread():
            write(folder)

    return (store or Store()).make(kind, key_of_all, write_on_one_thread)


def unfinished(folder: Path) -> Path:
    """A folder beside a result's own: what is in it outlives a kill, and goes once the result is there.

    Parameters
    ----------
    folder : Path
        That `Store.make` gives to be filled.
    """
    return folder.with_name(f"{folder.name.rpartition('-')[0]}.unfinished")


def key(**parts: Any) -> str:
    """A short hash of everything that determines a result."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:20]


@contextmanager
def one_thread() -> Iterator[None]:
    """Products summed in one order, so that results do not depend on the number of cores; those take a run each."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def whole(path: str | Path) -> Iterator[Path]:
    """A file to write, beside ``path``, whose place it takes in one step at the end, and not at all after an error."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    temporary = Path(name)
    try:
        os.close(handle)
        yield temporary
        # On disk before it has its name: after a power cut the name must not stand for an empty file.
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        temporary.chmod(0o644)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(path: str | Path, text: str) -> None:
    """Write a text file so that it is there whole or not at all."""
    with whole(path) as temporary:
        temporary.write_text(text)


def _hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of each file of a folder, by its path within it."""
    files = sorted(file for file in folder.rglob("*") if file.is_file() and file.name != HASHES)
    return {file.relative_to(folder).as_posix(): _sha256(file) for file in files}


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _is_sound(final: Path) -> bool:
    """Whether a result is there, its files as they were written."""
    if not final.is_dir():
        return False
    try:
        sound = json.loads((final / HASHES).read_text()) == _hashes(final)
    except (FileNotFoundError, ValueError):
        sound = False
    if not sound:
        log.warning("%s/%s was changed after it was made, and is made again", final.parent.name, final.name)
    return sound
