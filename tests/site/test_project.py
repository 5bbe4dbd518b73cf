"""The repository keeps its promises: files in step with each other."""

from __future__ import annotations

import re
import sys
import tomllib

import pyarrow.parquet as pq
import pytest
import yaml
from helpers import ROOT
from packaging.requirements import Requirement

import repmatch_lib as rm
from repmatch_lib.book.records import Record

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PINS = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split())


def requirements() -> list[Requirement]:
    extras = PROJECT["optional-dependencies"]
    return [Requirement(r) for r in [*PROJECT["dependencies"], *extras["book"], *extras["test"]]]


@pytest.mark.parametrize("requirement", requirements(), ids=str)
def test_every_requirement_is_pinned_within_its_range(requirement: Requirement) -> None:
    pins = {name.lower().replace("_", "-"): version for name, version in PINS.items()}
    assert requirement.specifier.contains(pins[requirement.name.lower()], prereleases=True)


def test_constraints_name_no_machine() -> None:
    assert not re.search(r"[/@+]|://", (ROOT / "constraints.txt").read_text())


def test_conda_environment_installs_what_pyproject_asks_for() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    plain = [d for d in environment["dependencies"] if isinstance(d, str)]
    (pip,) = [d["pip"] for d in environment["dependencies"] if isinstance(d, dict)]
    (python,) = [d.partition("=")[2] for d in plain if d.startswith("python=")]
    assert Requirement(f"python{PROJECT['requires-python']}").specifier.contains(python)
    assert "--constraint constraints.txt" in pip
    (own,) = [line for line in pip if line.startswith("--editable")]
    extras = set(re.search(r"\[(.*)\]", own)[1].split(","))
    assert extras == {"book", "test"} <= PROJECT["optional-dependencies"].keys()


@pytest.mark.parametrize("task", sorted({task.folder or task.name for task in rm.TASKS.values()}))
def test_bundled_corpora_are_what_their_script_writes(task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "data/mini")
    from build import generate

    for split, table in generate(task).items():
        assert pq.read_table(ROOT / f"data/mini/{task}/{split}.parquet").to_pylist() == table.to_pylist()


def test_bundled_corpora_load_and_their_splits_share_no_row() -> None:
    for task in rm.TASKS.values():
        train, validation = (rm.load(task, split, source="mini") for split in ("train", "validation"))
        columns = [c for c in ("text", "text_pair") if c in train.table.column_names]
        rows = [set(zip(*(c.table[n].to_pylist() for n in columns), strict=True)) for c in (train, validation)]
        assert not rows[0] & rows[1]


def test_no_public_name_is_a_module_s() -> None:
    modules = {path.stem for path in (ROOT / "repmatch_lib").iterdir()}
    assert not modules & set(rm.__all__)  # the import of a module would put it where the name was


def test_cover_figure_is_drawn_from_the_recorded_run() -> None:
    digest = Record.load(ROOT / "data/recorded/dataset_heatmaps.json").digest
    assert digest in (ROOT / "book/_static/cover.svg").read_text()


def test_importing_the_library_does_not_import_torch() -> None:
    import subprocess

    planning = "repmatch_lib.cli, repmatch_lib.book.notebooks, repmatch_lib.experiments.catalogue"
    code = f"import {planning}, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
