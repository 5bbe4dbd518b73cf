"""Distances of tasks against plain loops."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest

import repmatch_lib as rm

DRAWN = np.random.default_rng(0)


@pytest.mark.parametrize("bandwidth", [None, 0.7])
def test_mmd_is_the_double_loop(bandwidth: float | None) -> None:
    x, y = DRAWN.normal(size=(5, 3)), DRAWN.normal(1, size=(7, 3))
    rows = [*x, *y]
    apart = sorted(math.dist(rows[i], rows[j]) for i in range(12) for j in range(i))
    width = bandwidth or (apart[32] + apart[33]) / 2  # of 66 distances

    def k(a: np.ndarray, b: np.ndarray) -> float:
        return math.exp(-(math.dist(a, b) ** 2) / (2 * width**2))

    within = [
        sum(k(s[i], s[j]) for i in range(len(s)) for j in range(len(s)) if i != j) / (len(s) * (len(s) - 1))
        for s in (x, y)
    ]
    across = sum(k(a, b) for a in x for b in y) / (len(x) * len(y))
    assert rm.mmd(x, y, bandwidth) == pytest.approx(sum(within) - 2 * across)


def test_mmd_is_unbiased_and_does_not_look_at_order_or_place() -> None:
    pool = DRAWN.normal(size=(8, 2))
    halves = [(list(half), [k for k in range(8) if k not in half]) for half in combinations(range(8), 4)]
    found = [rm.mmd(pool[one], pool[other], 1.0) for one, other in halves]
    assert abs(np.mean(found)) < 1e-12 < -min(found)  # over all halves of one set, 0 in the mean
    x, y = pool[:3], pool[3:] + 2
    assert rm.mmd(x, y) == pytest.approx(rm.mmd(y[::-1] + 3, x + 3))
    assert rm.mmd(x, y + 10, 1.0) > rm.mmd(x, y, 1.0) > 0


@pytest.mark.parametrize("shapes", [((1, 2), (4, 2)), ((4, 2), (4, 3)), ((4,), (4,))])
def test_samples_that_cannot_be_compared_are_refused(shapes: tuple[tuple[int, ...], ...]) -> None:
    with pytest.raises(ValueError, match="give two rows or more"):
        rm.mmd(*map(np.ones, shapes))
    with pytest.raises(ValueError, match="above 0"):
        rm.mmd(np.ones((3, 2)), np.ones((3, 2)))


def test_linear_transfer_finds_what_the_source_s_head_knows() -> None:
    x, y = DRAWN.normal(size=(300, 6)), DRAWN.normal(size=(300, 6))
    labels = x[:, 0] > 0
    related = np.digitize(y[:, 0], (-0.43, 0.43))  # three even classes along the same direction
    other = (y[:, 3] > 0).astype(int)
    largest = np.bincount(related).max() / 300
    assert rm.linear_transfer(x, labels, y, related) > 0.85 - largest
    assert abs(rm.linear_transfer(x, labels, y, other)) < 0.1
    names = np.array(["low", "middle", "high"])[related]  # any set of classes
    assert rm.linear_transfer(x, labels, y, names) == pytest.approx(rm.linear_transfer(x, labels, y, related))
