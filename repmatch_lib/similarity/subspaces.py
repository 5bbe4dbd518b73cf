"""Subspaces of low-rank updates and their Grassmann similarity (RepMatch, sections 3.2 to 3.4).

PEFT's notation throughout: ``delta_W = (alpha / r) * B @ A`` with ``A`` of shape (r, in) and ``B`` of shape (out, r).
The scale ``alpha / r`` moves no subspace and is left out.
"""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor

Side = Literal["left", "right"]


def lora_basis(A: Tensor, B: Tensor, side: Side = "left") -> Tensor:
    """Singular vectors of ``B @ A``, without ever forming the product.

    Thin QR of both factors, then an SVD of the small core between them.

    Parameters
    ----------
    A : Tensor, shape (..., r, in)
    B : Tensor, shape (..., out, r)
    side : {"left", "right"}
        ``"left"``: the column space of ``B``, which training learns from zero. ``"right"``: the row space of ``A``,
        which hardly leaves its random start.

    Returns
    -------
    Tensor, shape (..., out, k) or (..., in, k), float64, with k = min(r, out, in)
        Orthonormal columns by falling singular value. Where the update has fewer than k directions, the columns
        beyond its numerical rank are zero: a direction that is not there overlaps with nothing.

    Raises
    ------
    ValueError
        If the shapes do not fit, ``side`` is unknown, or a factor holds NaN or infinity.
    """
    if side not in ("left", "right"):
        raise ValueError(f"side is {side!r}; it must be 'left' or 'right'")
    if A.ndim < 2 or B.ndim < 2 or A.shape[-2] != B.shape[-1]:
        raise ValueError(
            f"A must be (..., r, in) and B (..., out, r) of one rank r; got {tuple(A.shape)} and {tuple(B.shape)}"
        )
    dtype = B.dtype
    A, B = A.detach().double(), B.detach().double()
    if not (A.isfinite().all() and B.isfinite().all()):
        raise ValueError("a LoRA factor holds NaN or infinity: the training that made it diverged")
    Q_out, R_out = torch.linalg.qr(B)
    Q_in, R_in = torch.linalg.qr(A.mT)
    U, S, Vh = torch.linalg.svd(R_out @ R_in.mT, full_matrices=False)
    basis = Q_out @ U if side == "left" else Q_in @ Vh.mT
    return basis * _present(S, dtype).unsqueeze(-2)


def thin_basis(A: Tensor, B: Tensor, side: Side = "left") -> Tensor:
    """`lora_basis` for very many updates of small rank: from r x r Gram matrices, without a QR of each.

    With ``A A^T = Q D Q^T``, the left singular vectors of ``B A`` are those of ``M = B Q sqrt(D)``, an (out, r) matrix;
    they are ``M V / sigma`` with ``V`` and ``sigma^2`` from the r x r matrix ``M^T M``. At rank 1 this is ``B / |B|``.
    A Gram matrix squares the condition number, hence float64, in which float32 factors keep all they have.

    Parameters
    ----------
    A : Tensor, shape (..., r, in)
    B : Tensor, shape (..., out, r)
        Leading dimensions broadcast: after one step all instances share ``A``.
    side : {"left", "right"}

    Returns
    -------
    Tensor, shape (..., out, r) or (..., in, r), float64
        As `lora_basis`.
    """
    if side == "right":
        return thin_basis(B.mT, A.mT)
    A, B = A.detach().double(), B.detach().double()
    # Rank 1 has one direction, which B alone gives; A only says whether there is an update at all.
    if A.shape[-2] == 1:
        norm = B.norm(dim=-2, keepdim=True) * A.norm(dim=-1, keepdim=True)
        return torch.where(norm > 0, B / B.norm(dim=-2, keepdim=True), 0.0)
    # A rotated so that its rows are orthogonal, their lengths moved over to B: B A = M times orthonormal rows.
    D, Q = torch.linalg.eigh(A @ A.mT)
    M = B @ (Q * D.clamp(min=0).sqrt().unsqueeze(-2))
    # The SVD of M from its Gram matrix; eigh's values rise, singular values fall.
    squares, V = torch.linalg.eigh(M.mT @ M)
    S, V = squares.clamp(min=0).sqrt().flip(-1), V.flip(-1)
    present = _present(S, torch.float32)  # a Gram matrix' small eigenvalues have no more digits, even in float64
    return M @ (V * torch.where(present, 1 / S, 0.0).unsqueeze(-2))


def grassmann_similarity(U: Tensor, V: Tensor) -> Tensor:
    """Grassmann similarity of every leading pair of subspaces (equation 1).

    ``phi(i, j) = ||U[:, :i].T @ V[:, :j]||_F^2 / min(i, j)``, in [0, 1].

    Parameters
    ----------
    U : Tensor, shape (..., d, r)
    V : Tensor, shape (..., d, r')
        Orthonormal (or zero) columns; the leading dimensions broadcast.

    Returns
    -------
    Tensor, shape (..., r, r')
        Entry ``[i - 1, j - 1]`` is phi(i, j).

    Raises
    ------
    ValueError
        If the two live in spaces of different width.
    """
    if U.shape[-2] != V.shape[-2]:
        raise ValueError(f"subspaces of different widths: {U.shape[-2]} and {V.shape[-2]}")
    overlap = (U.mT @ V).square()  # (..., r, r')
    # Cumulative sums over both axes are the squared norms of all leading blocks at once.
    i = torch.arange(1, overlap.shape[-2] + 1, device=overlap.device)
    j = torch.arange(1, overlap.shape[-1] + 1, device=overlap.device)
    return (overlap.cumsum(-2).cumsum(-1) / torch.minimum(i[:, None], j)).clamp(0, 1)


