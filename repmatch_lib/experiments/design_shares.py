"""Shares of variance of a design's subspaces, layer by layer.

For the book's chapter on batches: what else moves an adapter.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import torch
from torch import Tensor

from repmatch_lib.similarity.variance import projection_products, variance_shares


def shares_by_layer(replicates: Sequence[Tensor], factors: Sequence[str]) -> pd.DataFrame:
    """Share of each factor by itself, and of all interactions together; see `variance_shares`.

    Parameters
    ----------
    replicates : sequence of Tensor, shape (2^k, L, width, r)
        Bases of each replicate's runs, in the order of a `Design`'s cells.
    factors : sequence of str
        The k factors.

    Returns
    -------
    DataFrame
        ``part`` (a factor, or "interactions"), ``replicate``, ``layer`` (from 1) and ``share``; those of one layer
        sum to 1.
    """
    rows = []
    for replicate, bases in enumerate(replicates):
        shares = variance_shares(projection_products(bases), factors)
        parts = {factor: shares[(factor,)] for factor in factors}
        parts["interactions"] = torch.stack([share for effect, share in shares.items() if len(effect) > 1]).sum(0)
        rows += [
            {"part": part, "replicate": replicate, "layer": layer, "share": float(share)}
            for part, layers in parts.items()
            for layer, share in enumerate(layers, 1)
        ]
    return pd.DataFrame(rows)
