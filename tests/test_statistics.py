"""The jackknife against a textbook interval and against brute force."""

from __future__ import annotations

import math
from itertools import combinations, product

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from hypothesis import given, settings, strategies as st
from scipy.stats import binom

import repmatch_lib as rm

values = st.lists(st.floats(-100, 100), min_size=2, max_size=12)


def pair_mean(matrix: np.ndarray, units: list[int]) -> float:
    pairs = [matrix[a, b] for a, b in combinations(units, 2)]
    return float(np.mean(pairs)) if pairs else math.nan


@settings(max_examples=40, deadline=None)
@given(values)
def test_of_a_mean_it_is_the_textbook_interval(sample: list[float]) -> None:
    found = rm.jackknife(range(len(sample)), lambda kept: float(np.mean([sample[k] for k in kept])))
    assert found.value == pytest.approx(np.mean(sample)) and found.n == len(sample) and found.unit == "seed"
    error = scipy.stats.sem(sample)
    if error < 1e-9:
        assert found.high - found.low < 1e-6
    else:
        expected = scipy.stats.t.interval(0.95, len(sample) - 1, loc=np.mean(sample), scale=error)
        assert (found.low, found.high) == pytest.approx(expected, abs=1e-8)


@settings(max_examples=40, deadline=None)
@given(st.integers(3, 8), st.integers(0, 10**6))
def test_of_pairs_against_brute_force(n: int, seed: int) -> None:
    matrix = np.random.default_rng(seed).uniform(size=(n, n))
    found = rm.jackknife(range(n), lambda kept: pair_mean(matrix, kept), unit="run")
    upper = np.triu(np.ones((n, n), bool), 1)
    left_out = []
    for k in range(n):
        kept = upper.copy()
        kept[k], kept[:, k] = False, False
        left_out.append(matrix[kept].mean())
    half = scipy.stats.t.ppf(0.975, n - 1) * np.sqrt((n - 1) * np.var(left_out))
    mean = matrix[upper].mean()
    assert (found.value, found.low, found.high) == pytest.approx((mean, mean - half, mean + half))
    assert (found.n, found.unit) == (n, "run")


@pytest.mark.parametrize("n", [1, 2])
def test_too_few_units_give_no_interval(n: int) -> None:
    found = rm.jackknife(range(n), lambda kept: pair_mean(np.full((2, 2), 0.5), kept))
    assert math.isnan(found.low) and math.isnan(found.high)
    assert found.value == 0.5 if n == 2 else math.isnan(found.value)


def test_one_unit_of_a_plain_mean_gives_no_interval() -> None:
    found = rm.jackknife([3], lambda kept: 0.25)
    assert found.value == 0.25 and math.isnan(found.low) and math.isnan(found.high)


def test_formats() -> None:
    assert f"{rm.Estimate(0.5, 0.25, 0.75, 3, 'seed'):.3f}" == "0.500 [0.250, 0.750]"
    assert f"{rm.Estimate(0.5, math.nan, math.nan, 1, 'seed'):.2f}" == "0.50"
    assert str(rm.Estimate(-0.0001, -0.25, 12, 3, "seed")) == "0.000 [-0.250, 12.000]"
    assert f"{rm.Estimate(-0.004, -0.25, 12, 3, 'seed'):+.2f}" == "+0.00 [-0.25, +12.00]"
    assert str(rm.Estimate(80.545, 73.562, 87.528, 3, "seed")) == "80.5 [73.6, 87.5]"


def test_a_mean_over_runs_has_students_interval() -> None:
    values = dict(enumerate([0.4, 0.55, 0.5, 0.61, 0.47]))
    found = rm.mean_over(values)
    low, high = scipy.stats.t.interval(0.95, 4, np.mean(list(values.values())), scipy.stats.sem(list(values.values())))
    assert (found.low, found.high, found.unit) == (pytest.approx(low), pytest.approx(high), "run")


