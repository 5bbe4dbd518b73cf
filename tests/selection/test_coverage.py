"""Cover of a pool against plain loops and exhaustive search."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest
from helpers import Tiny

import repmatch_lib as rm


def similarity_of(n: int, seed: int, layers: int = 2, width: int = 3) -> np.ndarray:
    """Squared cosines of random directions, mean over layers."""
    drawn = np.random.default_rng(seed).standard_normal((layers, n, width))
    unit = drawn / np.linalg.norm(drawn, axis=-1, keepdims=True)
    return ((unit @ unit.transpose(0, 2, 1)) ** 2).mean(0)


def covered(similarity: np.ndarray, rows: list[int] | np.ndarray) -> float:
    return sum(max(similarity[i][j] for j in rows) for i in range(len(similarity)))


def radius(similarity: np.ndarray, rows: list[int] | np.ndarray) -> float:
    return max(min(math.sqrt(max(0, 1 - similarity[i][j])) for j in rows) for i in range(len(similarity)))


@pytest.mark.parametrize("rank", [1, 3])
def test_similarity_of_updates_is_repmatch_pair_by_pair(
    tiny: Tiny, toy: rm.Corpus, rank: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("repmatch_lib.selection.coverage.ROWS", 4)
    updates = rm.instance_updates(tiny("bert"), toy.take(list(range(9))), rank=rank, max_length=32, progress=False)
    found, basis = rm.update_similarity(updates), updates.basis()
    for a, b in combinations(range(9), 2):
        score = rm.repmatch_score(rm.grassmann_similarity(basis[a], basis[b])).mean()
        assert found[a, b] == pytest.approx(float(score), abs=1e-5) == found[b, a]
    assert np.diag(found) == pytest.approx(np.ones(9)) and found.max() <= 1


@pytest.mark.parametrize("seed", range(5))
def test_facility_location_is_the_plain_greedy_choice(seed: int) -> None:
    similarity, chosen = similarity_of(30, seed), []
    for _ in range(30):
        left = [row for row in range(30) if row not in chosen]
        chosen.append(max(left, key=lambda row: round(covered(similarity, [*chosen, row]), 6)))
    assert rm.facility_location(similarity).tolist() == chosen
    assert rm.facility_location(similarity, 7).tolist() == chosen[:7]


@pytest.mark.parametrize("seed", range(5))
def test_both_choices_keep_their_bounds_against_the_best_of_all(seed: int) -> None:
    similarity = similarity_of(10, seed)
    every = list(combinations(range(10), 3))
    most, least = max(covered(similarity, rows) for rows in every), min(radius(similarity, rows) for rows in every)
    assert (1 - 1 / math.e) * most <= covered(similarity, rm.facility_location(similarity, 3)) <= most + 1e-9
    assert least - 1e-9 <= radius(similarity, rm.k_centre(similarity, 3)) <= 2 * least


@pytest.mark.parametrize("seed", range(3))
def test_the_root_of_what_is_not_alike_is_a_distance(seed: int) -> None:
    distance = np.sqrt((1 - similarity_of(12, seed)).clip(0))
    assert (distance[:, None, :] <= distance[:, :, None] + distance[None] + 1e-9).all()


def test_k_centre_takes_the_farthest() -> None:
    similarity = similarity_of(25, 3)
    chosen = [int(similarity.sum(0).argmax())]
    while len(chosen) < 25:
        left = [row for row in range(25) if row not in chosen]
        chosen.append(min(left, key=lambda row: max(similarity[row][j] for j in chosen)))
    assert rm.k_centre(similarity).tolist() == chosen and rm.k_centre(similarity, 4).tolist() == chosen[:4]


@pytest.mark.parametrize("choose", [rm.facility_location, rm.k_centre])
def test_one_of_each_group_comes_first_and_ties_in_the_order_of_the_rows(choose: Callable[..., np.ndarray]) -> None:
    group = np.array([0, 0, 0, 1, 1, 2])
    order = choose((group[:, None] == group).astype(np.float32))
    assert order.tolist() == [0, 3, 5, 1, 2, 4]


@pytest.mark.parametrize("choose", [rm.facility_location, rm.k_centre])
def test_what_cannot_be_chosen_from_is_refused(choose: Callable[..., np.ndarray]) -> None:
    for k in (0, -1, 6):
        with pytest.raises(ValueError, match=rf"k = {k}, but there are 5 rows: give 1 to 5"):
            choose(np.eye(5), k)
    assert sorted(choose(np.eye(5), 5)) == sorted(choose(np.eye(5))) == list(range(5))
    for wrong in (np.empty((0, 0)), np.ones((2, 3)), np.full((2, 2), np.nan)):
        with pytest.raises(ValueError, match="give a square array of a row or more, without NaN"):
            choose(wrong)
