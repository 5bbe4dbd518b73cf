"""What made a result: the version of the code that computes it, the packages, the commit and the machine."""

from __future__ import annotations

import ast
import hashlib
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Iterator
from functools import cache, lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from repmatch_lib.paths import PACKAGE

PACKAGES = ("torch", "transformers", "peft", "tokenizers", "safetensors", "numpy", "pyarrow")

# What a result's computation may import without depending on it: how it is drawn, kept, named and summarised.
WITHOUT_EFFECT = ("figures", "paths", "statistics", "store", "versions")


@lru_cache
def code_version(module: str) -> str:
    """Hash of the code that a module's results depend on: its own, and that of all it imports from this library.

    Found by following the imports, those inside functions too, so that no list can be out of date. Where a module
    lies, comments, docstrings, layout, types of arguments and the words of errors do not count.

    Parameters
    ----------
    module : str
        Its whole name, such as ``"repmatch_lib.experiments.runs"``.
    """
    imported: dict[str, str] = {}
    queue = [module]
    while queue:
        if (name := queue.pop()) not in imported:
            imported[name] = _read(name).digest()
            queue += [other for other in _read(name).modules() if _decides(other)]
    return _together(imported.values())


@lru_cache
def whole_version() -> str:
    """Hash of all of the library's code, as `code_version` reads it."""
    files = [file.relative_to(PACKAGE.parent).with_suffix("") for file in PACKAGE.rglob("*.py")]
    return _together(_read(".".join(file.parts)).digest() for file in files)


class _Source:
    """A module of this library, read and not run."""

    def __init__(self, file: Path) -> None:
        tree = ast.parse(file.read_text())
        self.imports = list(_imports(tree))
        self.code = _Decisive().visit(tree)

    def modules(self) -> set[str]:
        """Modules of this library that it imports."""
        whole = {f"{module}.{name}" if _is_module(f"{module}.{name}") else module for module, name, _ in self.imports}
        return {name for name in whole if _is_ours(name)}

    def definition(self, name: str) -> str:
        """A top-level name's definition, as far as it decides anything."""
        return "".join(ast.dump(node) for node in self.code.body if name in _defined(node))

    def digest(self) -> str:
        """Of the code, and of what the imported names stand for, wherever that is defined."""
        used = {node.id for node in ast.walk(self.code) if isinstance(node, ast.Name)}
        bound = sorted(
            f"{local} = {_read(module).definition(name) if _is_ours(module) else f'{module}.{name}'}"
            for module, name, local in self.imports
            if local in used and (_decides(module) or not _is_ours(module))
        )
        return hashlib.sha256("\n".join([ast.dump(self.code), *bound]).encode()).hexdigest()


class _Decisive(ast.NodeTransformer):
    """Leaves out imports, docstrings, types of arguments and the words of errors."""

    def generic_visit(self, node: ast.AST) -> ast.AST:
        match node:
            case ast.Module() | ast.ClassDef() | ast.FunctionDef() if ast.get_docstring(node) is not None:
                node.body = node.body[1:]
        match node:
            case ast.FunctionDef():
                node.returns = None
            case ast.arg():
                node.annotation = None
        return super().generic_visit(node)

    def visit_Import(self, node: ast.Import) -> None:
        return None

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        return None

    def visit_If(self, node: ast.If) -> ast.AST | None:
        return None if _is_for_types(node) else self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        return ast.Raise(node.exc.func) if isinstance(node.exc, ast.Call) else node


@cache
def _read(module: str) -> _Source:
    return _Source(_file(module))


def _imports(tree: ast.AST) -> Iterator[tuple[str, str, str]]:
    """A module, the name imported from it (none for the module itself), and what that is called here."""
    for_types = {id(inner) for node in ast.walk(tree) if _is_for_types(node) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import) and id(node) not in for_types:
            yield from ((alias.name, "", alias.asname or alias.name.partition(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and id(node) not in for_types:
            yield from ((node.module or "", alias.name, alias.asname or alias.name) for alias in node.names)


def _defined(node: ast.AST) -> set[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return {node.name}
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return {inner.id for target in targets for inner in ast.walk(target) if isinstance(inner, ast.Name)}


def _is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _file(module: str) -> Path:
    place = PACKAGE.parent.joinpath(*module.split("."))
    return place / "__init__.py" if place.is_dir() else place.with_name(f"{place.name}.py")


def _is_module(name: str) -> bool:
    return _is_ours(name) and _file(name).is_file()


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] == PACKAGE.name


def _decides(module: str) -> bool:
    return _is_ours(module) and not set(module.split(".")[1:2]) & set(WITHOUT_EFFECT)


def _together(digests: Iterable[str]) -> str:
    return hashlib.sha256("".join(sorted(digests)).encode()).hexdigest()[:16]


def provenance() -> dict[str, Any]:
    """The software and the machine, without any path or host name."""
    return {
        "repmatch": _version("repmatch"),
        "git_commit": git_commit(),
        "code": whole_version(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "machine": f"{platform.system()} {platform.machine()}, {_processor()}, {os.cpu_count()} cores",
    }


def _processor() -> str:
    """Its name, and the instructions that torch's kernels take: with others, sums come out in another order."""
    try:
        told = [line.partition(":") for line in Path("/proc/cpuinfo").read_text().splitlines()]
    except OSError:
        told = []
    name = next((value.strip() for key, _, value in told if key.strip() == "model name"), platform.processor())
    torch = sys.modules.get("torch")
    return " ".join([name or "processor unknown", *([torch.backends.cpu.get_cpu_capability()] if torch else [])])


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
