"""The version of a result's code: of all that its computation imports, and of nothing else."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import repmatch_lib as rm
from repmatch_lib import paths, versions
from repmatch_lib.experiments.catalogue import KINDS

MODULE = '''"""What it is."""
import math
from lib.ground import twice

LIMIT = 3

def double(x):
    """Twice x."""
    if x > LIMIT:
        raise ValueError("too large")
    return twice(math.floor(x))

class Pair:
    """Two."""
    size = 2
'''
GROUND = "def twice(x):\n    return 2 * x\n"
SAME = {
    "comments": MODULE.replace("LIMIT = 3", "LIMIT = 3  # as in the paper"),
    "docstrings": MODULE.replace("What it is", "Other").replace("Twice x.", "Two x.").replace('"Two."', '"A pair."'),
    "layout": MODULE.replace("\n\n", "\n\n\n").replace("twice(math", "twice(  math"),
    "an import that is not used": MODULE.replace("import math", "import json\nimport math"),
    "types of arguments": MODULE.replace("def double(x):", "def double(x: float) -> float:"),
    "an error's words": MODULE.replace("too large", "give 3 at most"),
}
OTHER = {
    "a number": MODULE.replace("LIMIT = 3", "LIMIT = 4"),
    "a name": MODULE.replace("double", "doubled"),
    "a default": MODULE.replace("(x):", "(x=1):"),
    "a string that is no docstring": MODULE.replace("size = 2", 'size = "2"'),
    "an operator": MODULE.replace("x > LIMIT", "x >= LIMIT"),
    "an error's kind": MODULE.replace("ValueError", "KeyError"),
    "what a name stands for": MODULE.replace("import twice", "import thrice as twice"),
    "another package's name": MODULE.replace("import math", "import numpy as math"),
}


def forget() -> None:
    for cached in (versions.code_version, versions.whole_version, versions._read):
        cached.cache_clear()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A library of two modules."""
    folder = tmp_path / "lib"
    (folder / "room").mkdir(parents=True)
    for name, text in {"__init__": "", "ground": GROUND, "store": "", "room/__init__": "", "room/top": MODULE}.items():
        (folder / f"{name}.py").write_text(text)
    monkeypatch.setattr(versions, "PACKAGE", folder)
    forget()
    yield folder
    forget()


def version(package: Path, module: str = "room.top", **texts: str) -> str:
    for name, text in texts.items():
        (package / f"{name.replace('__', '/')}.py").write_text(text)
    forget()
    return versions.code_version(f"lib.{module}")


def test_it_is_of_code_alone(package: Path) -> None:
    expected = version(package)
    assert {name: version(package, room__top=text) for name, text in SAME.items()} == dict.fromkeys(SAME, expected)
    (package / "ground.py").write_text(GROUND + "def thrice(x):\n    return 3 * x\n")
    expected = version(package, room__top=MODULE)
    assert len({expected, *(version(package, room__top=text) for text in OTHER.values())}) == 1 + len(OTHER)


@pytest.mark.parametrize(
    "statement", ["from lib.ground import twice", "def f():\n    from lib import ground\n    return ground.twice(1)"]
)
def test_what_is_imported_counts_inside_functions_too(package: Path, statement: str) -> None:
    text = f"{statement}\ntwice = 0\n"
    before = version(package, room__top=text)
    assert version(package, ground=GROUND.replace("2 * x", "3 * x")) != before


def test_what_is_imported_by_what_is_imported_counts(package: Path) -> None:
    middle, top = "from lib.ground import twice", "from lib.room.middle import twice"
    before = version(package, room__middle=middle, room__top=top)
    assert version(package, ground=GROUND.replace("2 * x", "3 * x")) != before


def test_moving_a_file_changes_nothing(package: Path) -> None:
    before = version(package)
    shutil.move(package / "ground.py", package / "room/deeper.py")
    (package / "room/top.py").write_text(MODULE.replace("lib.ground", "lib.room.deeper"))
    shutil.move(package / "room/top.py", package / "bottom.py")
    assert version(package, "bottom") == before


def test_what_is_imported_for_types_or_has_no_effect_does_not_count(package: Path) -> None:
    for_types = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from lib.ground import twice\nx = 1\n"
    before = version(package, room__top=for_types)
    assert version(package, ground="") == before
    kept = version(package, room__top="from lib.store import keep\nkeep()", store="def keep(): pass")
    assert version(package, store="def keep(): return 1") == kept


def test_every_module_of_a_request_s_computation_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stale case: a change of `trained_basis`, which no list named, once left a ranking as it was."""
    folder = tmp_path / paths.PACKAGE.name
    shutil.copytree(paths.PACKAGE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(versions, "PACKAGE", folder)
    forget()
    before = {name: versions.code_version(kind.__module__) for name, kind in KINDS.items()}
    scored = {"instance likeness", "ranking", "fine-tuning", "deduplicated", "coverage", "quoted", "early errors"}
    changed = {
        "similarity/subspaces.py": scored,
        "similarity/comparison.py": scored,
        "training/loop.py": set(KINDS),
        "training/batching.py": set(KINDS),
        "data/corpora.py": set(KINDS),
        "selection/rules.py": {"fine-tuning"},
        "embeddings/probes.py": {"transfer"},
        "figures/maps.py": set(),
        "statistics.py": set(),
        "book/records.py": set(),
    }
    for file, kinds in changed.items():
        text = (folder / file).read_text()
        (folder / file).write_text(text + "\n\nCHANGED = True\n")
        forget()
        after = {name: versions.code_version(kind.__module__) for name, kind in KINDS.items()}
        assert {name for name in KINDS if after[name] != before[name]} == kinds, file
        (folder / file).write_text(text)
    forget()


def test_a_ranking_s_key_follows_a_change_in_what_computes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / paths.PACKAGE.name
    shutil.copytree(paths.PACKAGE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(versions, "PACKAGE", folder)
    ranking = rm.Ranking(rm.Run("sst2", source="mini", rows=12))
    forget()
    before = ranking.code
    file = folder / "similarity/comparison.py"
    file.write_text(re.sub(r"return basis\n", "return -basis\n", file.read_text(), count=1))
    forget()
    assert ranking.code != before
    forget()
