"""Updates of instances compared, by plain loops over instances and seeds."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from torch import Tensor

import repmatch_lib as rm

N, LAYERS, WIDTH, RANK, SEEDS = 5, 2, 9, 2, 3


@pytest.fixture(scope="module")
def bases() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.linalg.qr(torch.randn(N, LAYERS, WIDTH, RANK, generator=generator).double())[0] for _ in range(SEEDS)]


def score(U: Tensor, V: Tensor) -> float:
    """Of one layer of two updates, by its definition."""
    grid = [[float((U[:, :i].T @ V[:, :j]).square().sum()) / min(i, j) for j in (1, 2)] for i in (1, 2)]
    return max(max(row) for row in grid)


def test_one_instance_under_two_seeds_and_two_instances_under_one(bases: list[Tensor]) -> None:
    same = rm.repmatch_score(rm.same_instance(bases)).mean(0)
    other = rm.repmatch_score(rm.other_instance(bases)).mean(0)
    for n, layer in ((0, 0), (3, 1)):
        expected = np.mean([score(a[n, layer], b[n, layer]) for a, b in combinations(bases, 2)])
        assert float(same[n, layer]) == pytest.approx(expected)
        expected = np.mean([score(basis[n, layer], basis[4, layer]) for basis in bases])
        assert float(other[n, 4, layer]) == pytest.approx(expected)


@pytest.mark.parametrize("same_start", [True, False])
def test_two_heads_with_the_starts_asked_for(bases: list[Tensor], same_start: bool) -> None:
    first, second = bases[:2], bases[1:]
    pairs = [(i, j) for i in range(2) for j in range(2) if (i == j) is same_start]
    expected = np.mean([[score(first[i][n, 1], second[j][n, 1]) for n in range(N)] for i, j in pairs])
    assert float(rm.under_two_heads(first, second, same_start)[1]) == pytest.approx(expected)


def test_intervals_leave_out_an_instance_with_all_its_pairs(bases: list[Tensor]) -> None:
    scores = rm.repmatch_score(rm.other_instance(bases)).mean(0)
    found = rm.over_instances(scores)
    means = [np.mean([float(scores[i, j].mean()) for i, j in combinations(set(range(N)) - {k}, 2)]) for k in range(N)]
    assert found.value == pytest.approx(np.mean([float(scores[i, j].mean()) for i, j in combinations(range(N), 2)]))
    half = 2.7764451051977987 * np.sqrt((N - 1) / N * np.sum((np.array(means) - np.mean(means)) ** 2))
    assert found.high - found.value == pytest.approx(half)


def test_pairs_of_one_label_and_of_two() -> None:
    scores, labels = torch.rand(6, 6, generator=torch.Generator().manual_seed(1)).double(), [0, 0, 1, 1, 0, 1]
    found = rm.by_label(scores, torch.tensor(labels))
    pairs = list(combinations(range(6), 2))
    same = [float(scores[i, j]) for i, j in pairs if labels[i] == labels[j]]
    other = [float(scores[i, j]) for i, j in pairs if labels[i] != labels[j]]
    assert found["other instance, same label"].value == pytest.approx(np.mean(same))
    assert found["same label - other label"].value == pytest.approx(np.mean(same) - np.mean(other))
    assert found["other label ahead"].value == pytest.approx(np.mean([o > s for s in same for o in other]))


def test_a_head_left_out_takes_its_pairs_along() -> None:
    scores = {(0, 1): torch.tensor([0.2, 0.4]), (0, 2): torch.tensor([0.6, 0.6]), (1, 2): torch.tensor([0.0, 0.2])}
    found = rm.over_heads(scores)
    assert found.value == pytest.approx(1 / 3) and (found.n, found.unit) == (3, "head")
    spread = np.array([0.1, 0.6, 0.3]) - 1 / 3
    assert found.high - found.value == pytest.approx(4.302652729696142 * np.sqrt(2 / 3 * (spread**2).sum()))


def test_each_label_becomes_the_next(toy: rm.Corpus) -> None:
    turned = rm.with_other_labels(toy)
    assert turned.table["label"].to_pylist() == [1 - label for label in toy.table["label"].to_pylist()]
    assert turned.table.drop_columns("label").equals(toy.table.drop_columns("label"))
