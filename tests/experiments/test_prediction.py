"""Prediction of gains against plain loops, rank correlations of scipy, and cases that are known."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr

import repmatch_lib as rm

TASKS, SEEDS = ["sst2", "sst5", "snli", "mnli"], [0, 1, 2]
PAIRS = list(permutations(range(4), 2))


@pytest.fixture
def prediction() -> rm.Prediction:
    generator = np.random.default_rng(0)
    gains = generator.normal(size=(3, 4, 4))
    scores = generator.random((3, 3, 4, 4))
    scores = (
        scores + scores.transpose(1, 0, 3, 2)
    ) / 2  # as of pairs of runs: (s, a) with (t, b) is (t, b) with (s, a)
    return rm.Prediction(TASKS, SEEDS, gains, {"scores": scores, "fixed": generator.random((4, 4))})


def correlation(x: Any, y: Any) -> float:
    return float(spearmanr(x, y).statistic)


def loop_measure(prediction: rm.Prediction, kept: list[int]) -> np.ndarray:
    mean = np.zeros((4, 4))
    pairs = [(s, t) for s in kept for t in kept if s != t]
    for s, t in pairs:
        mean += prediction.measures["scores"][s, t] / len(pairs)
    return mean


def test_gains_are_placed_by_seed_source_and_target() -> None:
    runs = rm.grid(task=TASKS[:2], seed=[4, 7], source="mini")
    accuracy = {run: {"sst5" if run.task == "sst2" else "sst2": 0.5 + 0.1 * run.seed / 7} for run in runs}
    gains = rm.gains(accuracy, {"sst2": 0.5, "sst5": 0.25}, TASKS[:2], [4, 7])
    assert gains[1, 0, 1] == pytest.approx(35) and gains[1, 1, 0] == pytest.approx(10)
    assert gains[0, 1, 0] == pytest.approx(100 * 0.4 / 7) and np.isnan(gains[:, [0, 1], [0, 1]]).all()


def test_one_way_share_of_known_gains() -> None:
    symmetric = np.array([[0.0, 1, 2], [1, 0, 5], [2, 5, 0]])
    turning = np.array([[0.0, 1, -2], [-1, 0, 3], [2, -3, 0]])
    assert rm.one_way_share(np.array([symmetric] * 2)).value == pytest.approx(0)
    assert rm.one_way_share(np.array([turning] * 2)).value == pytest.approx(1)
    # Both together: their variances over ordered pairs add up, as they do not covary.
    share = turning[~np.eye(3, dtype=bool)].var() / (symmetric + turning)[~np.eye(3, dtype=bool)].var()
    assert rm.one_way_share((symmetric + turning)[None]).value == pytest.approx(share)


def test_questions_are_those_of_loops(prediction: rm.Prediction) -> None:
    kept = [0, 2]
    like, gains = loop_measure(prediction, kept), (prediction.gains[0] + prediction.gains[2]) / 2
    sources = {b: [a for a in range(4) if a != b] for b in range(4)}
    within = [correlation([like[a, b] for a in s], [gains[a, b] for a in s]) for b, s in sources.items()]
    assert prediction.answer("within a target", "scores", kept) == pytest.approx(np.mean(within))
    every = correlation([like[p] for p in PAIRS], [gains[p] for p in PAIRS])
    assert prediction.answer("all pairs", "scores", kept) == pytest.approx(every)
    upper = [(a, b) for a, b in PAIRS if a < b]
    both = correlation([like[a, b] + like[b, a] for a, b in upper], [gains[a, b] + gains[b, a] for a, b in upper])
    assert prediction.answer("both directions", "scores", kept) == pytest.approx(both)
    best = {b: max(s, key=lambda a: like[a, b]) for b, s in sources.items()}
    ahead = [gains[best[b], b] - np.mean([gains[a, b] for a in s]) for b, s in sources.items()]
    assert prediction.answer("its choice", "scores", kept) == pytest.approx(np.mean(ahead))


def test_a_measure_that_is_the_gain_predicts_it_and_one_that_is_equal_orders_nothing() -> None:
    gains = np.random.default_rng(1).normal(size=(1, 4, 4))
    known = rm.Prediction(TASKS, [0], gains, {"gain": gains[0], "equal": np.full((4, 4), 0.1 + 0.2)})
    for question in ("within a target", "all pairs", "both directions"):
        assert known.answer(question, "gain") == pytest.approx(1) and known.answer(question, "equal") == 0
    assert known.by_relabelling("all pairs", "gain").value == pytest.approx(1 / 24)
    assert known.by_relabelling("all pairs", "equal").value == 1


def test_estimates_leave_out_seeds_and_tasks(prediction: rm.Prediction) -> None:
    found = prediction.estimates("all pairs", "scores", less="fixed")
    over_seeds, over_tasks = found["scores - fixed: all pairs"], found["scores - fixed: all pairs, over tasks"]

    def less(seeds: list[int], tasks: list[int]) -> float:
        like, gains = loop_measure(prediction, seeds), prediction.gains[seeds].mean(0)
        pairs = [(a, b) for a, b in PAIRS if {a, b} <= {*tasks}]
        one, other = (
            correlation([of[p] for p in pairs], [gains[p] for p in pairs])
            for of in (like, prediction.measures["fixed"])
        )
        return one - other

    for estimate, expected in (
        (over_seeds, rm.jackknife(range(3), lambda kept: less(kept, [0, 1, 2, 3]))),
        (over_tasks, rm.jackknife(range(4), lambda kept: less([0, 1, 2], kept), "task")),
    ):
        assert (estimate.value, estimate.low) == pytest.approx((expected.value, expected.low))
        assert (estimate.n, estimate.unit) == (expected.n, expected.unit)


def test_a_task_left_out(prediction: rm.Prediction) -> None:
    rest = prediction.without("sst5")
    assert rest.tasks == ["sst2", "snli", "mnli"] and rest.gains.shape == (3, 3, 3)
    assert rest.gains[1, 2, 1] == prediction.gains[1, 3, 2]
    assert rest.measures["scores"][0, 1, 1, 2] == prediction.measures["scores"][0, 1, 2, 3]
    change = prediction.change_without("sst5", "all pairs", "scores")
    assert change.value == pytest.approx(rest.answer("all pairs", "scores") - prediction.answer("all pairs", "scores"))
    assert change.unit == "seed" and change.n == 3


def test_relabelling_deals_out_the_names_of_the_measure(prediction: rm.Prediction) -> None:
    fixed, gains = prediction.measures["fixed"], prediction.gains.mean(0)
    answers = [
        correlation([fixed[way[a], way[b]] for a, b in PAIRS], [gains[p] for p in PAIRS])
        for way in permutations(range(4))
    ]
    share = sum(answer >= answers[0] - 1e-9 for answer in answers) / 24
    found = prediction.by_relabelling("all pairs", "fixed")
    assert found.value == pytest.approx(share) and (found.n, found.unit) == (24, "relabelling")


def test_many_tasks_are_relabelled_at_random() -> None:
    gains = np.random.default_rng(2).normal(size=(1, 7, 7))
    many = rm.Prediction([*"abcdefg"], [0], gains, {"gain": gains[0]})
    found = many.by_relabelling("all pairs", "gain")
    assert found.n <= 720 and found.value == pytest.approx(1 / found.n)


def test_the_table_has_a_row_for_every_pair_and_seed(prediction: rm.Prediction) -> None:
    table = prediction.table()
    assert len(table) == 36
    row = table[(table["from"] == "snli") & (table["to"] == "sst2") & (table.seed == 1)].iloc[0]
    assert row.gain == prediction.gains[1, 2, 0] and row.fixed == prediction.measures["fixed"][2, 0]
    assert row.scores == pytest.approx(loop_measure(prediction, [0, 1, 2])[2, 0])
