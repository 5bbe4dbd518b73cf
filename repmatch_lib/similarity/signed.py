"""A likeness with a sign: the cosine of two low-rank updates, from their factors alone.

RepMatch compares subspaces, and a subspace has no sign: labels that are turned around leave its score as it is. The
cosine of updates, by which LESS selects instances (Xia et al., 2024), turns with them. It means something between
updates that were trained from one LoRA start: of two starts, the rows of ``A`` are unrelated, and their sign is chance.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

Factors = tuple[Tensor, Tensor]  # A and B


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


def update_cosines(updates: Sequence[Factors], others: Sequence[Factors]) -> tuple[Tensor, Tensor]:
    """Cosines of updates, layer by layer and of all layers taken as one vector.

    Parameters
    ----------
    updates : sequence of (A, B), shape (..., L, r, in) and (..., L, out, r)
        One pair a module; modules may differ in width.
    others : sequence of (A, B), shape (L, r', in) and (L, out, r')

    Returns
    -------
    layers : Tensor, shape (..., all L), float64
        From -1 to 1; 0 where there is no update.
    whole : Tensor, shape (...), float64
    """
    pairs = list(zip(updates, others, strict=True))
    products = torch.cat([inner_products(*update, *other) for update, other in pairs], -1)
    squares = torch.cat([inner_products(*update, *update) for update, _ in pairs], -1)
    other_squares = torch.cat([inner_products(*other, *other) for _, other in pairs], -1)
    whole = _cosine(products.sum(-1), squares.sum(-1), other_squares.sum(-1))
    return _cosine(products, squares, other_squares), whole


def _cosine(product: Tensor, square: Tensor, other_square: Tensor) -> Tensor:
    lengths = (square.clamp(min=0) * other_square.clamp(min=0)).sqrt()
    return torch.where(lengths > 0, product / lengths, 0.0).clamp(-1, 1)
