"""Updates of instances compared, by plain loops over instances and seeds."""

from __future__ import annotations

import dataclasses
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import Tiny
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
    found = rm.compared(bases)
    same, other = rm.seeds_apart(found["itself"]), found["others"]
    for n, layer in ((0, 0), (3, 1)):
        expected = np.mean([score(a[n, layer], b[n, layer]) for a, b in combinations(bases, 2)])
        assert float(same[n, layer]) == pytest.approx(expected)
        expected = np.mean([score(basis[n, layer], basis[4, layer]) for basis in bases])
        assert float(other[n, 4, layer]) == pytest.approx(expected)
    grids = [rm.grassmann_similarity(a[n, 0], b[n, 0]) for n in range(N) for a, b in combinations(bases, 2)]
    assert torch.allclose(found["itself grid"][0], torch.stack(grids).mean(0))
    grids = [rm.grassmann_similarity(basis[i, 1], basis[j, 1]) for i, j in combinations(range(N), 2) for basis in bases]
    assert torch.allclose(found["others grid"][1], torch.stack(grids).mean(0))


@pytest.mark.parametrize("same_start", [True, False])
def test_two_heads_with_the_starts_asked_for(bases: list[Tensor], same_start: bool) -> None:
    first, second = bases[:2], bases[1:]
    pairs = [(i, j) for i in range(2) for j in range(2) if (i == j) is same_start]
    expected = np.mean([[score(first[i][n, 1], second[j][n, 1]) for n in range(N)] for i, j in pairs])
    assert float(rm.under_two_heads(rm.compared(first, second)["itself"], same_start)[1]) == pytest.approx(expected)


def test_intervals_leave_out_an_instance_with_all_its_pairs(bases: list[Tensor]) -> None:
    scores = rm.compared(bases)["others"]
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


def test_likeness_is_that_of_the_updates(tiny: Tiny, toy: rm.Corpus, own_store: Path) -> None:
    one = rm.Instances(str(toy.task.file), str(tiny("bert").folder), rows=4, rank=2, steps=2, max_length=32)
    other = dataclasses.replace(one, head_seed=1, next_label=True, dropout=True)
    found = rm.InstanceLikeness(one, other, seeds=(3, 5)).make(progress=False)
    data = rm.load(toy.task, rows=4)
    how = {"rank": 2, "steps": 2, "lr": 1e-3, "max_length": 32, "precision": "float32", "progress": False}
    U = rm.instance_updates(tiny("bert"), data, seed=5, head_seed=0, dropout=False, **how).basis()
    V = rm.instance_updates(tiny("bert"), rm.with_other_labels(data), seed=3, head_seed=1, dropout=True, **how).basis()
    assert float(found.tensors["itself"][1, 0, 2, 1]) == pytest.approx(score(U[2, 1], V[2, 1]), abs=1e-6)
    assert found.ids == data.table["id"].to_pylist()
    assert found.tensors["labels"].tolist() == data.table["label"].to_pylist()
    alone = rm.InstanceLikeness(one, seeds=(3, 5)).make(progress=False)
    assert torch.equal(alone.tensors["others"], found.tensors["others"])
    assert torch.allclose(alone.tensors["itself"].diagonal().float(), torch.tensor(1.0), atol=1e-6)


def test_instances_have_classes() -> None:
    with pytest.raises(ValueError, match="squad has no classes: give a task with classes"):
        rm.Instances("squad")
