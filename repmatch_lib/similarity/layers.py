"""The layers of two updates, one by one and taken together in several ways.

The book's chapter on layers introduces them.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray

from repmatch_lib.similarity.adapters import Adapter


def update_sizes(adapter: Adapter, module: str = "value") -> NDArray[np.float64]:
    """Frobenius norm of the update ``B @ A`` of one matrix in every layer, shape (L,)."""
    _, A, B = adapter.factors(module)
    return torch.linalg.matrix_norm(B @ A).double().numpy()


def layers_together(scores: ArrayLike, sizes: ArrayLike) -> pd.DataFrame:
    """Scores of layers, taken together in several ways and one by one, as the chapter on layers compares them.

    Parameters
    ----------
    scores : array, shape (n, L)
        Of n pairs of adapters, L at least 2.
    sizes : array, shape (n, L)
        Weights above 0, such as the geometric means of the two adapters' `update_sizes`.

    Returns
    -------
    DataFrame of n rows
        ``mean`` (the paper's, section 3.4), ``max``, ``first half`` and ``last half`` (means; of an odd number of
        layers the middle one is in the last half), ``by size`` (mean weighted by ``sizes``), and ``layer 1`` to
        ``layer L``.
    """
    scores, sizes = np.asarray(scores, dtype=float), np.asarray(sizes, dtype=float)
    half = scores.shape[1] // 2
    together = {
        "mean": scores.mean(1),
        "max": scores.max(1),
        "first half": scores[:, :half].mean(1),
        "last half": scores[:, half:].mean(1),
        "by size": np.average(scores, axis=1, weights=sizes),
    }
    return pd.DataFrame(together | {f"layer {k}": layer for k, layer in enumerate(scores.T, 1)})
