"""All pairs of tasks at once against one pair at a time."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
from helpers import drawn_adapter

import repmatch_lib as rm

TASKS, SEEDS, LAYERS, WIDTH = ("sst2", "imdb", "mnli"), (3, 5, 8, 9), 2, 16


@pytest.fixture(scope="module")
def adapters() -> dict[tuple[str, int], rm.Adapter]:
    return {(t, s): drawn_adapter(100 * k + s) for k, t in enumerate(TASKS) for s in SEEDS}


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize(("a", "b"), [("sst2", "mnli"), ("mnli", "sst2"), ("imdb", "imdb")])
def test_is_the_mean_of_pairs_compared_one_by_one(adapters: dict, side: str, a: str, b: str) -> None:
    found = rm.compare_all(adapters, side=side)
    singly = [rm.repmatch(adapters[a, s], adapters[b, t], side=side) for s, t in permutations(SEEDS, 2)]
    assert found.score(a, b).value == pytest.approx(np.mean([one.score for one in singly]))
    for layer in range(1, LAYERS + 1):
        expected = np.mean([one.layers[layer - 1] for one in singly])
        assert found.score(a, b, layer).value == pytest.approx(expected)
    torch.testing.assert_close(found.grid(a, b), torch.stack([one.grid for one in singly]).mean(0))


def test_interval_leaves_out_a_seed_of_both_tasks(adapters: dict) -> None:
    def over(kept: list[int]) -> float:
        return float(
            np.mean([rm.repmatch(adapters["sst2", s], adapters["imdb", t]).score for s, t in permutations(kept, 2)])
        )

    found, expected = rm.compare_all(adapters).score("sst2", "imdb"), rm.jackknife(SEEDS, over)
    assert (found.low, found.high, found.n) == (pytest.approx(expected.low), pytest.approx(expected.high), len(SEEDS))


def test_table_has_each_pair_once_with_the_chance_of_its_rank(adapters: dict) -> None:
    found = rm.compare_all(adapters)
    table = found.to_pandas()
    pairs = [(a, b) for k, a in enumerate(TASKS) for b in TASKS[k:]]
    assert list(zip(table.a, table.b, strict=True)) == [pair for pair in pairs for _ in range(LAYERS)]
    assert list(table.layer) == list(range(1, LAYERS + 1)) * len(pairs)
    null = rm.chance_scores(WIDTH, 3, 3)
    assert set(table.chance) == {float(null.mean())} and set(table.chance_95) == {float(null.quantile(0.95))}
    last = table.iloc[-1]
    np.testing.assert_allclose(last["grid"], found.grid("mnli", "mnli")[-1], atol=5e-5)
    assert last.score == found.score("mnli", "mnli", LAYERS).value


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({("imdb", 5): None}, r"no adapter for \('imdb', 5\)"),
        ({("imdb", 5): drawn_adapter(0, rank=2)}, r"ranks \[2, 3\]"),
        ({("imdb", 5): drawn_adapter(0, width=8)}, "widths differ"),
        ({("imdb", 5): drawn_adapter(0, base="other")}, "cannot be compared"),
        ({(t, s): None for t in TASKS for s in SEEDS[1:]}, "one seed, 3"),
    ],
)
def test_what_cannot_be_compared_is_refused(adapters: dict, change: dict, message: str) -> None:
    changed = {key: one for key, one in (adapters | change).items() if one is not None}
    with pytest.raises(ValueError, match=message):
        rm.compare_all(changed)
