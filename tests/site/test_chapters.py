"""Every chapter states its parameters, fits its profiles, opens with its verdicts and describes its figures."""

from __future__ import annotations

import math
import re
from itertools import combinations, product
from pathlib import Path
from typing import Any

import nbformat
import pytest
from helpers import ROOT

import repmatch_lib as rm
from repmatch_lib.book import ledger, notebooks, parameters
from repmatch_lib.experiments.catalogue import parse
from repmatch_lib.experiments.requests import stages
from repmatch_lib.paths import project_file

NOTEBOOKS = sorted(project_file("notebooks").glob("*.ipynb"))


def tagged(file: Path, tag: str) -> list[nbformat.NotebookNode]:
    return [cell for cell in nbformat.read(file, as_version=4).cells if tag in cell.metadata.get("tags", [])]


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_every_notebook_states_its_parameters(file: Path) -> None:
    (cell,) = tagged(file, "parameters")
    found = parameters.declared(file)
    assert len(found) == len(cell.source.splitlines())  # a line each
    assert all(p.annotation and p.help for p in found.values())
    assert parameters.settings(file, overrides={name: p.default for name, p in found.items()}).keys() == found.keys()
    assert parameters.settings(file, "mini") == {name: p.default for name, p in found.items()}
    cells = [c for c in nbformat.read(file, as_version=4).cells if c.cell_type == "code"]
    assert not [c for c in cells if c.outputs or c.execution_count]


@pytest.mark.parametrize("profile", parameters.PROFILES)
@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_every_profile_fits_every_notebook(file: Path, profile: str) -> None:
    values = parameters.settings(file, profile)
    runs = notebooks.plan(file, values)
    assert all(parse(run.to_json()) == run for run in runs) and len(set(runs)) == len(runs)
    adapters = [run for stage in stages(runs) for run in stage if isinstance(run, rm.Run)]
    assert {run.encoder for run in adapters} <= {
        values.get("encoder"),
        *values.get("encoders", []),
        *(case[0] for case in values.get("cases", [])),
    }
    assert {run.rank for run in adapters} <= {
        values.get("rank"),
        *values.get("ranks", []),
        *values.get("more_ranks", []),
    }


CHAPTER = project_file("notebooks/batches.ipynb")


@pytest.mark.parametrize(
    "wrong",
    [
        {"factors": ["start"]},
        {"factors": ["start", "start"]},
        {"factors": ["start", "weather"]},
        {"replicates": 0},
        {"seeds": [0, 1]},
        {"sizes": [48, 24]},
        {"batch_sizes": [40]},
        {"batch_sizes": [7]},
    ],
    ids=str,
)
def test_an_impossible_design_is_refused_by_name(wrong: dict[str, Any]) -> None:
    ((name, value),) = wrong.items()
    with pytest.raises(parameters.ParameterError, match="7: give" if value == [7] else name):
        notebooks.plan(CHAPTER, parameters.settings(CHAPTER, overrides=wrong))


def test_the_chapter_s_design_is_balanced_and_its_samples_take_equal_steps() -> None:
    runs = notebooks.plan(CHAPTER, parameters.settings(CHAPTER, "laptop"))
    seeds = ("head_seed", "start_seed", "order_seed", "seed", "sample_seed")
    of_design = [run for run in runs if run.rows == 320][:32]
    cells = [tuple(getattr(run, name) for name in seeds) for run in of_design]
    assert sorted(cells) == list(product((0, 1), repeat=5)) and cells == sorted(cells)
    samples = [run for run in runs if run.rows != 320]
    assert {run.epochs * math.ceil(run.rows / run.batch_size) for run in samples} == {48}
    assert {len({run.sample_seed, run.seed, run.start_seed, run.order_seed}) for run in samples} == {1}
    assert all(a.sample_seed != b.sample_seed for a, b in combinations(samples, 2) if a.rows == b.rows)


def test_a_chapter_opens_with_the_verdicts_on_the_paper_s_claims() -> None:
    claims = rm.claims()
    for chapter in {claim.experiment for claim in claims}:
        cells = nbformat.read(ROOT / f"notebooks/{chapter}.ipynb", as_version=4).cells
        first = next(cell for cell in cells[1:] if "install" not in cell.metadata.get("tags", []))
        assert "## The result first" in cells[0].source and re.search(
            rf'rm\.(Chapter|in_short)\("{chapter}"\)', first.source
        )
        shown = rm.in_short(chapter).data
        own = [claim for claim in claims if claim.experiment == chapter]
        asked = [claim for claim in own if not claim.where.startswith("beside")] or own
        assert sum(line.startswith("| ") for line in shown.splitlines()) == len(asked) + 2
        assert all(claim.claim.replace("|", "\\|") in shown for claim in asked)
        known = (ledger.recorded(chapter) or rm.Record(chapter, {}, {}, [], {}, {})).estimates
        told = [known[claim.estimate] for claim in asked if claim.estimate in known]
        assert all(f"| {one!s} |" in shown for one in told if not math.isnan(one.value))


def test_numbers_of_the_paper_in_the_text_are_the_paper_s() -> None:
    texts = [*(ROOT / "notebooks").glob("*.ipynb"), *(ROOT / "book").glob("*.md")]
    quoted = [number for text in texts for number in re.findall(r"\[([\d.]+)\]\{\.paper\}", text.read_text())]
    known = re.findall(r"\d+(?:\.\d+)?", str(rm.published_numbers()))
    assert quoted and set(quoted) <= set(known)


@pytest.mark.parametrize("notebook", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda p: p.stem)
def test_figures_have_alternative_text_and_caption(notebook: Path) -> None:
    drawn = {"rm.grid_panels", "rm.matrix(", "rm.estimates_figure", "rm.share_curves", "rm.spectrum_figure", "picture("}
    drawn |= {"rm.matrix_panels", "rm.order_figure", "chapter.figure(", "chapter.curves(", "rm.layer_profile"}
    for cell in nbformat.read(notebook, as_version=4).cells:
        if cell.cell_type == "code" and any(name in cell.source for name in drawn):
            described = cell.metadata.get("mystnb", {})
            assert described.get("image", {}).get("alt") and described.get("figure", {}).get("caption")
