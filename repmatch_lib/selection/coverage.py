"""Which instances stand for all: an order of a pool such that its first k cover the pool's updates, for every k.

The book's chapter on better selection introduces both orders.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush

import numpy as np
import torch

from repmatch_lib.instances.scoring import Updates
from repmatch_lib.similarity.subspaces import grassmann_similarity, repmatch_score

ROWS = 256  # instances that are compared with all others at once


DIGITS = 6  # of a gain: two rows that are nearest to each other gain the same, and rounding shall not choose


def update_similarity(updates: Updates, module: str = "value") -> np.ndarray:
    """RepMatch of every two instances' own updates.

    At rank 1 it is the squared cosine of the two directions, mean over layers.

    Parameters
    ----------
    updates : Updates
        Of n instances.
    module : str
        The attention matrix.

    Returns
    -------
    ndarray, shape (n, n), float32, from 0 to 1
    """
    basis = updates.basis(module).permute(1, 0, 3, 2).float()  # (L, n, r, width)
    layers, n, rank, _ = basis.shape
    similarity = np.zeros((n, n), dtype=np.float32)
    for directions in basis.flatten(1, 2):
        for rows in torch.arange(n * rank).split(ROWS * rank):
            products = (directions[rows] @ directions.T).view(-1, rank, n, rank).transpose(1, 2)
            # The grid depends on the two bases by their products alone.
            scores = products[..., 0, 0].square() if rank == 1 else repmatch_score(_grids(products))
            similarity[rows[0] // rank : rows[-1] // rank + 1] += scores.numpy() / layers
    return similarity.clip(0, 1)


def _grids(products: torch.Tensor) -> torch.Tensor:
    return grassmann_similarity(torch.eye(products.shape[-2]), products)


def facility_location(similarity: np.ndarray, k: int | None = None) -> np.ndarray:
    """Greedy choice of rows such that every row of the pool is like one that is chosen.

    Each step takes the row that adds most to the sum, over the pool, of the similarity to the nearest chosen row. The
    sum is at least 1 - 1/e of the best that any k rows have (Nemhauser, Wolsey and Fisher, 1978). A row's gain can only
    fall, so most rows need no second look (Minoux, 1978).

    Parameters
    ----------
    similarity : ndarray, shape (n, n), not negative
        Symmetric.
    k : int, optional
        Rows to choose; all if not given.

    Returns
    -------
    ndarray of int, shape (k,)
        In the order of choice; of equal gains the first row's.

    Raises
    ------
    ValueError
        If ``similarity`` is not square, holds NaN or is empty, or there are fewer than ``k`` rows.
    """
    k = _checked(similarity, k)
    nearest = np.zeros(len(similarity))
    bounds = [(-round(gain, DIGITS), row) for row, gain in enumerate(similarity.sum(1, dtype=float).tolist())]
    heapify(bounds)
    chosen: list[int] = []
    while len(chosen) < k:
        _, row = heappop(bounds)
        now = (-round(float(np.maximum(similarity[row] - nearest, 0).sum()), DIGITS), row)
        if bounds and now > bounds[0]:
            heappush(bounds, now)
        else:
            chosen.append(row)
            nearest = np.maximum(nearest, similarity[row])
    return np.array(chosen)


def k_centre(similarity: np.ndarray, k: int | None = None) -> np.ndarray:
    """Farthest first: each step takes the row that is least like its nearest chosen row.

    With ``sqrt(1 - similarity)`` as distance, which is one for `update_similarity` at rank 1, no row is farther from
    its nearest chosen row than twice the least radius that k rows can have (Gonzalez, 1985). The first is the row that
    is most like all.

    Parameters
    ----------
    similarity : ndarray, shape (n, n)
        Symmetric.
    k : int, optional
        Rows to choose; all if not given.

    Returns
    -------
    ndarray of int, shape (k,)
        In the order of choice; of equal distances the first row's.

    Raises
    ------
    ValueError
        If ``similarity`` is not square, holds NaN or is empty, or there are fewer than ``k`` rows.
    """
    k = _checked(similarity, k)
    chosen = [int(similarity.sum(1, dtype=float).argmax())]
    nearest = similarity[chosen[0]].astype(float)
    nearest[chosen] = np.inf
    while len(chosen) < k:
        chosen.append(int(nearest.argmin()))
        nearest = np.maximum(nearest, similarity[chosen[-1]])
        nearest[chosen[-1]] = np.inf
    return np.array(chosen)


def _checked(similarity: np.ndarray, k: int | None) -> int:
    """So many rows as are asked for, where the similarity can be chosen from."""
    n = len(similarity)
    if similarity.shape != (n, n) or n == 0 or np.isnan(similarity).any():
        raise ValueError(f"similarity of shape {similarity.shape}: give a square array of a row or more, without NaN")
    if k is not None and not 1 <= k <= n:
        raise ValueError(f"k = {k}, but there are {n} rows: give 1 to {n}")
    return k or n
