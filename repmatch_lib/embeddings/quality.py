"""The geometry of a set of vectors: near where it should be, spread or collapsed, and like another set.

The book's chapter on what a space of vectors looks like introduces the measures.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor


def unit(x: Tensor, name: str = "x") -> Tensor:
    """Rows of length one, in float64.

    Raises
    ------
    ValueError
        If ``x`` is no table, or a row has no direction.
    """
    if x.ndim != 2:
        raise ValueError(f"{name} has shape {tuple(x.shape)}: give one row a vector, (rows, width)")
    lengths = torch.linalg.vector_norm(x, dim=1, dtype=torch.float64)
    if len(bad := (~(lengths.isfinite() & (lengths > 0))).nonzero()):
        row = int(bad[0])
        raise ValueError(f"row {row} of {name} has length {float(lengths[row])} and so no direction: drop it")
    return x.double() / lengths[:, None]


def alignment(x: Tensor, y: Tensor, alpha: float = 2.0) -> float:
    """How far pairs that should be near are apart (Wang & Isola, 2020, arXiv 2005.10242).

    Parameters
    ----------
    x, y : Tensor, shape (pairs, width)
        Row k of the two is a pair of one meaning. Scaled to length one here.
    alpha : float
        Power of the distance.

    Returns
    -------
    float
        Mean of ``|x - y| ** alpha``, from 0, one place a pair, to ``2 ** alpha``. Lower is better.

    Raises
    ------
    ValueError
        If the shapes differ or a row has no direction.
    """
    x, y = unit(x, "x"), unit(y, "y")  # (pairs, width)
    if x.shape != y.shape:
        raise ValueError(f"x has shape {tuple(x.shape)} and y {tuple(y.shape)}: give both vectors of every pair")
    return float((x - y).norm(dim=1).pow(alpha).mean())


def uniformity(x: Tensor, t: float = 2.0, block: int = 1024) -> float:
    """How unevenly vectors lie on the sphere (Wang & Isola, 2020, arXiv 2005.10242).

    Parameters
    ----------
    x : Tensor, shape (rows, width)
        Scaled to length one here.
    t : float
        Sharpness: pairs nearer than about ``t ** -0.5`` count.
    block : int
        Rows at a time; ``block * rows`` numbers are held.

    Returns
    -------
    float
        ``log mean exp(-t |x - x'| ** 2)`` over pairs of two rows, from ``-4 t`` to 0, where all rows are one. Lower is
        better; evenly spread vectors of a large width have about ``-2 t``.

    Raises
    ------
    ValueError
        If there are fewer than two rows, or one has no direction.
    """
    x = several(unit(x))  # (rows, width)
    total = 0.0
    for start in range(0, len(x), block):
        cosines = x[start : start + block] @ x[start:].T  # (block, rows from start on)
        total += float(torch.exp(2 * t * (cosines - 1)).triu(1).sum())
    return math.log(total / math.comb(len(x), 2))


def mean_cosine(x: Tensor, y: Tensor | None = None) -> float:
    """Anisotropy: the cosine of two rows on average (Ethayarajh, 2019, arXiv 1909.00512).

    Parameters
    ----------
    x : Tensor, shape (rows, width)
    y : Tensor, shape (rows', width), optional
        Every row of ``x`` with every row of ``y``. Not given: every two rows of ``x``.

    Returns
    -------
    float
        From -1 to 1; near 0 for evenly spread rows, near 1 for a narrow cone. No pair is computed: the cosines of
        all pairs add up to a product of two sums.

    Raises
    ------
    ValueError
        If there is no pair, the widths differ, or a row has no direction.
    """
    x = unit(x)
    if y is None:
        n = len(several(x))
        return float((x.sum(0).square().sum() - n) / (n * (n - 1)))
    y = unit(y, "y")
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"x is {x.shape[1]} wide and y {y.shape[1]}: give vectors of one encoder")
    return float(x.mean(0) @ y.mean(0))


def spectrum(x: Tensor, centred: bool = True) -> Tensor:
    """Singular values, the largest first: how much of the spread each direction has.

    Parameters
    ----------
    x : Tensor, shape (rows, width)
    centred : bool
        Take the mean off first. Without, a common part of all rows shows as one large value.

    Returns
    -------
    Tensor, float64, shape (min(rows, width),)
        Divided by the root of the number of rows: the squares are variances along the principal directions.
    """
    x = several(x.double())
    return torch.linalg.svdvals(x - x.mean(0) if centred else x) / len(x) ** 0.5


def effective_rank(x: Tensor, centred: bool = True) -> float:
    """In how many directions the rows spread (Roy & Vetterli, 2007).

    Parameters
    ----------
    x : Tensor, shape (rows, width)
    centred : bool
        As in `spectrum`.

    Returns
    -------
    float
        ``exp`` of the entropy of the singular values as shares of their sum: from 1, all rows on one line, to
        ``min(rows, width)``, all directions alike. It grows with the number of rows; compare sets of one size.

    Raises
    ------
    ValueError
        If all rows are one and the mean is taken off.
    """
    values = spectrum(x, centred)  # (min(rows, width),)
    if not values[0] > 1e-12 * x.double().norm() / len(x) ** 0.5:
        raise ValueError("all rows of x are one, so nothing is left without their mean: say centred=False")
    shares = values / values.sum()
    return float(torch.special.entr(shares).sum().exp())


def centre(x: Tensor, reference: Tensor | None = None) -> Tensor:
    """Rows without the mean of ``reference``, or their own.

    Parameters
    ----------
    x : Tensor, shape (rows, width)
    reference : Tensor, shape (rows', width), optional

    Returns
    -------
    Tensor, float64, shape (rows, width)
    """
    return x.double() - (x if reference is None else reference).double().mean(0)


def whiten(x: Tensor, reference: Tensor | None = None, keep: int | None = None) -> Tensor:
    """Rows in principal directions of ``reference``, or their own, each scaled to variance one.

    As Su et al. (2021, arXiv 2103.15316) do it to sentence vectors.

    Parameters
    ----------
    x : Tensor, shape (rows, width)
    reference : Tensor, shape (rows', width), optional
        Where mean and directions come from. With hardly more rows than ``keep``, its own rows come out at right
        angles whatever they say.
    keep : int, optional
        Directions to keep, those of the largest variance; all that ``reference`` spreads in, if not given.

    Returns
    -------
    Tensor, float64, shape (rows, keep)

    Raises
    ------
    ValueError
        If ``reference`` spreads in fewer directions than ``keep``.
    """
    reference = several((x if reference is None else reference).double(), "reference")
    mean = reference.mean(0)
    _, values, directions = torch.linalg.svd(reference - mean, full_matrices=False)  # (k,), (k, width)
    rank = int((values > values[0] * max(reference.shape) * torch.finfo(torch.float64).eps).sum())
    keep = rank if keep is None else keep
    if not 0 < keep <= rank:
        raise ValueError(f"keep = {keep}: reference spreads in {rank} directions; give 1 to that")
    deviations = values[:keep] / (len(reference) - 1) ** 0.5
    return (x.double() - mean) @ directions[:keep].T / deviations


def linear_cka(x: Tensor, y: Tensor) -> float:
    """How alike two encoders place the same texts (Kornblith et al., 2019, arXiv 1905.00414).

    Parameters
    ----------
    x : Tensor, shape (rows, width)
    y : Tensor, shape (rows, width')
        Of the same texts, by another encoder.

    Returns
    -------
    float
        From 0 to 1: one for the same vectors up to a rotation, a factor and a shift.

    Raises
    ------
    ValueError
        If the numbers of rows differ, or the rows of a set are one.
    """
    if len(x) != len(y):
        raise ValueError(f"x has {len(x)} rows and y {len(y)}: give vectors of the same texts")
    x, y = centre(x), centre(y)
    scale = (x.T @ x).norm() * (y.T @ y).norm()
    if not scale > 0:
        raise ValueError("all rows of x or of y are one: there is no spread to compare")
    return float((x.T @ y).square().sum() / scale)


def coordinates(x: Tensor, how: Literal["pca", "tsne"] = "pca", seed: int = 0) -> Tensor:
    """Two numbers a row, for a picture; by scikit-learn, of rows scaled to length one.

    Parameters
    ----------
    x : Tensor, shape (rows, width)
    how : {"pca", "tsne"}
        The two directions of the largest spread; or t-SNE, which keeps neighbours together and no distances.
    seed : int
        Of t-SNE.

    Returns
    -------
    Tensor, float64, shape (rows, 2)

    Raises
    ------
    ValueError
        If ``how`` is unknown or there are fewer than three rows.
    """
    if how not in ("pca", "tsne"):
        raise ValueError(f"unknown way {how!r}: give 'pca' or 'tsne'")
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    rows = several(unit(x), least=3).numpy()
    perplexity = min(30.0, (len(rows) - 1) / 3)
    method = PCA(2) if how == "pca" else TSNE(2, init="pca", perplexity=perplexity, random_state=seed)
    return torch.from_numpy(method.fit_transform(rows)).double()


def several(x: Tensor, name: str = "x", least: int = 2) -> Tensor:
    """``x``, if it has rows enough."""
    if x.ndim != 2 or len(x) < least:
        raise ValueError(f"{name} has shape {tuple(x.shape)}: give at least {least} rows, (rows, width)")
    return x
