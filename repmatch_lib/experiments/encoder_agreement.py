"""Do encoders put pairs of tasks in one order? Agreement of their scores by rank, beside their levels.

Scores of two encoders differ in level with width, depth and training, so only the order can agree. Arrays of scores
are those of `seed_scores`, one an encoder, all of the same T tasks under the same S seeds; the book's chapter on other
encoders introduces the questions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import linregress, spearmanr

from repmatch_lib.embeddings.set_cosines import cosine_matrix
from repmatch_lib.experiments.pair_scores import over
from repmatch_lib.experiments.recognition import kind_auc
from repmatch_lib.experiments.seed_scores import Scores, other_seeds, over_seeds
from repmatch_lib.statistics import Estimate, jackknife

# Which cells of a square of tasks count, each pair once.
PAIRS: dict[str, Callable[[NDArray], NDArray]] = {
    "same task": np.diagonal,
    "different tasks": lambda square: square[np.triu_indices_from(square, 1)],
    "all pairs": lambda square: square[np.triu_indices_from(square)],
}


def pair_means(scores: Scores, pairs: str = "all pairs") -> NDArray[np.float64]:
    """The score of each pair of tasks, mean over pairs of different seeds.

    Parameters
    ----------
    scores : array, shape (S, S, T, T)
    pairs : {"all pairs", "different tasks", "same task"}

    Returns
    -------
    array, shape (pairs,)
        In the order of ``itertools.combinations``, ``combinations_with_replacement`` for all pairs.
    """
    return PAIRS[pairs](other_seeds(scores))


def rank_agreement(one: Scores, other: Scores, pairs: str = "all pairs") -> float:
    """Spearman's rank correlation between two encoders' scores of pairs, from -1 to 1; see `pair_means`."""
    return float(spearmanr(pair_means(one, pairs), pair_means(other, pairs)).statistic)


def order_estimates(scores: Mapping[str, Scores]) -> dict[str, Estimate]:
    """How well every two encoders agree in the order of pairs of tasks, and which agrees best with the first.

    Returns
    -------
    dict of str to Estimate
        For all pairs and for those of different tasks: ``"order, <pairs>: a | b"`` leaves out seeds, ``"order over
        tasks, <pairs>: a | b"`` tasks with all of their pairs, and ``"order with <first>, <pairs>: a - b"`` is the
        difference of two agreements with the first.
    """
    first, *others = scores
    estimates = {}
    for pairs in ("all pairs", "different tasks"):
        agreement, lead = partial(rank_agreement, pairs=pairs), partial(_lead, pairs=pairs)
        for a, b in combinations(scores, 2):
            estimates[f"order, {pairs}: {a} | {b}"] = over_seeds(agreement, scores[a], scores[b], bounds=(-1, 1))
            estimates[f"order over tasks, {pairs}: {a} | {b}"] = _over_tasks(agreement, scores[a], scores[b])
        for a, b in combinations(others, 2):
            estimates[f"order with {first}, {pairs}: {a} - {b}"] = over_seeds(lead, scores[first], scores[a], scores[b])
    return estimates


def level_estimates(scores: Mapping[str, Scores]) -> dict[str, Estimate]:
    """How high each encoder scores, and what separates its scores from the first one's.

    Returns
    -------
    dict of str to Estimate
        ``"<pairs>, a"`` and ``"level, <pairs>: a - <first>"`` are means over pairs and their differences;
        ``"slope: a on <first>"`` is that of least squares over all pairs.
    """
    first, *others = scores
    estimates: dict[str, Estimate] = {}
    for pairs in ("same task", "different tasks"):
        level, rise = partial(_level, pairs=pairs), partial(_rise, pairs=pairs)
        estimates |= {f"{pairs}, {a}": over_seeds(level, scores[a]) for a in scores}
        estimates |= {f"level, {pairs}: {a} - {first}": over_seeds(rise, scores[first], scores[a]) for a in others}
    return estimates | {f"slope: {a} on {first}": over_seeds(_slope, scores[first], scores[a]) for a in others}


def kind_estimates(table: pd.DataFrame) -> dict[str, Estimate]:
    """How well each encoder tells pairs of one kind of task from pairs of two kinds; see `kind_auc`.

    Parameters
    ----------
    table : DataFrame
        Pairs of runs as from `scores_of_all`, with ``encoder`` and ``same_kind``.

    Returns
    -------
    dict of str to Estimate
        ``"kind: a"``, and of every two ``"kind: a - b"``; seeds are left out of both at once.
    """
    encoders = list(dict.fromkeys(table.encoder))
    estimates = {f"kind: {a}": over(table, partial(_auc, encoder=a), bounds=(0, 1)) for a in encoders}
    for a, b in combinations(encoders, 2):
        estimates[f"kind: {a} - {b}"] = over(table, partial(_auc_lead, one=a, other=b))
    return estimates


def cosine_order_estimates(
    scores: Mapping[str, Scores], centres: Mapping[str, NDArray], pooling: str
) -> dict[str, Estimate]:
    """Agreement in the order of cosines between tasks' mean vectors, between encoders and with RepMatch in each.

    Parameters
    ----------
    scores : mapping of str to array, shape (S, S, T, T)
        By encoder.
    centres : mapping of str to array, shape (T, groups, width)
        By encoder, means of each task's groups of rows; see `group_means`.
    pooling : str
        What the vectors are, for the names.

    Returns
    -------
    dict of str to Estimate
        ``"cosine order, <pooling>: a | b"`` and ``"cosine order, <pooling>: RepMatch | cosine, a"``, of different
        tasks; intervals leave out one group of rows at a time.
    """
    groups, estimates = range(next(iter(centres.values())).shape[1]), {}

    def over_rows(agreement: Callable[[list[int]], float]) -> Estimate:
        return jackknife(groups, agreement, "group of rows", (-1, 1))

    for a, b in combinations(centres, 2):
        agreement = partial(_cosine_agreement, one=centres[a], other=centres[b])
        estimates[f"cosine order, {pooling}: {a} | {b}"] = over_rows(agreement)
    for a in centres:
        agreement = partial(_agreement_with_scores, scores=pair_means(scores[a], "different tasks"), means=centres[a])
        estimates[f"cosine order, {pooling}: RepMatch | cosine, {a}"] = over_rows(agreement)
    return estimates


def _lead(first: Scores, one: Scores, other: Scores, pairs: str) -> float:
    return rank_agreement(first, one, pairs) - rank_agreement(first, other, pairs)


def _level(scores: Scores, pairs: str) -> float:
    return pair_means(scores, pairs).mean()


def _rise(first: Scores, scores: Scores, pairs: str) -> float:
    return _level(scores, pairs) - _level(first, pairs)


def _slope(first: Scores, scores: Scores) -> float:
    return linregress(pair_means(first), pair_means(scores)).slope


def _auc(table: pd.DataFrame, encoder: str) -> float:
    return kind_auc(table[table.encoder == encoder])


def _auc_lead(table: pd.DataFrame, one: str, other: str) -> float:
    return _auc(table, one) - _auc(table, other)


def _cosines(means: NDArray, kept: list[int]) -> NDArray:
    """Cosines between the tasks' means over some of their groups of rows, one a pair of different tasks."""
    return PAIRS["different tasks"](cosine_matrix(means[:, kept].mean(1)))


def _cosine_agreement(kept: list[int], one: NDArray, other: NDArray) -> float:
    return float(spearmanr(_cosines(one, kept), _cosines(other, kept)).statistic)


def _agreement_with_scores(kept: list[int], scores: NDArray, means: NDArray) -> float:
    return float(spearmanr(_cosines(means, kept), scores).statistic)


def _over_tasks(agreement: Callable[[Scores, Scores], float], one: Scores, other: Scores) -> Estimate:
    """An agreement with one task left out at a time, and all of its pairs with it."""

    def among(kept: list[int]) -> float:
        return agreement(one[:, :, kept][..., kept], other[:, :, kept][..., kept])

    return jackknife(range(one.shape[-1]), among, "task", (-1, 1))