def test_pairs_take_out_what_runs_share() -> None:
    random = np.random.default_rng(0)
    shared, noise = random.normal(0, 10, 6), random.normal(0, 0.1, 6)
    a, b = dict(enumerate(shared + 1)), dict(enumerate(shared + noise))
    difference = rm.paired(a, b)
    test = scipy.stats.ttest_rel(list(a.values()), list(b.values())).confidence_interval()
    assert (difference.low, difference.high) == (pytest.approx(test.low), pytest.approx(test.high))
    assert difference.high - difference.low < 1 < rm.mean_over(a).high - rm.mean_over(a).low
    with pytest.raises(ValueError, match="cannot be paired"):
        rm.paired(a, {0: 1.0})


def test_the_bootstrap_of_three_runs_against_all_resamples() -> None:
    values = {0: 1.0, 1: 2.0, 2: 6.0}
    means = np.sort([np.mean(drawn) for drawn in product(values.values(), repeat=3)])  # 27, equally likely
    found = rm.bootstrap(values)
    assert found.value == 3 and found.n == 3
    assert found.low == pytest.approx(means[0]) and found.high == pytest.approx(means[-1])  # 1/27 > 2.5 %


def test_the_bootstrap_agrees_with_students_interval_where_runs_are_many() -> None:
    values = dict(enumerate(np.random.default_rng(1).normal(3, 1, 2000)))
    resampled, student = rm.bootstrap(values), rm.mean_over(values)
    assert (resampled.low, resampled.high) == pytest.approx((student.low, student.high), abs=0.01)
    assert rm.bootstrap(values) == resampled
    assert math.isnan(rm.bootstrap({0: 1.0, 1: 2.0}).low)


def test_a_summary_has_a_row_for_each_group() -> None:
    runs = {0: 0.4, 1: 0.55, 2: 0.5}
    found = rm.summary({"a": runs, "b": {0: 1.0, 1: 1.0, 2: 1.0}})
    assert found.index.tolist() == ["a", "b"] and found.runs.tolist() == [3, 3]
    t = scipy.stats.t.interval(0.95, 2, np.mean([*runs.values()]), scipy.stats.sem([*runs.values()]))
    assert found.loc["a", ["mean", "SD", "low", "high"]].tolist() == pytest.approx([0.48333, 0.07638, *t], abs=1e-5)
    assert found.loc["b", ["bootstrap low", "bootstrap high"]].tolist() == [1.0, 1.0]


def test_a_mean_over_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no run to take a mean over"):
        rm.mean_over({})


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 400), st.data())
def test_percentages_hold_what_their_interval_says(of: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(0, of))
    found = rm.percentage(count, of)
    assert found.value == pytest.approx(100 * count / of) and found.n == of
    assert 0 <= found.low <= found.value + 1e-9 and found.value - 1e-9 <= found.high <= 100 + 1e-9


def test_the_interval_of_a_percentage_covers() -> None:
    of, true = 80, 0.1
    kept = [k for k in range(of + 1) if rm.percentage(k, of).low <= 100 * true <= rm.percentage(k, of).high]
    assert binom.pmf(kept, of, true).sum() == pytest.approx(0.95, abs=0.03)


def test_the_interval_of_a_percentage_by_its_definition() -> None:
    """At each end of Clopper and Pearson's interval, what was counted is the 2.5 % case."""
    found = rm.percentage(30, 1000)
    assert binom.sf(29, 1000, found.low / 100) == pytest.approx(0.025, rel=1e-6)
    assert binom.cdf(30, 1000, found.high / 100) == pytest.approx(0.025, rel=1e-6)
    assert found.value == 3
    assert rm.percentage(0, 20).low == 0 and rm.percentage(20, 20).high == 100
    assert rm.percentage(0, 0).n == 0 and math.isnan(rm.percentage(0, 0).value)


def test_a_nested_design_by_hand() -> None:
    """Two heads of two samples each: means 1 and 5, samples 0, 2, 4, 6, one value each."""
    values = {("a", 0): 0.0, ("a", 1): 2.0, ("b", 0): 4.0, ("b", 1): 6.0}
    mean, components = rm.nested(values, ["head", "sample"])
    assert mean == rm.mean_over({"a": 1.0, "b": 5.0}, "head")
    # Within a head the samples' variance is 2; the heads' means vary by 8, of which 2 / 2 is the samples'.
    assert components == pytest.approx({"head": 7, "sample": 2})


