"""What can be read off vectors: classes, groups, the meaning of pairs, and the paraphrase among many sentences.

The book's chapter on what a space of vectors looks like introduces them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor

from repmatch_lib.embeddings.quality import unit


def probe(
    train: Tensor, labels: ArrayLike, test: Tensor, how: Literal["logistic", "knn"] = "logistic", neighbours: int = 10
) -> np.ndarray:
    """Classes of ``test``, by a small classifier trained on frozen vectors (Alain & Bengio, 2016, arXiv 1610.01644).

    Parameters
    ----------
    train : Tensor, shape (rows, width)
    labels : array, shape (rows,)
    test : Tensor, shape (rows', width)
    how : {"logistic", "knn"}
        Logistic regression on standardised columns, or the nearest neighbours by cosine.
    neighbours : int
        For ``"knn"``.

    Returns
    -------
    ndarray, shape (rows',)
        Compare with the true classes: the share that agree is the held-out accuracy, from 0 to 1.

    Raises
    ------
    ValueError
        If ``how`` is unknown, the shapes do not fit, or there are fewer rows than neighbours.
    """
    if how not in ("logistic", "knn"):
        raise ValueError(f"unknown probe {how!r}: give 'logistic' or 'knn'")
    labels = np.asarray(labels)
    if len(labels) != len(train) or train.shape[1] != test.shape[1]:
        raise ValueError(
            f"train has shape {tuple(train.shape)}, test {tuple(test.shape)}, and there are {len(labels)} labels: give "
            "a label a row of train, and vectors of one encoder"
        )
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if how == "logistic":
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        return model.fit(train.numpy(), labels).predict(test.numpy())
    if not 0 < neighbours <= len(train):
        raise ValueError(f"neighbours = {neighbours}: give 1 to the number of rows, {len(train)}")
    # Of vectors of length one, the nearest by distance are the nearest by cosine.
    model = KNeighborsClassifier(neighbours).fit(unit(train, "train").numpy(), labels)
    return model.predict(unit(test, "test").numpy())


def k_means(x: Tensor, clusters: int, seed: int = 0) -> np.ndarray:
    """A cluster's number a row, by k-means on rows of length one.

    Parameters
    ----------
    x : Tensor, shape (rows, width)
    clusters : int
    seed : int
        Of the starts, of which the best of ten is taken.

    Returns
    -------
    ndarray, int, shape (rows,)

    Raises
    ------
    ValueError
        If there are more clusters than rows.
    """
    from sklearn.cluster import KMeans

    if not 0 < clusters <= len(x):
        raise ValueError(f"clusters = {clusters}: give 1 to the number of rows, {len(x)}")
    return KMeans(clusters, n_init=10, random_state=seed).fit_predict(unit(x).numpy())


def purity(found: ArrayLike, labels: ArrayLike) -> float:
    """Share of rows that have the most frequent label of their cluster; from that of the largest class to 1.

    Parameters
    ----------
    found, labels : array, shape (rows,)
        A cluster and a true class a row. More clusters are purer, up to one a row.
    """
    from sklearn.metrics.cluster import contingency_matrix

    table = contingency_matrix(labels, found)  # (classes, clusters)
    return float(table.max(0).sum() / table.sum())


def cluster_scores(x: Tensor, found: ArrayLike, labels: ArrayLike) -> dict[str, float]:
    """How well clusters are the classes, and how far apart they lie.

    Parameters
    ----------
    x : Tensor, shape (rows, width)
    found, labels : array, shape (rows,)
        From `k_means`, and the true classes.

    Returns
    -------
    dict of str to float
        ``purity``; ``adjusted Rand`` (Hubert & Arabie, 1985), 1 for the classes and 0 for chance; ``silhouette``
        (Rousseeuw, 1987) of the clusters on rows of length one, from -1 to 1.
    """
    from sklearn.metrics import adjusted_rand_score, silhouette_score

    return {
        "purity": purity(found, labels),
        "adjusted Rand": float(adjusted_rand_score(labels, found)),
        "silhouette": float(silhouette_score(unit(x).numpy(), found)),
    }


def pair_spearman(x: Tensor, y: Tensor, scores: Sequence[float] | np.ndarray) -> float:
    """Whether cosines rank pairs as people did: Spearman's correlation, as on STS-B.

    Parameters
    ----------
    x, y : Tensor, shape (pairs, width)
    scores : array, shape (pairs,)

    Returns
    -------
    float
        From -1 to 1; 0 for no relation.

    Raises
    ------
    ValueError
        If the numbers of rows differ.
    """
    from scipy.stats import spearmanr

    if not len(x) == len(y) == len(scores):
        raise ValueError(f"{len(x)} and {len(y)} rows with {len(scores)} scores: give one of each a pair")
    return float(spearmanr((unit(x, "x") * unit(y, "y")).sum(1).numpy(), scores).statistic)


def reciprocal_ranks(scores: ArrayLike, relevant: ArrayLike) -> np.ndarray:
    """1 / the rank of the first relevant candidate, a query; their mean is MRR.

    Parameters
    ----------
    scores : array, shape (queries, candidates)
        Such as cosines. ``-inf`` takes a candidate out. Ties keep the candidates' order.
    relevant : array of bool, shape (queries, candidates)

    Returns
    -------
    ndarray, shape (queries,)
        Above 0, up to 1.

    Raises
    ------
    ValueError
        If the shapes differ, or a query has no relevant candidate.
    """
    ranked = _ranked(scores, relevant)  # (queries, candidates)
    return 1 / (1 + ranked.argmax(1))


def ndcg(scores: ArrayLike, relevant: ArrayLike, k: int = 10) -> np.ndarray:
    """nDCG of the first ``k`` candidates, a query (Järvelin & Kekäläinen, 2002).

    Parameters and errors as in `reciprocal_ranks`.

    Returns
    -------
    ndarray, shape (queries,)
        From 0 to 1, where the relevant come first.
    """
    ranked = _ranked(scores, relevant)  # (queries, candidates)
    discount = 1 / np.log2(np.arange(2, ranked.shape[1] + 2))
    discount[k:] = 0
    best = discount.cumsum()[ranked.sum(1) - 1]  # as if all that are relevant came first
    return (ranked * discount).sum(1) / best


def _ranked(scores: ArrayLike, relevant: ArrayLike) -> np.ndarray:
    """What is relevant, from the best candidate of each query to its worst."""
    scores, relevant = np.asarray(scores), np.asarray(relevant, bool)
    if scores.shape != relevant.shape or scores.ndim != 2:
        raise ValueError(f"scores have shape {scores.shape}, relevant {relevant.shape}: give one relevance a score")
    if len(lacking := np.flatnonzero(~relevant.any(1))):
        raise ValueError(f"query {lacking[0]} has no relevant candidate: drop it")
    return np.take_along_axis(relevant, np.argsort(-scores, 1, kind="stable"), 1)
