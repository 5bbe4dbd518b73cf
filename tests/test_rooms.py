"""The rooms of the library: imports run down only and in no circle; every file is short and says what it is."""

from __future__ import annotations

import ast
import shutil
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest
from helpers import ROOT

LIBRARY = ROOT / "repmatch_lib"
# From top to ground; the ground is the package's own modules, but for the command.
ROOMS = ("cli", "book", "experiments", "selection", "instances", "embeddings", "training", "similarity", "data")
ROOMS += ("figures", "ground")
GROUND = ("__init__", "store", "versions", "settings", "statistics", "paths")
LONGEST = 300


class Import(NamedTuple):
    """Who imports what; ``relative`` where it is written with leading dots."""

    module: str
    imported: str
    relative: bool = False


def modules(package: Path) -> dict[str, Path]:
    """Every module of a package by its whole name; a folder's ``__init__`` has the folder's name."""
    files = sorted(package.rglob("*.py"))
    named = {file: file.relative_to(package.parent).with_suffix("").parts for file in files}
    return {".".join(parts[:-1] if parts[-1] == "__init__" else parts): file for file, parts in named.items()}


def imports(package: Path) -> Iterator[Import]:
    """All imports of the package within it: those inside functions and those for types too."""
    there = modules(package)
    for module, file in there.items():
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level:
                yield Import(module, "." * node.level + (node.module or ""), relative=True)
                continue
            elif isinstance(node, ast.ImportFrom):
                whole = [f"{node.module}.{alias.name}" for alias in node.names]
                names = [name if name in there else node.module for name in whole]
            else:
                continue
            ours = {name for name in names if name.partition(".")[0] == package.name}
            yield from (Import(module, name) for name in sorted(ours))


def room(module: str) -> str | None:
    """The room that a module stands in: none for one that no rule knows."""
    _, *inner = module.split(".")
    if not inner or inner[0] in GROUND:
        return "ground"
    return inner[0] if inner[0] in ROOMS else None


def faults(package: Path) -> list[str]:
    """Every import that breaks a rule, and a circle of each room that has one: both modules, and the rule."""
    found, within = [], {name: {} for name in ROOMS}
    for module, imported, relative in imports(package):
        here, there = room(module), room(imported)
        said = f"{module} imports {imported}"
        if relative:
            found.append(f"{said}: write the whole name, no relative import")
        elif here is None or there is None:
            found.append(f"{said}: {module if here is None else imported} stands in no room of {', '.join(ROOMS)}")
        elif imported == package.name:
            found += [] if here == "cli" else [f"{said}, the package itself: only cli may"]
        elif ROOMS.index(there) < ROOMS.index(here):
            found.append(f"{said}, which goes up from {here} to {there}: imports run down, {' > '.join(ROOMS)}")
        elif here == there:
            within[here].setdefault(module, set()).add(imported)
    for name, graph in within.items():
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            circle = error.args[1][:0:-1]  # from each to what it imports
            first = circle.index(min(circle))
            way = " imports ".join([*circle[first:], *circle[: first + 1]])
            found.append(f"{way}: within a room, here {name}, modules import each other without a circle")
    return found


def untidy(package: Path) -> list[str]:
    """Files of more than 300 lines, and modules that do not say what they are."""
    files = sorted(package.rglob("*.py"))
    texts = {str(file.relative_to(package.parent)): file.read_text() for file in files}
    lengths = {name: len(text.splitlines()) for name, text in texts.items()}
    long = [f"{name} has {n} lines: {LONGEST} at most, so split it" for name, n in lengths.items() if n > LONGEST]
    silent = [name for name, text in texts.items() if not ast.get_docstring(ast.parse(text))]
    return long + [f"{name} has no docstring: say what it is in its first line" for name in silent]


def test_imports_run_down_and_in_no_circle() -> None:
    assert faults(LIBRARY) == []


def test_every_room_is_there_and_every_import_is_seen() -> None:
    """Or the rule would hold of nothing."""
    there = modules(LIBRARY)
    assert {room(module) for module in there} == set(ROOMS)
    assert {f"{LIBRARY.name}.{name}" for name in GROUND[1:]} <= there.keys()
    texts = [file.read_text() for file in there.values()]
    lines = [line for text in texts for line in text.splitlines() if line.lstrip().startswith("from repmatch_lib")]
    assert len(list(imports(LIBRARY))) >= len(lines) > 150