def test_components_are_found_again_and_the_interval_covers() -> None:
    true, rng = {"head": 0.04, "sample": 0.01, "seed": 0.0025}, np.random.default_rng(0)
    found, held = [], 0
    for _ in range(300):
        values = {}
        for head in range(5):
            of_head = rng.normal(0.3, true["head"] ** 0.5)
            for sample in range(3):
                of_sample = rng.normal(of_head, true["sample"] ** 0.5)
                values |= {(head, sample, seed): rng.normal(of_sample, true["seed"] ** 0.5) for seed in range(2)}
        mean, components = rm.nested(values, list(true))
        found.append(components)
        held += mean.low <= 0.3 <= mean.high
    assert pd.DataFrame(found).mean().to_dict() == pytest.approx(true, rel=0.12)
    assert held / 300 == pytest.approx(0.95, abs=0.04)


def test_a_level_of_one_unit_adds_nothing_that_can_be_told() -> None:
    mean, components = rm.nested({(0, 0): 1.0, (1, 0): 2.0, (2, 0): 4.0}, ["head", "sample"])
    assert math.isnan(components["sample"]) and components["head"] == pytest.approx(7 / 3)
    assert mean.unit == "head" and mean.n == 3


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({("a", 0): 1.0, ("a", 1): 2.0, ("b", 0): 3.0}, "some units hold 1 of 'sample', some 2"),
        ({("a",): 1.0}, "one name for each part"),
        ({}, "one name for each part"),
    ],
)
def test_a_design_that_is_not_nested_is_refused(values: dict[tuple[object, ...], float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rm.nested(values, ["head", "sample"])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=3, max_size=8), st.sampled_from([(0, 1), (-1, 1)]))
def test_an_interval_stays_where_its_statistic_can_be(shares: list[float], bounds: tuple[int, int]) -> None:
    low, high = bounds
    sample = [low + (high - low) * share for share in shares]
    found = rm.mean_over(dict(enumerate(sample)), bounds=bounds)
    assert low <= found.low <= found.value + 1e-9 and found.value - 1e-9 <= found.high <= high


def test_inside_bounds_it_is_the_interval_of_the_logit() -> None:
    sample = np.array([0.9, 0.95, 0.99, 0.97])
    found = rm.mean_over(dict(enumerate(sample)), bounds=(0, 1))
    left_out = np.array([np.delete(sample, k).mean() for k in range(4)])
    z = np.log(left_out / (1 - left_out))
    middle = math.log(sample.mean() / (1 - sample.mean()))
    half = scipy.stats.t.ppf(0.975, 3) * math.sqrt(3 / 4 * ((z - z.mean()) ** 2).sum())
    assert (found.low, found.high) == pytest.approx([1 / (1 + math.exp(-(middle + sign * half))) for sign in (-1, 1)])
    assert rm.mean_over(dict(enumerate(sample))).high > 1 > found.high
    # Of a correlation the same is Fisher's z, up to a factor.
    correlated = rm.mean_over(dict(enumerate(2 * sample - 1)), bounds=(-1, 1))
    fisher = np.arctanh(2 * left_out - 1)
    half = scipy.stats.t.ppf(0.975, 3) * math.sqrt(3 / 4 * ((fisher - fisher.mean()) ** 2).sum())
    assert correlated.high == pytest.approx(math.tanh(math.atanh(2 * sample.mean() - 1) + half))


def test_a_narrow_interval_far_from_its_bounds_is_as_without() -> None:
    sample = {k: 0.5 + 0.001 * k for k in range(5)}
    plain, bounded = rm.mean_over(sample), rm.mean_over(sample, bounds=(0, 1))
    assert (bounded.low, bounded.high) == pytest.approx((plain.low, plain.high), abs=1e-6)
