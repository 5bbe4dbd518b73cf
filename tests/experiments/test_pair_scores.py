"""Tables of pairs against plain loops over single comparisons, and their statistics against counts by hand."""

from __future__ import annotations

from itertools import combinations, permutations, product

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import spearmanr

import repmatch_lib as rm

TASKS, SEEDS, LAYERS, WIDTH, RANK = ("sst2", "imdb", "mnli"), (7, 2, 5), 3, 12, 2
LAYER = "base_model.model.encoder.layer.{}.attention.self.value.lora_{}.weight"


def random_adapter(seed: int) -> rm.Adapter:
    random = torch.Generator().manual_seed(seed)
    tensors = {}
    for k in range(LAYERS):
        tensors[LAYER.format(k, "A")] = torch.randn(RANK, WIDTH, generator=random)
        tensors[LAYER.format(k, "B")] = torch.randn(WIDTH, RANK, generator=random)
    return rm.Adapter(tensors, {"base_model_name_or_path": "one"}, name=f"adapter {seed}")


RUNS = rm.grid(task=TASKS, seed=SEEDS, rank=RANK)
ADAPTERS = {run: random_adapter(number) for number, run in enumerate(RUNS)}
BY_KEY = {(run.task, run.seed): adapter for run, adapter in ADAPTERS.items()}


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return rm.pair_scores(ADAPTERS, rm.under_other_seeds(RUNS))


def singly(a: str, b: str, kept: tuple[int, ...] = SEEDS) -> list[rm.Comparison]:
    return [rm.repmatch(BY_KEY[a, i], BY_KEY[b, j]) for i, j in permutations(kept, 2)]


def test_pairs_of_runs_never_share_a_seed_and_come_once() -> None:
    pairs = rm.under_other_seeds(RUNS)
    assert all(one.seed != other.seed for one, other in pairs)
    assert len({frozenset(pair) for pair in pairs}) == len(pairs) == 3 * 3 + 3 * 6
    assert rm.under_other_seeds(RUNS, [("mnli", "sst2")]) == [
        (one, other)
        for one, other in product(RUNS, RUNS)
        if (one.task, other.task) == ("mnli", "sst2") and one.seed != other.seed
    ]


def test_a_row_is_what_the_comparison_says(table: pd.DataFrame) -> None:
    row = table[(table.a == "sst2") & (table.b == "mnli") & (table.seed_a == 2) & (table.seed_b == 7)].iloc[0]
    comparison = rm.repmatch(BY_KEY["sst2", 2], BY_KEY["mnli", 7])
    assert row.score == comparison.score and row.layers == comparison.layers.tolist()
    assert row.phi_11 == pytest.approx(np.mean([float(grid[0, 0]) for grid in comparison.grid]))
    assert row.without_last == pytest.approx(np.mean(row.layers[:2])) and row.chance == comparison.chance


def test_the_second_of_a_pair_may_be_of_another_training() -> None:
    others = {run: random_adapter(100 + number) for number, run in enumerate(RUNS)}
    pair = (RUNS[0], RUNS[0])
    against = rm.pair_scores(ADAPTERS, [pair], against=others).score[0]
    assert against == rm.repmatch(ADAPTERS[RUNS[0]], others[RUNS[0]]).score < 1
    assert rm.pair_scores(ADAPTERS, [pair]).score[0] == pytest.approx(1)


def test_all_at_once_is_the_same_table(table: pd.DataFrame) -> None:
    at_once = rm.scores_of_all(rm.compare_all(BY_KEY))
    key = ["a", "b", "seed_a", "seed_b"]
    one, other = (one.set_index(key).sort_index() for one in (table, at_once))
    assert one.index.equals(other.index)
    for column in ("score", "phi_11", "layers"):
        assert np.allclose(one[column].tolist(), other[column].tolist())


def test_estimates_leave_out_a_seed_of_both_runs(table: pd.DataFrame) -> None:
    estimate = rm.over(table, lambda kept: rm.pair_mean(kept, "imdb", "sst2"))
    expected = rm.jackknife(SEEDS, lambda kept: np.mean([one.score for one in singly("sst2", "imdb", kept)]))
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((expected.value, expected.low, expected.high))
    assert estimate.n == 3


@pytest.mark.parametrize(("a", "b"), [("sst2", "mnli"), ("mnli", "sst2"), ("imdb", "imdb")])
def test_means_of_two_tasks_in_either_order(table: pd.DataFrame, a: str, b: str) -> None:
    comparisons = singly(a, b)
    assert rm.pair_mean(table, a, b) == pytest.approx(np.mean([one.score for one in comparisons]))
    expected = torch.stack([one.grid for one in comparisons]).mean(0)
    if a != b:
        torch.testing.assert_close(rm.mean_grid(table, a, b), expected)
    matrix = rm.pair_matrix(table, TASKS)
    assert matrix.loc[a, b] == matrix.loc[b, a] == rm.pair_mean(table, a, b)


def test_each_pair_of_tasks_counts_once() -> None:
    table = pd.DataFrame({"a": ["x", "x", "x"], "b": ["y", "y", "z"], "score": [0.0, 0.4, 0.6]})
    assert rm.mean_of_pairs(table) == pytest.approx(0.4)  # (0.2 + 0.6) / 2


def test_rank_correlation_is_that_of_the_means(table: pd.DataFrame) -> None:
    pairs = list(combinations(TASKS, 2))
    other = table.assign(score=table.score + np.random.default_rng(0).normal(size=len(table)))
    means = [[rm.pair_mean(one, *pair) for pair in pairs] for one in (table, other)]
    different = [one[one.a != one.b] for one in (table, other)]
    assert rm.rank_correlation(*different) == pytest.approx(spearmanr(*means).statistic)
    assert rm.rank_correlation(table, table.assign(score=-table.score)) == pytest.approx(-1)


def test_relations_of_tasks_by_kind() -> None:
    table = pd.DataFrame({"a": ["sst2", "sst2", "mnli"], "b": ["sst2", "imdb", "sst2"]}, index=[4, 9, 2])
    relations = rm.relations(table, [["imdb", "sst2"], ["mnli"]])
    assert relations.to_dict() == {4: "one task", 9: "one kind", 2: "two kinds"}


def test_titles_of_pairs_and_differences() -> None:
    assert rm.pair_title("sst2|snli") == "SST-2 | SNLI"
    assert rm.pair_title("sst2|imdb - sst2|snli") == "SST-2 | IMDB less SST-2 | SNLI"


def test_chance_s_estimate_holds_what_95_per_cent_score() -> None:
    estimate, draws = rm.chance_estimate(WIDTH, RANK, LAYERS), rm.chance_scores(WIDTH, RANK, RANK, LAYERS)
    inside = ((draws >= estimate.low) & (draws <= estimate.high)).double().mean()
    assert float(inside) == pytest.approx(0.95, abs=0.002) and estimate.value == pytest.approx(float(draws.mean()))
