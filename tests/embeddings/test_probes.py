"""What can be read off vectors against definitions, cases by hand and scikit-learn."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from helpers import draw
from hypothesis import given, settings, strategies as st
from sklearn.metrics import label_ranking_average_precision_score, ndcg_score
from sklearn.metrics.pairwise import cosine_similarity

import repmatch_lib as rm


@pytest.mark.parametrize("how", ["logistic", "knn"])
def test_a_probe_reads_a_direction_and_no_noise(how: str) -> None:
    labels = np.arange(200) % 2
    x = draw(200, 8, shift=0) + 6.0 * torch.eye(8)[torch.from_numpy(labels)]
    assert (rm.probe(x[:100], labels[:100], x[100:], how) == labels[100:]).mean() > 0.95
    noise = draw(200, 8, seed=5, shift=0)
    assert 0.3 < (rm.probe(noise[:100], labels[:100], noise[100:], how) == labels[100:]).mean() < 0.7


def test_neighbours_are_the_nearest_by_cosine() -> None:
    train, test, labels = draw(50), draw(20, seed=1), np.arange(50) % 3
    nearest = cosine_similarity(test, train).argmax(1)
    assert (rm.probe(train, labels, test, "knn", neighbours=1) == labels[nearest]).all()


def test_purity_by_hand() -> None:
    assert rm.purity([0, 0, 0, 1, 1, 1], list("aabbba")) == pytest.approx(4 / 6)
    assert rm.purity([5, 5, 5, 5], list("aaab")) == 0.75  # one cluster: the largest class
    assert rm.purity(range(4), list("aaab")) == 1


def test_clusters_that_are_the_classes() -> None:
    labels = np.repeat([0, 1, 2], 15)
    x = draw(45, 6, shift=0) + 12.0 * torch.eye(6)[torch.from_numpy(labels)]
    found = rm.k_means(x, 3)
    scores = rm.cluster_scores(x, found, labels)
    assert scores["purity"] == scores["adjusted Rand"] == 1 and 0.5 < scores["silhouette"] < 1
    shuffled = rm.cluster_scores(x, np.random.default_rng(0).permutation(found), labels)
    assert abs(shuffled["adjusted Rand"]) < 0.1 and shuffled["silhouette"] < 0.1
    assert rm.k_means(100 * x, 3).tolist() == found.tolist()


def test_the_silhouette_by_its_definition() -> None:
    x, found = draw(12, 4).double(), np.arange(12) % 3
    distances = 2 - 2 * cosine_similarity(x)
    distances = np.sqrt(np.maximum(distances, 0))
    each = []
    for k in range(12):
        own = distances[k, (found == found[k]) & (np.arange(12) != k)].mean()
        other = min(distances[k, found == g].mean() for g in set(found) - {found[k]})
        each.append((other - own) / max(own, other))
    assert rm.cluster_scores(x, found, found)["silhouette"] == pytest.approx(np.mean(each))


def test_pairs_are_ranked_by_their_cosines() -> None:
    angles = torch.tensor([0.1, 0.5, 1.0, 2.0])
    x, y = torch.tensor([[1.0, 0]]).repeat(4, 1), torch.stack([angles.cos(), angles.sin()], dim=1)
    assert rm.pair_spearman(x, y, [5, 4, 3, 0]) == pytest.approx(1)
    assert rm.pair_spearman(2 * y, 3 * x, [0, 1, 2, 3]) == pytest.approx(-1)
    assert rm.pair_spearman(x, y, [5, 4, 0, 3]) == pytest.approx(0.8)  # 1 - 6 · 2 / (4 · 15)


def test_ranks_by_hand() -> None:
    scores = [[0.9, 0.5, 0.1], [0.1, 0.5, 0.9], [0.3, 0.2, 0.1]]
    relevant = [[1, 0, 0], [1, 0, 0], [0, 1, 1]]
    assert rm.reciprocal_ranks(scores, relevant) == pytest.approx([1, 1 / 3, 1 / 2])
    assert rm.ndcg(scores, relevant) == pytest.approx([1, 0.5, (1 / math.log2(3) + 0.5) / (1 + 1 / math.log2(3))])
    assert rm.ndcg(scores, relevant, k=2) == pytest.approx([1, 0, 1 / math.log2(3) / (1 + 1 / math.log2(3))])
    assert rm.reciprocal_ranks([[-math.inf, 0.0]], [[False, True]]) == [1]


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.integers(2, 15), st.integers(1, 12), st.integers(0, 10**6))
def test_ndcg_and_ranks_are_scikit_learn_s(queries: int, candidates: int, k: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    scores, relevant = random.random((queries, candidates)), random.random((queries, candidates)) < 0.3
    relevant[np.arange(queries), random.integers(candidates, size=queries)] = True
    assert rm.ndcg(scores, relevant, k).mean() == pytest.approx(ndcg_score(relevant, scores, k=k))
    only = np.zeros_like(relevant)  # with one relevant candidate, average precision is the reciprocal rank
    only[np.arange(queries), relevant.argmax(1)] = True
    expected = label_ranking_average_precision_score(only, scores)
    assert rm.reciprocal_ranks(scores, only).mean() == pytest.approx(expected)


E3 = torch.eye(3)
BAD: dict[str, tuple[Callable[[], object], str]] = {
    "a probe": (lambda: rm.probe(E3, [0, 1, 0], E3, "svm"), "unknown probe 'svm': give 'logistic' or 'knn'"),
    "labels": (lambda: rm.probe(E3, [0, 1], E3), r"train has shape \(3, 3\).*2 labels: give a label a row"),
    "neighbours": (lambda: rm.probe(E3, [0, 1, 0], E3, "knn"), "neighbours = 10: give 1 to the number of rows, 3"),
    "clusters": (lambda: rm.k_means(E3, 4), "clusters = 4: give 1 to the number of rows, 3"),
    "scores": (lambda: rm.pair_spearman(E3, E3, [1, 2]), "3 and 3 rows with 2 scores: give one of each a pair"),
    "relevance": (lambda: rm.ndcg(E3, E3[:2]), r"scores have shape \(3, 3\), relevant \(2, 3\).*a score"),
    "a query": (lambda: rm.ndcg(E3, [[1, 0, 0], [0, 0, 0], [0, 0, 1]]), "query 1 has no relevant candidate: drop it"),
}  # fmt: skip


@pytest.mark.parametrize("bad", BAD)
def test_a_question_that_cannot_be_asked_is_named_with_its_mend(bad: str) -> None:
    attempt, message = BAD[bad]
    with pytest.raises(ValueError, match=f"(?s){message}"):
        attempt()
