"""Designs of runs, steps and samples against plain loops."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations, product
from math import ceil

import numpy as np
import pytest
import torch

import repmatch_lib as rm

BASE = rm.Run("sst2", source="mini", rows=20, seed=0, start_seed=0, order_seed=0, head_seed=4)


def test_a_design_has_every_combination_once_and_other_seeds_in_each_replicate() -> None:
    design = rm.Design(BASE, ["start", "rows"], 2)
    seeds = [(run.start_seed, run.sample_seed) for run in design.runs]
    assert seeds == [*product((0, 1), repeat=2), *product((2, 3), repeat=2)]
    assert design.cells(1) == design.runs[4:]
    assert {(run.head_seed, run.seed, run.order_seed, run.rows) for run in design.runs} == {(4, 0, 0, 20)}


def test_cells_that_differ_in_given_factors_only() -> None:
    factors = ("head", "start", "order")
    design = rm.Design(BASE, factors)
    for count in (1, 2, 3):
        for chosen in combinations(factors, count):
            pairs = {
                (i, j)
                for (i, a), (j, b) in product(enumerate(design.levels), repeat=2)
                if {f for f, x, y in zip(factors, a, b, strict=True) if x != y} == set(chosen)
            }
            assert set(zip(*(p.tolist() for p in design.differing(*chosen)), strict=True)) == pairs and len(pairs) == 8


@pytest.mark.parametrize("factors", [["head"], ["head", "head"], ["head", "weather"]])
def test_what_is_no_design_is_refused(factors: list[str]) -> None:
    with pytest.raises(ValueError, match="factors"):
        rm.Design(BASE, factors)
    with pytest.raises(ValueError, match="replicates = 0"):
        rm.Design(BASE, ["head", "start"], 0)


def test_passes_make_the_steps_that_they_are_asked_for() -> None:
    for rows, batch, epochs in product((7, 24, 48), (5, 12, 48), (1, 3)):
        steps = sum(1 for _ in range(epochs) for _ in range(0, rows, batch))
        assert rm.steps_of(epochs, rows, batch) == steps and rm.passes_of(steps, rows, batch) == epochs
        assert steps == epochs * ceil(rows / batch)
    for steps in (0, 5):
        with pytest.raises(ValueError, match="no whole number of passes over 24 rows in batches of 12"):
            rm.passes_of(steps, 24, 12)


def test_one_seed_for_all_that_training_draws() -> None:
    run = rm.under_seed(BASE, 3, dropout=False)
    assert (run.seed, run.start_seed, run.order_seed, run.sample_seed, run.head_seed) == (3, 3, 3, 0, 4)
    assert not run.dropout and BASE.dropout


def test_rows_in_common_are_counted_one_by_one() -> None:
    pairs = [(0, 1), (0, 2)]
    drawn = [rm.load(rm.task("sst2"), source="mini", rows=20, seed=s).table["id"].to_pylist() for s in range(3)]
    count = sum(one == other for a, b in pairs for one in drawn[a] for other in drawn[b])
    assert rm.shared_rows(BASE, 20, iter(pairs)) == count / 2
    assert rm.shared_rows(BASE, 10, [(1, 1)]) == 10


def test_shares_by_layer_are_sums_of_squares() -> None:
    generator = torch.Generator().manual_seed(0)
    bases = torch.linalg.qr(torch.randn(2, 4, 3, 9, 2, generator=generator, dtype=torch.float64)).Q
    table = rm.shares_by_layer(list(bases), ("start", "order"))
    assert len(table) == 2 * 3 * 3 and np.allclose(table.groupby(["replicate", "layer"]).share.sum(), 1)
    P = (bases[1, :, 2] @ bases[1, :, 2].mT).numpy()  # of cells 00, 01, 10, 11
    total = ((P - P.mean(0)) ** 2).sum()
    of = {
        "start": (P[0] + P[1] - P[2] - P[3]) / 2,
        "order": (P[0] - P[1] + P[2] - P[3]) / 2,
        "interactions": (P[0] - P[1] - P[2] + P[3]) / 2,
    }
    shares = table[(table.replicate == 1) & (table.layer == 3)].set_index("part").share
    assert shares.to_dict() == pytest.approx({part: (contrast**2).sum() / total for part, contrast in of.items()})


def pairs_mean(scores: np.ndarray) -> Callable[[list[int]], float]:
    def mean(kept: list[int]) -> float:
        values = [scores[s, t] for s in kept for t in kept if s != t]
        return sum(values) / len(values)

    return mean


def test_a_changed_setting_beside_another_seed() -> None:
    beside, own, plain = np.random.default_rng(0).random((3, 4, 4))
    found = rm.setting_estimates("way", beside, own, plain)
    same = {s: beside[s, s] for s in range(4)}
    expected = {
        "way: same seeds": lambda kept: sum(same[s] for s in kept) / len(kept),
        "way: other seeds": pairs_mean(beside),
        "way: among themselves": pairs_mean(own),
    }
    less = {"way: same seeds": "less another seed", "way: other seeds": "less another seed"}
    assert len(found) == 6
    for name, mean in expected.items():
        difference = rm.jackknife(range(4), lambda kept, mean=mean: mean(kept) - pairs_mean(plain)(kept))
        for key, estimate in (
            (name, rm.jackknife(range(4), mean)),
            (f"{name}, {less.get(name, 'less as it is')}", difference),
        ):
            assert (found[key].value, found[key].low) == pytest.approx((estimate.value, estimate.low))


def test_points_and_steps_of_a_curve() -> None:
    scores = dict(zip((10, 20, 40), np.random.default_rng(1).random((3, 4, 4)), strict=True))
    found = rm.curve_estimates("two (of them)", scores)
    assert len(found) == 6
    step = rm.jackknife(range(4), lambda kept: pairs_mean(scores[40])(kept) - pairs_mean(scores[10])(kept))
    assert found["two (of them), 40 rows less 10"].low == pytest.approx(step.low)
    points = rm.curve_points("two (of them)", found | {"other, 80 rows": step})
    assert list(points) == [10, 20, 40]
    assert points[20].value == pytest.approx(pairs_mean(scores[20])([0, 1, 2, 3]))


@pytest.mark.parametrize(("rises", "size"), [((1, 1, 0), 40), ((1, 0, 1), None), ((0, 0, 0), 10), ((1, 0, 0), 20)])
def test_a_curve_levels_off_where_no_step_after_it_is_clear_of_zero(rises: tuple[int, ...], size: int | None) -> None:
    sizes = (10, 20, 40, 80)
    known = {f"a, {n} rows": rm.Estimate(0.5, 0.4, 0.6, 3, "seed") for n in sizes}
    for k, rise in enumerate(rises):
        known[f"a, {sizes[k + 1]} rows less {sizes[k]}"] = rm.Estimate(0.1, 0.05 if rise else -0.05, 0.2, 3, "seed")
    assert rm.levels_off("a", known) == size
