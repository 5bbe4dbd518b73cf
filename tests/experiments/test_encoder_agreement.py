"""Agreement of encoders against rank correlations worked out pair by pair."""

from itertools import combinations, combinations_with_replacement

import numpy as np
import pandas as pd
import pytest
from scipy.stats import linregress, rankdata

import repmatch_lib as rm

TASKS, SEEDS = 5, 3


def scores_like(order: np.ndarray, noise: float, seed: int) -> np.ndarray:
    """Scores of every two runs, symmetric as RepMatch is: a level for each two tasks and some noise."""
    draws = np.random.default_rng(seed).normal(size=(SEEDS, SEEDS, TASKS, TASKS)) * noise
    return order + draws + draws.transpose(1, 0, 3, 2)


@pytest.fixture
def scores() -> dict[str, np.ndarray]:
    level = np.random.default_rng(0).uniform(size=(TASKS, TASKS))
    level += level.T
    return {"a": scores_like(level, 0.1, 1), "b": scores_like(2 * level, 0.1, 2), "c": scores_like(-level, 0.1, 3)}


def one_by_one(square: np.ndarray, a: int, b: int, seeds: list[int]) -> float:
    return float(np.mean([square[s, t, a, b] for s in seeds for t in seeds if s != t]))


def by_ranks(xs: list[float], ys: list[float]) -> float:
    return float(np.corrcoef(rankdata(xs), rankdata(ys))[0, 1])


PAIRS = {
    "all pairs": list(combinations_with_replacement(range(TASKS), 2)),
    "different tasks": list(combinations(range(TASKS), 2)),
    "same task": [(a, a) for a in range(TASKS)],
}


@pytest.mark.parametrize("pairs", PAIRS)
def test_pair_means_are_means_over_pairs_of_different_seeds(scores, pairs):
    expected = [one_by_one(scores["a"], a, b, [0, 1, 2]) for a, b in PAIRS[pairs]]
    np.testing.assert_allclose(rm.pair_means(scores["a"], pairs), expected)


@pytest.mark.parametrize("pairs", ["all pairs", "different tasks"])
def test_orders_and_their_intervals(scores, pairs):
    estimates = rm.order_estimates(scores)

    def agreement(seeds, tasks, *encoders):
        within = [(a, b) for a, b in PAIRS[pairs] if {a, b} <= {*tasks}]
        return by_ranks(*([one_by_one(scores[one], a, b, seeds) for a, b in within] for one in encoders))

    everything = list(range(TASKS))
    of_seeds = rm.jackknife(range(SEEDS), lambda seeds: agreement(seeds, everything, "a", "b"), bounds=(-1, 1))
    got = estimates[f"order, {pairs}: a | b"]
    np.testing.assert_allclose((got.value, got.low, got.high), (of_seeds.value, of_seeds.low, of_seeds.high))
    of_tasks = rm.jackknife(range(TASKS), lambda tasks: agreement([0, 1, 2], tasks, "a", "b"), "task", (-1, 1))
    got = estimates[f"order over tasks, {pairs}: a | b"]
    assert (got.unit, got.n) == ("task", TASKS)
    np.testing.assert_allclose((got.value, got.low, got.high), (of_tasks.value, of_tasks.low, of_tasks.high))
    lead = estimates[f"order with a, {pairs}: b - c"].value
    assert lead == pytest.approx(
        agreement([0, 1, 2], everything, "a", "b") - agreement([0, 1, 2], everything, "a", "c")
    )
    assert lead > 1.5  # b has a's order and c the opposite


def test_levels_and_slopes(scores):
    estimates = rm.level_estimates({"a": scores["a"], "double": 2 * scores["a"] + 1})
    assert estimates["slope: double on a"].value == pytest.approx(2)
    assert estimates["slope: double on a"].high == pytest.approx(2)
    same = np.mean([one_by_one(scores["a"], a, a, [0, 1, 2]) for a in range(TASKS)])
    assert estimates["same task, a"].value == pytest.approx(same)
    assert estimates["level, same task: double - a"].value == pytest.approx(same + 1)
    xs = [one_by_one(scores["a"], a, b, [0, 1, 2]) for a, b in PAIRS["all pairs"]]
    ys = [one_by_one(scores["c"], a, b, [0, 1, 2]) for a, b in PAIRS["all pairs"]]
    assert rm.level_estimates(scores)["slope: c on a"].value == pytest.approx(linregress(xs, ys).slope)


def test_kinds_are_told_apart_by_one_encoder_and_not_by_the_other():
    pairs = [("p", "q", True), ("p", "r", False), ("q", "r", False), ("p", "p", True)]
    rows = [
        {"encoder": name, "a": a, "b": b, "seed_a": s, "seed_b": t, "same_kind": kind, "score": kind * weight}
        for name, weight in {"good": 1, "flat": 0}.items()
        for a, b, kind in pairs
        for s, t in combinations(range(3), 2)
    ]
    table = pd.DataFrame(rows)
    estimates = rm.kind_estimates(table)
    assert (estimates["kind: good"].value, estimates["kind: flat"].value) == (1, 0.5)
    assert estimates["kind: good - flat"].value == 0.5
    assert set(estimates) == {"kind: good", "kind: flat", "kind: good - flat"}


def test_order_of_cosines(scores):
    rng = np.random.default_rng(4)
    centres = {name: rng.normal(size=(TASKS, 4, 6)) for name in scores}
    estimates = rm.cosine_order_estimates(scores, centres, "cls")

    def cosines(name, groups):
        means = [np.mean([centres[name][task, group] for group in groups], axis=0) for task in range(TASKS)]
        return [
            float(means[a] @ means[b] / np.linalg.norm(means[a]) / np.linalg.norm(means[b]))
            for a, b in PAIRS["different tasks"]
        ]

    expected = rm.jackknife(
        range(4), lambda kept: by_ranks(cosines("a", kept), cosines("b", kept)), "group of rows", (-1, 1)
    )
    got = estimates["cosine order, cls: a | b"]
    np.testing.assert_allclose((got.value, got.low, got.high), (expected.value, expected.low, expected.high))
    trained = [one_by_one(scores["a"], a, b, [0, 1, 2]) for a, b in PAIRS["different tasks"]]
    assert estimates["cosine order, cls: RepMatch | cosine, a"].value == pytest.approx(
        by_ranks(cosines("a", [0, 1, 2, 3]), trained)
    )
    assert estimates["cosine order, cls: a | b"].unit == "group of rows"
