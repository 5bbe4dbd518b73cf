"""A likeness with a sign: the cosine of two low-rank updates, from their factors alone.

RepMatch compares subspaces, and a subspace has no sign: labels that are turned around leave its score as it is. The
cosine of updates, by which LESS selects instances (Xia et al., 2024), turns with them. It means something between
updates that were trained from one LoRA start: of two starts, the rows of ``A`` are unrelated, and their sign is chance.
"""

from __future__ import annotations

import torch
from torch import Tensor


def inner_products(A: Tensor, B: Tensor, other_A: Tensor, other_B: Tensor) -> Tensor:
    """Frobenius inner products of the updates ``B A`` and ``B' A'``, without forming either.

    Parameters
    ----------
    A, B : Tensor, shape (..., r, in) and (..., out, r)
    other_A, other_B : Tensor, shape (..., r', in) and (..., out, r')
        Leading dimensions broadcast.

    Returns
    -------
    Tensor, shape (...), float64
    """
    A, B, other_A, other_B = (x.detach().double() for x in (A, B, other_A, other_B))
    # <B A, B' A'> = tr(A^T B^T B' A') = sum of (B^T B') * (A A'^T), which is r x r'.
    return ((B.mT @ other_B) * (A @ other_A.mT)).sum((-2, -1))


def update_cosines(A: Tensor, B: Tensor, other_A: Tensor, other_B: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines of updates, layer by layer and of all layers taken as one vector.

    Parameters
    ----------
    A, B : Tensor, shape (..., L, r, in) and (..., L, out, r)
    other_A, other_B : Tensor, shape (L, r', in) and (L, out, r')

    Returns
    -------
    layers : Tensor, shape (..., L), float64
        From -1 to 1; 0 where there is no update.
    whole : Tensor, shape (...), float64
    """
    products = inner_products(A, B, other_A, other_B)
    squares = inner_products(A, B, A, B), inner_products(other_A, other_B, other_A, other_B)
    return _cosine(products, *squares), _cosine(*(x.sum(-1) for x in (products, *squares)))


def _cosine(product: Tensor, square: Tensor, other_square: Tensor) -> Tensor:
    lengths = (square.clamp(min=0) * other_square.clamp(min=0)).sqrt()
    return torch.where(lengths > 0, product / lengths, 0.0).clamp(-1, 1)
