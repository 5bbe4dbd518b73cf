"""Instances' updates compared with each other, and with themselves under other seeds (figure 2)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from repmatch_lib.similarity.subspaces import grassmann_similarity, repmatch_score


def compared(bases: Sequence[Tensor], others: Sequence[Tensor] | None = None) -> dict[str, Tensor]:
    """Compare instances with themselves and with each other.

    Parameters
    ----------
    bases : sequence of Tensor, each of shape (n, L, width, r)
        Of n instances, one a seed; see `Updates.basis`.
    others : sequence of Tensor, each of shape (n, L, width, r), optional
        Of the same instances trained in another way; ``bases`` if not given.

    Returns
    -------
    dict of str to Tensor
        ``itself``, shape (S, S, n, L): scores of each instance with itself, under a seed of ``bases`` (first axis) and
        one of ``others`` (second). ``others``, shape (n, n, L): of every two instances under one seed of ``bases``,
        mean over seeds. ``itself grid`` and ``others grid``, shape (L, r, r): mean grids over the pairs that differ in
        seed, and in instance.
    """
    itself = torch.stack([torch.stack([grassmann_similarity(a, b) for b in others or bases]) for a in bases])
    pairs = torch.stack([torch.stack([grassmann_similarity(row, basis) for row in basis]) for basis in bases])
    return {
        "itself": repmatch_score(itself),
        "others": repmatch_score(pairs).mean(0),
        "itself grid": itself[*_pairs(len(bases))].mean((0, 1)),
        "others grid": pairs[:, *_pairs(len(bases[0]))].mean((0, 1)),
    }


def seeds_apart(itself: Tensor) -> Tensor:
    """Scores of each instance with itself under two seeds of one way of training, shape (n, L), mean over pairs.

    Parameters
    ----------
    itself : Tensor, shape (S, S, n, L)
        From `compared`.
    """
    return itself[*_pairs(len(itself))].mean(0)


def under_two_heads(itself: Tensor, same_start: bool) -> Tensor:
    """Scores of each instance with itself under another head, shape (L,), mean over instances and pairs of seeds.

    Parameters
    ----------
    itself : Tensor, shape (S, S, n, L)
        From `compared`, the other way of training having another head.
    same_start : bool
        Pairs of one seed, so of one LoRA start; or of two.
    """
    one_seed = torch.eye(len(itself), dtype=torch.bool)
    return itself[one_seed if same_start else ~one_seed].mean((0, 1))


def _pairs(n: int) -> Tensor:
    return torch.combinations(torch.arange(n)).T
