"""Imports run downward: a room imports what stands below it, never beside or above, and nothing goes round."""

from __future__ import annotations

import ast
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from repmatch_lib.paths import PACKAGE

# From top to ground.
ROOMS = (
    "cli", "book", "experiments", "selection", "instances", "embeddings", "training", "similarity", "data", "figures",
    "ground",
)  # fmt: skip
GROUND = ("__init__", "settings", "store", "versions", "statistics", "paths")
RULE = "a room imports only from rooms below it: " + " > ".join(ROOMS)


def modules(package: Path) -> dict[str, Path]:
    """Every module of the package but the rooms' own docstrings, by its name without the package's."""
    files = sorted(package.rglob("*.py"))
    named = {".".join(file.relative_to(package).with_suffix("").parts): file for file in files}
    return {name: file for name, file in named.items() if not name.endswith(".__init__")}


def imports(file: Path, package: str) -> Iterator[str]:
    """Names of the package's modules that a file imports, those inside functions and for types too."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file}: relative imports hide where a name comes from"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        yield from (name.removeprefix(f"{package}.") for name in names if name.startswith(f"{package}."))
        yield from ("__init__" for name in names if name == package)


def room(module: str) -> str:
    return "ground" if module in GROUND else module.partition(".")[0]


def graph(package: Path) -> dict[str, set[str]]:
    """Which modules each module imports."""
    known = modules(package)
    return {
        name: {
            next(module for module in (imported, imported.rpartition(".")[0]) if module in known)
            for imported in imports(file, package.name)
        }
        for name, file in known.items()
    }


def faults(package: Path) -> list[str]:
    """Imports that break the rule, each with both names; circles within a room."""
    of = graph(package)
    upward = [
        f"{name} imports {other}; {RULE}"
        for name, others in of.items()
        for other in sorted(others)
        if room(other) != room(name) and ROOMS.index(room(other)) < ROOMS.index(room(name))
    ]
    return upward + [f"{' imports '.join(circle)}; no module may lead back to itself" for circle in circles(of)]


def circles(of: dict[str, set[str]]) -> list[list[str]]:
    """Ways from a module back to itself, one for each module that lies on one."""
    found = []
    for start in of:
        ways, seen = [[start]], set()
        while ways:
            way = ways.pop()
            for other in of[way[-1]]:
                if other == start:
                    found.append([*way, start])
                    ways = []
                    break
                if other not in seen:
                    seen.add(other)
                    ways.append([*way, other])
    return found


def test_the_library_s_imports_run_downward() -> None:
    assert not faults(PACKAGE), "\n".join(faults(PACKAGE))
    assert {room(name) for name in modules(PACKAGE)} == set(ROOMS)  # every room is known, and there


@pytest.mark.parametrize(
    ("file", "line", "message"),
    [
        ("similarity/subspaces.py", "from repmatch_lib.book.records import Record", "subspaces imports book.records"),
        (
            "training/loop.py",
            "def f():\n    from repmatch_lib.instances import job",
            "training.loop imports instances.job",
        ),
        ("figures/style.py", "import repmatch_lib.data.tasks", "figures.style imports data.tasks"),
        ("store.py", "from repmatch_lib.figures.style import COLORS", "store imports figures.style"),
        ("data/tasks.py", "from repmatch_lib.data.corpora import load", "data.tasks imports data.corpora"),
        ("paths.py", "from repmatch_lib.store import Store", "paths imports store imports paths"),
    ],
)
def test_a_planted_import_is_named_with_the_rule(tmp_path: Path, file: str, line: str, message: str) -> None:
    package = tmp_path / PACKAGE.name
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__", "_project"))
    (package / file).write_text(f"{(package / file).read_text()}\n\n{line}\n")
    told = [fault for fault in faults(package) if message in fault]
    assert told and ("cli > book > experiments" in told[0] or "back to itself" in told[0])


def test_a_file_is_one_idea_with_a_first_line_that_says_it() -> None:
    for name, file in modules(PACKAGE).items():
        text = file.read_text()
        assert len(text.splitlines()) <= 300, f"{name} has more than 300 lines: two ideas?"
        assert ast.get_docstring(ast.parse(text)), f"{name} does not say what it is"
