"""Scores between runs under every two training seeds, as arrays, and estimates that leave out one seed at a time.

For the book's chapters on batches, transfer and other encoders.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from repmatch_lib.similarity.adapters import Adapter
from repmatch_lib.similarity.all_pairs import compare_all
from repmatch_lib.similarity.comparison import trained_basis
from repmatch_lib.similarity.subspaces import Side, grassmann_similarity, repmatch_score
from repmatch_lib.statistics import Estimate, jackknife

Scores = NDArray[np.float64]


def seed_scores(adapters: Mapping[tuple[str, int], Adapter], module: str = "value", side: Side = "left") -> Scores:
    """RepMatch of every two tasks under every two seeds.

    Parameters
    ----------
    adapters : mapping of (task, seed) to Adapter
        T tasks, each under the same S seeds, two or more; see `compare_all`, with its errors.
    module, side
        As for `repmatch`.

    Returns
    -------
    array, shape (S, S, T, T)
        ``[s, t, a, b]`` is the score, from 0 to 1, of task a under seed s with task b under seed t.
    """
    scores = repmatch_score(compare_all(adapters, module, side).grids).mean(-1)  # (T, S, T, S)
    return scores.permute(1, 3, 0, 2).numpy()


def stacked_bases(adapters: Iterable[Adapter], module: str = "value", side: Side = "left") -> Tensor:
    """Singular vectors of n adapters of one encoder and rank, shape (n, L, width, r); see `lora_basis`."""
    return torch.stack([trained_basis(adapter, *adapter.factors(module)[1:], side) for adapter in adapters])


def basis_scores(U: Tensor, V: Tensor) -> Scores:
    """RepMatch of each of n adapters with each of m others, from their bases.

    Parameters
    ----------
    U : Tensor, shape (n, L, width, r)
        From `stacked_bases`.
    V : Tensor, shape (m, L, width, r)

    Returns
    -------
    array, shape (n, m)
        From 0 to 1, means over layers.
    """
    return repmatch_score(grassmann_similarity(U[:, None], V)).mean(-1).numpy()


def same_seeds(scores: Scores) -> Scores:
    """Mean over pairs of one seed twice: of shape (S, S, ...) the rest of the shape is left."""
    return scores[np.eye(len(scores), dtype=bool)].mean(0)


def other_seeds(scores: Scores) -> Scores:
    """Mean over pairs of two different seeds: of shape (S, S, ...) the rest is left; NaN if there is one seed only."""
    if len(scores) < 2:
        return np.full(scores.shape[2:], np.nan)
    return scores[~np.eye(len(scores), dtype=bool)].mean(0)


def over_seeds(
    statistic: Callable[..., float | Scores], *scores: Scores, bounds: tuple[float, float] | None = None
) -> Estimate:
    """A statistic of scores with its interval from leaving out one seed at a time; see `jackknife`.

    Parameters
    ----------
    statistic : callable
        Of arrays such as ``scores``, of some of the seeds; gives one number, NaN if the seeds are too few.
    *scores : array, each of shape (S, S, ...)
        Under the same seeds: a seed is left out of rows and columns, and of all arrays at once.
    bounds : (float, float), optional
        What the statistic cannot pass.

    Raises
    ------
    ValueError
        If the arrays do not have the same seeds.
    """
    (seeds, *others) = {length for array in scores for length in array.shape[:2]}
    if others:
        raise ValueError(f"scores of shapes {[array.shape for array in scores]}: give arrays of one number of seeds")

    def among(kept: list[int]) -> float:
        return float(statistic(*(array[np.ix_(kept, kept)] for array in scores)))

    return jackknife(range(seeds), among, bounds=bounds)
