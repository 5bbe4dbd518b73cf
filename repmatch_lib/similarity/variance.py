"""What moves an adapter: variance of its subspaces over a factorial design of runs, cut into effects.

The book's chapter on batches introduces the shares.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress, product

import torch
from torch import Tensor

from repmatch_lib.similarity.subspaces import grassmann_similarity


def projection_products(bases: Tensor) -> Tensor:
    """Inner products of the projections onto subspaces: ``tr(P_a P_b) = phi(r, r) r``.

    Parameters
    ----------
    bases : Tensor, shape (n, L, d, r)
        Of n runs, from `lora_basis`.

    Returns
    -------
    Tensor, shape (L, n, n)
        From 0 to r; the squared distance of two projections is ``2 r - 2 tr(P_a P_b)`` at full rank.
    """
    grids = grassmann_similarity(bases[:, None], bases)
    return grids[..., -1, -1].permute(2, 0, 1) * bases.shape[-1]


def variance_shares(products: Tensor, factors: Sequence[str]) -> dict[tuple[str, ...], Tensor]:
    """Share of every main effect and interaction in the sum of squares around the mean, in a 2^k design.

    Analysis of variance from inner products alone (Anderson, 2001; McArdle and Anderson, 2001). The contrasts of
    such a design, of one run a cell, are orthogonal, so their squares add up to the whole.

    Parameters
    ----------
    products : Tensor, shape (..., n, n)
        Inner products of the runs, n = 2^k, in the order of ``itertools.product((0, 1), repeat=k)`` over the factors'
        levels: the last factor changes fastest.
    factors : sequence of str
        Names of the k factors.

    Returns
    -------
    dict of tuple of str to Tensor, shape (...)
        By the factors of an effect: one for a main effect, more for an interaction. They sum to 1, and are all alike,
        1 / (2^k - 1), where every run is as far from every other.

    Raises
    ------
    ValueError
        If the number of runs does not fit, or all runs are the same.
    """
    cells = 2 ** len(factors)
    if products.shape[-2:] != (cells, cells):
        raise ValueError(f"{len(factors)} factors need {cells} runs, one a cell; got products {tuple(products.shape)}")
    signs = 1 - 2 * torch.tensor(list(product((0, 1), repeat=len(factors))), dtype=torch.float64)  # (cells, k)
    squares = {}
    for chosen in product((False, True), repeat=len(factors)):
        contrast = signs[:, list(chosen)].prod(-1) / cells**0.5
        squares[tuple(compress(factors, chosen))] = contrast @ products.double() @ contrast
    mean = squares.pop(())
    total = sum(squares.values())
    if (total <= 1e-9 * mean).any():
        raise ValueError("all runs have the same subspace: there is no variance to share out")
    return {effect: square.clamp(min=0) / total for effect, square in squares.items()}
