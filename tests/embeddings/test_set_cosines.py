"""Cosines of sets of vectors against plain loops over rows."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch

import repmatch_lib as rm

GENERATOR = torch.Generator().manual_seed(0)
SETS = {name: torch.randn(rows, 6, generator=GENERATOR) for name, rows in {"a": 9, "b": 11, "c": 12}.items()}


def cosine(x: np.ndarray, y: np.ndarray) -> float:
    return float(x @ y / np.sqrt((x @ x) * (y @ y)))


def test_cosine_of_means() -> None:
    means = {name: rows.numpy().mean(0) for name, rows in SETS.items()}
    assert rm.cosine_of_means(SETS["a"], SETS["b"]) == pytest.approx(cosine(means["a"], means["b"]), abs=1e-6)
    matrix = rm.cosine_matrix(list(means.values()))
    for (i, one), (j, other) in combinations(enumerate(means.values()), 2):
        assert matrix[i, j] == matrix[j, i] == pytest.approx(cosine(one, other), abs=1e-6)


def test_the_level_is_the_first_that_no_more_than_the_share_pass() -> None:
    cosines = {
        (a, b): np.array([cosine(x, y) for x in SETS[a].numpy() for y in SETS[b].numpy()])
        for a, b in combinations(SETS, 2)
    }
    edges = np.linspace(-1, 1, 401)
    level = next(e for e in edges if np.mean([(of >= e).mean() for of in cosines.values()]) <= 0.2)
    found = rm.closest_shares(SETS, 0.2)
    assert len(found) == 6
    for (a, b), of in cosines.items():
        assert found[a, b] == found[b, a] == pytest.approx((of >= level).mean())


def test_means_of_groups_of_rows() -> None:
    vectors = np.random.default_rng(0).random((2, 11, 3))
    found = rm.group_means(vectors, 3)
    assert found.shape == (2, 3, 3)
    for start, stop, group in ((0, 4, 0), (4, 8, 1), (8, 11, 2)):
        expected = sum(vectors[1, row] for row in range(start, stop)) / (stop - start)
        assert np.allclose(found[1, group], expected)
