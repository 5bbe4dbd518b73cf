"""How near two sets of vectors are to each other, by cosines: of their means, and of the closest of all their rows.

For the book's chapters on transfer and on other encoders: what is known without training.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from repmatch_lib.embeddings.cosines import cosines


def cosine_of_means(a: Tensor, b: Tensor) -> float:
    """Cosine, from -1 to 1, of the means of two sets, each of shape (rows, width)."""
    return float(torch.nn.functional.cosine_similarity(a.mean(0), b.mean(0), dim=0))


def closest_shares(sets: Mapping[str, Tensor], share: float = 0.1) -> dict[tuple[str, str], float]:
    """Of every two sets, the share of their pairs of rows with a cosine at or above one level common to all.

    The paper's level of 0.9 (table 2) is passed by next to no pair of some encoders; so the level is the first edge,
    of 400 bins from -1 to 1, that at most so many of all pairs pass, each two sets counting alike.

    Parameters
    ----------
    sets : mapping of str to Tensor, shape (rows, width)
        Two or more.
    share : float
        From 0 to 1.

    Returns
    -------
    dict of (str, str) to float
        From 0 to 1; both orders of two names.
    """
    curves = {(a, b): cosines(sets[a], sets[b]).curve() for a, b in combinations(sets, 2)}
    together = sum(curves.values()) / len(curves)
    level = together.index[(together <= share).argmax()]
    shares = {pair: float(curve[level]) for pair, curve in curves.items()}
    return shares | {(b, a): value for (a, b), value in shares.items()}


def group_means(vectors: ArrayLike, groups: int) -> NDArray[np.floating]:
    """Means of groups of neighbouring rows, so that one group at a time can be left out.

    Parameters
    ----------
    vectors : array, shape (..., rows, width)
    groups : int
        From 1 to the number of rows; sizes differ by one row at most.

    Returns
    -------
    array, shape (..., groups, width)
    """
    return np.stack([part.mean(-2) for part in np.array_split(np.asarray(vectors), groups, axis=-2)], axis=-2)


def cosine_matrix(means: ArrayLike) -> NDArray[np.floating]:
    """Cosines of every two of n vectors, of shape (n, width): shape (n, n), from -1 to 1."""
    means = np.asarray(means, np.float64)
    directions = means / np.linalg.norm(means, axis=-1, keepdims=True)
    return directions @ directions.T
