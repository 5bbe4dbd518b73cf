"""What the book's figures 1, 2, 3, 5 and 6 draw, against the recorded adapters, without the chapters' code."""

from __future__ import annotations

import itertools
from typing import Any

import nbformat
import numpy as np
import pytest
import torch
from helpers import ROOT
from safetensors.torch import load_file

import repmatch_lib as rm
from repmatch_lib.experiments.recorded import Recorded
from repmatch_lib.figures.style import NUMBERS
from repmatch_lib.similarity.adapters import WEIGHTS
from repmatch_lib.store import Store

Figure = list[dict[str, Any]]  # one entry for each of its axes


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, float, int, int], torch.Tensor]:
    """Left singular vectors of every recorded adapter, layer by layer, by task, rate, head and training seed."""
    there, store, found = Recorded(), Store(tmp_path_factory.mktemp("store")), {}
    for entry in there.entries.values():
        settings = entry.settings
        if entry.pack in ("dataset_heatmaps.zip", "seed_robustness.zip") and settings["kind"] == "run":
            tensors = load_file(there.folder(entry, store) / WEIGHTS)
            updates = [
                tensors[key.replace("lora_A", "lora_B")].double() @ A.double()
                for key, A in sorted(tensors.items())
                if "lora_A" in key
            ]
            # A sample of rows for each head in the one chapter; the other has one sample, of the first.
            if settings["sample_seed"] == settings["head_seed"] or entry.pack == "seed_robustness.zip":
                key = settings["task"], settings["lr"], settings["head_seed"], settings["seed"], settings["sample_seed"]
                found[key] = torch.stack([torch.linalg.svd(update)[0][:, : settings["rank"]] for update in updates])
    return found


def figures(chapter: str) -> list[Figure]:
    """What each figure of the built chapter draws, in its order."""
    cells = nbformat.read(ROOT / f"book/executed/{chapter}.ipynb", 4).cells
    outputs = itertools.chain(*(cell.get("outputs", []) for cell in cells))
    return [output["data"][NUMBERS] for output in outputs if NUMBERS in output.get("data", {})]


def grids(figure: Figure) -> dict[str, np.ndarray]:
    """Rows of panels by their names: one grid a layer."""
    rows: dict[str, list[Any]] = {}
    for axes in figure:
        if axes["maps"] and axes["title"]:
            name = axes["y"] or next(reversed(rows))  # the first panel of a row has its name
            rows[name] = [*rows.get(name, []), *axes["maps"]]
    return {name: np.array(maps) for name, maps in rows.items()}


def phi(U: torch.Tensor, V: torch.Tensor) -> np.ndarray:
    """Equation 1 for every i and j, layer by layer, by its definition."""
    products = (U.mT @ V).square().numpy()
    r = products.shape[-1]
    return np.array(
        [[[layer[:i, :j].sum() / min(i, j) for j in range(1, r + 1)] for i in range(1, r + 1)] for layer in products]
    )


TITLES = {"sst2": "SST-2", "sst5": "SST-5", "imdb": "IMDB", "snli": "SNLI", "mnli": "MNLI"}


def mean_grid(recorded: dict[Any, torch.Tensor], a: str, b: str) -> np.ndarray:
    """Mean over heads, and over pairs of unequal training seeds."""
    pairs = [
        phi(recorded[a, 2e-3, head, i, head], recorded[b, 2e-3, head, j, head])
        for head in range(3)
        for i, j in ([(0, 1)] if a == b else [(0, 1), (1, 0)])
    ]
    return np.mean(pairs, 0)


def test_figures_3_5_and_6(recorded: dict[Any, torch.Tensor]) -> None:
    last_layers, all_layers, score, *_ = figures("dataset_heatmaps")
    names = {title: task for task, title in TITLES.items()}
    for figure, layers in ((last_layers, slice(-4, None)), (all_layers, slice(None))):
        drawn = grids(figure)
        assert len(drawn) >= 4
        for pair, found in drawn.items():
            a, b = (names[title] for title in pair.split("\n"))
            np.testing.assert_allclose(found, mean_grid(recorded, a, b)[layers], atol=2e-6)
    (table,) = score[0]["maps"]
    for (i, a), (j, b) in itertools.product(enumerate(TITLES), repeat=2):
        pairs = [
            phi(recorded[a, 2e-3, head, s, head], recorded[b, 2e-3, head, 1 - s, head]).max((1, 2)).mean()
            for head in range(3)
            for s in (0, 1)
        ]
        assert table[i][j] == pytest.approx(np.mean(pairs), abs=2e-6)


def test_figure_1(recorded: dict[Any, torch.Tensor]) -> None:
    drawn = grids(figures("seed_robustness")[0])
    runs = [recorded["sst2", 2e-3, 0, seed, 0] for seed in range(3)]
    expected = np.mean([phi(one, other) for one, other in itertools.combinations(runs, 2)], 0)
    np.testing.assert_allclose(drawn["other seed"], expected, atol=2e-6)
    assert drawn["shuffled"].max() < 0.1


def test_figure_2(tmp_path: Any) -> None:
    there, drawn = Recorded(), grids(figures("instance_robustness")[0])
    (entry,) = (
        entry
        for entry in there.entries.values()
        if entry.pack == "instance_robustness.zip" and entry.settings["other"] is None
        and (entry.settings["one"]["task"], entry.settings["one"]["steps"]) == ("sst2", 1)
        and not entry.settings["one"]["dropout"]
    )  # fmt: skip
    found = load_file(there.folder(entry, Store(tmp_path)) / "likeness.safetensors")
    np.testing.assert_allclose(drawn["same instance"], found["itself grid"].numpy(), atol=2e-6)
    np.testing.assert_allclose(drawn["other instance"], found["others grid"].numpy(), atol=2e-6)


@pytest.mark.parametrize(
    "chapter", ["dataset_heatmaps", "seed_robustness", "instance_robustness", "layers", "explorer", "top100_selection"]
)
def test_a_chapter_s_numbers_are_the_record_s(chapter: str) -> None:
    assert rm.Record.load(ROOT / f"book/executed/{chapter}.json").repeats(rm.recorded(chapter))