def repmatch_score(grid: Tensor) -> Tensor:
    """Layer scores: the largest entry of each layer's grid (section 3.4).

    Parameters
    ----------
    grid : Tensor, shape (..., r, r')

    Returns
    -------
    Tensor, shape (...)
        The model's score is the mean of these over layers.
    """
    return grid.flatten(-2).amax(-1)


def chance_scores(width: int, rank: int, other_rank: int, layers: int = 1, draws: int = 2000) -> Tensor:
    """Scores of unrelated subspaces: the null distribution of a model's score.

    Uniformly random subspaces of the given ranks, largest grid entry, mean over layers. The expectation of phi(1, 1)
    is exactly 1 / width; the largest entry of an r x r' grid lies above it, because it is picked.

    Returns
    -------
    Tensor, shape (draws,), sorted, the same on every call
    """
    return chance_of_layers(width, ((rank, other_rank),) * layers, draws)


@lru_cache(maxsize=64)
def chance_of_layers(width: int, ranks: tuple[tuple[int, int], ...], draws: int = 2000) -> Tensor:
    """`chance_scores` where layers have ranks of their own: a pair (r, r') each.

    Returns
    -------
    Tensor, shape (draws,), sorted, the same on every call
    """
    generator = np.random.default_rng(0)
    total = torch.zeros(draws, dtype=torch.float64)
    for (rank, other), layers in Counter(ranks).items():
        rank, other = min(rank, width), min(other, width)
        together = max(1, 2**22 // (layers * max(rank, other) * other))
        for part in total.split(together):  # views: what is added to them is added to the total
            corners = _corners(generator, (len(part), layers), width, rank, other)
            # Only their relative position matters, so the first subspace may be the first coordinates.
            part += repmatch_score(grassmann_similarity(torch.eye(rank, dtype=torch.float64), corners)).sum(-1)
    return (total / len(ranks)).sort().values


def _corners(generator: np.random.Generator, shape: tuple[int, ...], width: int, rank: int, other: int) -> Tensor:
    """The first ``rank`` rows of uniformly random (width, other) matrices of orthonormal columns.

    These are ``G R^-1``, where G holds the first rows of a Gaussian matrix, and ``R^T R = G^T G + L L^T`` its Gram
    matrix: of the other rows only their Gram matrix counts, whose Cholesky factor L has a known distribution
    (Bartlett 1933). No width enters the cost.
    """
    first = torch.from_numpy(generator.standard_normal((*shape, rank, other)))
    remain = width - rank
    if remain < other:
        rest = torch.from_numpy(generator.standard_normal((*shape, remain, other)))
        return torch.linalg.qr(torch.cat([first, rest], -2)).Q[..., :rank, :]
    L = np.tril(generator.standard_normal((*shape, other, other)), -1)
    k = np.arange(other)
    L[..., k, k] = np.sqrt(generator.chisquare(remain - k, (*shape, other)))
    lower = torch.from_numpy(L)
    R = torch.linalg.cholesky(first.mT @ first + lower @ lower.mT, upper=True)
    return torch.linalg.solve_triangular(R, first, upper=True, left=False)


def shuffled_basis(A: Tensor, B: Tensor, seed: int = 0, side: Side = "left") -> Tensor:
    """Leading singular vectors of ``B @ A`` with its entries shuffled: the baseline of figure 1b.

    The one place that forms the full product, because shuffling destroys the low rank.

    Parameters
    ----------
    A : Tensor, shape (layers, r, in)
    B : Tensor, shape (layers, out, r)
    seed : int
        Of the permutation.
    side : {"left", "right"}

    Returns
    -------
    Tensor, shape (layers, out, r) or (layers, in, r), float64
    """
    generator = torch.Generator().manual_seed(seed)
    update = B.detach().double() @ A.detach().double()
    shuffled = torch.stack(
        [W.flatten()[torch.randperm(W.numel(), generator=generator)].view_as(W) for W in update.cpu()]
    )
    U, _, Vh = torch.linalg.svd(shuffled, full_matrices=False)
    return (U if side == "left" else Vh.mT)[..., : A.shape[-2]]


def _present(S: Tensor, dtype: torch.dtype) -> Tensor:
    """Which directions the factors determine: to half of the digits of the type they were trained in, or better.

    A singular value that is the square root of epsilon times the largest has a vector that rounding moves by as much.
    """
    eps = torch.finfo(torch.float64 if dtype == torch.float64 else torch.float32).eps
    return S > S.amax(-1, keepdim=True) * eps**0.5
