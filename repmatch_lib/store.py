"""Results by the hash of what made them: written whole or not at all, found again, never stale."""

from __future__ import annotations

import ast
import errno
import hashlib
import json
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from filelock import FileLock

from repmatch_lib.paths import PACKAGE, default_store

PACKAGES = ("torch", "transformers", "peft", "tokenizers", "safetensors", "numpy", "pyarrow")


class Store:
    """A folder of results, one folder each, named by their key.

    Safe for many processes at once: a result is made by one of them, under a lock, in a temporary folder beside its
    place, and appears there in one step. A process that is killed leaves nothing that looks like a result.
    """

    def __init__(self, root: str | Path | None = None) -> None:
        self.root = Path(root) if root else default_store()

    def path(self, kind: str, key: str) -> Path:
        """Where a result is, once it is made."""
        return self.root / kind / key

    def make(self, kind: str, key: str, write: Callable[[Path], None]) -> Path:
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
        if final.is_dir():
            return final
        with self._writing():
            final.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(final.parent / f".{key}.lock")
            lock.acquire()
        try:
            if not final.is_dir():
                self._write(final, write)
        finally:
            lock.release()
        return final

    def _write(self, final: Path, write: Callable[[Path], None]) -> None:
        with self._writing():
            for abandoned in final.parent.glob(f".{final.name}-*"):  # ours alone, since we hold the lock
                shutil.rmtree(abandoned)
            temporary = Path(tempfile.mkdtemp(prefix=f".{final.name}-", dir=final.parent))
        try:
            with self._writing(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO):
                write(temporary)
            with self._writing():
                temporary.chmod(0o755)
                os.replace(temporary, final)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
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


def write_atomically(path: str | Path, text: str) -> None:
    """Write a text file so that it is there whole or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "w") as stream:
            stream.write(text)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def key(**parts: Any) -> str:
    """A short hash of everything that determines a result."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:20]


@lru_cache
def code_version(modules: Iterable[str] = ()) -> str:
    """Hash of library modules, all if none are named. Comments, docstrings and layout do not count.

    Parameters
    ----------
    modules : tuple of str
        Such as ``("training", "batching")``.
    """
    files = [PACKAGE / f"{name}.py" for name in modules] or sorted(PACKAGE.glob("*.py"))
    digest = hashlib.sha256()
    for file in files:
        tree = ast.parse(file.read_text())
        for node in ast.walk(tree):
            body = getattr(node, "body", None)
            if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
                if isinstance(body[0].value, ast.Constant) and isinstance(body[0].value.value, str):
                    body[0].value.value = ""
        digest.update(ast.dump(tree).encode())
    return digest.hexdigest()[:16]


def provenance() -> dict[str, Any]:
    """The software and the machine, without any path or host name."""
    return {
        "repmatch": _version("repmatch"),
        "git_commit": git_commit(),
        "code": code_version(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
    }


@lru_cache
def git_commit() -> str | None:
    """The checkout's commit, marked ``+`` if tracked files were changed; None outside a checkout."""
    git = ["git", "-C", str(PACKAGE.parent)]
    try:
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        changed = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + ("+" if changed else "")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