ORDER = "imports run down, " + " > ".join(ROOMS)
# Where a statement is planted, the statement, and what is said of it.
PLANTED = {
    "up": (
        "similarity/adapters.py",
        "from repmatch_lib.training.heads import lora_model",
        "repmatch_lib.similarity.adapters imports repmatch_lib.training.heads, which goes up from similarity to "
        f"training: {ORDER}",
    ),
    "across, inside a function": (
        "embeddings/words.py",
        "def across():\n    from repmatch_lib.instances import scoring\n    return scoring",
        "repmatch_lib.embeddings.words imports repmatch_lib.instances.scoring, which goes up from embeddings to "
        f"instances: {ORDER}",
    ),
    "up, for types": (
        "data/tasks.py",
        "if TYPE_CHECKING:\n    import repmatch_lib.book.records",
        f"repmatch_lib.data.tasks imports repmatch_lib.book.records, which goes up from data to book: {ORDER}",
    ),
    "up from the ground": (
        "store.py",
        "from repmatch_lib.figures.style import save",
        f"repmatch_lib.store imports repmatch_lib.figures.style, which goes up from ground to figures: {ORDER}",
    ),
    "up to the command": (
        "book/records.py",
        "from repmatch_lib import cli",
        f"repmatch_lib.book.records imports repmatch_lib.cli, which goes up from book to cli: {ORDER}",
    ),
    "a circle within a room": (
        "figures/style.py",
        "def around():\n    from repmatch_lib.figures.circle import style",
        "repmatch_lib.figures.circle imports repmatch_lib.figures.style imports repmatch_lib.figures.circle: within a "
        "room, here figures, modules import each other without a circle",
    ),
    "a circle in the ground": (
        "paths.py",
        "from repmatch_lib.versions import git_commit",
        "repmatch_lib.paths imports repmatch_lib.versions imports repmatch_lib.paths: within a room, here ground, "
        "modules import each other without a circle",
    ),
    "the package itself": (
        "book/tables.py",
        "import repmatch_lib as rm",
        "repmatch_lib.book.tables imports repmatch_lib, the package itself: only cli may",
    ),
    "a name of the package": (
        "experiments/pools.py",
        "from repmatch_lib import Run",
        "repmatch_lib.experiments.pools imports repmatch_lib, the package itself: only cli may",
    ),
    "relative": (
        "selection/rules.py",
        "from .coverage import k_centre",
        "repmatch_lib.selection.rules imports .coverage: write the whole name, no relative import",
    ),
    "no room": (
        "training/loop.py",
        "from repmatch_lib.attic import old",
        "repmatch_lib.training.loop imports repmatch_lib.attic: repmatch_lib.attic stands in no room of "
        f"{', '.join(ROOMS)}",
    ),
}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The library's files, to be spoilt."""
    return Path(shutil.copytree(LIBRARY, tmp_path / LIBRARY.name, ignore=shutil.ignore_patterns("__pycache__")))


def plant(file: Path, text: str) -> None:
    with file.open("a") as stream:
        stream.write(f"\n\n{text}\n")


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_import_that_breaks_a_rule_is_named(name: str, copy: Path) -> None:
    (copy / "figures/circle.py").write_text('"""Half of a circle."""\n\nfrom repmatch_lib.figures import style\n')
    assert faults(copy) == []
    file, statement, message = PLANTED[name]
    plant(copy / file, statement)
    assert faults(copy) == [message]


def test_files_are_short_and_say_what_they_are() -> None:
    assert untidy(LIBRARY) == []


def test_a_long_file_and_a_silent_one_are_named(copy: Path) -> None:
    long, silent = copy / "paths.py", copy / "data/silent.py"
    plant(long, "x = 1\n" * (LONGEST - len(long.read_text().splitlines()) - 2))
    silent.write_text("# A comment is no docstring.\nx = 1\n")
    assert untidy(copy) == [
        "repmatch_lib/paths.py has 301 lines: 300 at most, so split it",
        "repmatch_lib/data/silent.py has no docstring: say what it is in its first line",
    ]
