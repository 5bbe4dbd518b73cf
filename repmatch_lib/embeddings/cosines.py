"""The paper's baseline (table 2): cosines of an untrained encoder's vectors, counted over all pairs of rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
import torch
from torch import Tensor


@dataclass(frozen=True)
class Cosines:
    """Cosine similarities of all pairs of two sets of rows, as counts.

    Rows are cut into groups of neighbours, the same number in both sets, so that a share can be had without some
    groups: pairs share rows, so it is rows, and not pairs, that an interval has to leave out.

    Attributes
    ----------
    counts : ndarray, int64, shape (groups, groups, bins)
        Pairs by the groups of their rows and by cosine, in bins of one width from -1 to 1.
    above : dict of float to ndarray, int64, shape (groups, groups)
        Pairs strictly above each threshold, compared in float32, not binned.
    """

    counts: np.ndarray
    above: dict[float, np.ndarray]

    @property
    def pairs(self) -> int:
        """How many were counted."""
        return int(self.counts.sum())

    def share(self, threshold: float = 0.9, groups: Sequence[int] | None = None) -> float:
        """Share of pairs above a threshold, from 0 to 1; of the pairs within some groups, if given.

        Raises
        ------
        ValueError
            If the threshold was not counted.
        """
        if threshold not in self.above:
            raise ValueError(f"threshold {threshold} was not counted, only {list(self.above)}: give it to cosines()")
        kept = self._kept(groups)
        return float(self.above[threshold][kept].sum() / self.counts[kept].sum())

    def curve(self, groups: Sequence[int] | None = None) -> pd.Series:
        """Share of pairs at or above each edge of a bin, from 1 at -1 down to 0 at 1; to rounding, near an edge."""
        counts = self.counts[self._kept(groups)].sum((0, 1))
        edges = np.linspace(-1, 1, len(counts) + 1)
        return pd.Series(np.append(counts[::-1].cumsum()[::-1], 0) / counts.sum(), index=edges, name="share above")

    def quantile(self, below: float, groups: Sequence[int] | None = None) -> float:
        """The cosine that a share of the pairs lies below, interpolated within its bin."""
        curve = self.curve(groups)
        return float(np.interp(below, 1 - curve.to_numpy(), curve.index))

    def share_above(self, cosine: float, groups: Sequence[int] | None = None) -> float:
        """Share of pairs above any cosine, from 0 to 1, interpolated within its bin; `share` is exact."""
        curve = self.curve(groups)
        return float(np.interp(cosine, curve.index, curve))

    def _kept(self, groups: Sequence[int] | None) -> tuple[np.ndarray, ...]:
        return np.ix_(*[range(len(self.counts)) if groups is None else groups] * 2)


def cosines(
    a: Tensor,
    b: Tensor | None = None,
    *,
    thresholds: Sequence[float] = (0.9,),
    bins: int = 400,
    groups: int = 1,
    block: int = 1024,
) -> Cosines:
    """Count the cosine similarities of all pairs of rows, block by block; the full matrix is never held.

    Parameters
    ----------
    a : Tensor, shape (rows, width)
    b : Tensor, shape (rows', width), optional
        Every row of ``a`` with every row of ``b``. Not given: ``a`` with itself, each pair of two rows once.
    thresholds : sequence of float
        From -1 to 1.
    bins : int
        Of the histogram, up to 32,767.
    groups : int
        Into how many groups of neighbouring rows each set is cut. Rows drawn at random give random groups.
    block : int
        Rows of a block: 4 MB each at 1,024.

    Raises
    ------
    ValueError
        If a row has no direction, the widths differ, there is no pair, or a setting is out of its range.
    """
    if wrong := [t for t in thresholds if not -1 <= t <= 1]:
        raise ValueError(f"threshold {wrong[0]} is no cosine: give a number from -1 to 1")
    if not (0 < bins < 2**15 and block > 0):
        raise ValueError(f"bins = {bins} and block = {block}: give 1 to {2**15 - 1} bins and a block of at least 1")
    if b is None and len(a) < 2:
        raise ValueError(f"{len(a)} row has no pair with itself: give at least two rows, or a second set")
    if not 0 < groups <= min(len(a), len(a if b is None else b)):
        raise ValueError(f"groups = {groups}: give 1 to the number of rows, {min(len(a), len(a if b is None else b))}")
    first = directions(a, "a")
    second = first if b is None else directions(b, "b")
    if first.shape[1] != second.shape[1]:
        raise ValueError(f"a is {first.shape[1]} wide and b {second.shape[1]}: give vectors of one encoder")
    counts = np.zeros((groups, groups, bins), np.int64)
    above = {t: np.zeros((groups, groups), np.int64) for t in thresholds}
    for g, left in row_blocks(len(first), groups, block):
        for h, right in row_blocks(len(second), groups, block):
            if b is None and right.start < left.start:
                continue
            products = first[left] @ second[right].T
            if b is None and right == left:
                products = products[tuple(torch.triu_indices(len(products), len(products), offset=1))]
            for t in thresholds:
                above[t][g, h] += int(torch.count_nonzero(products > t))
            counts[g, h] += _histogram(products, bins)
    return Cosines(counts, above)


def cosine_share(a: Tensor, b: Tensor | None = None, threshold: float = 0.9, block: int = 1024) -> float:
    """Share of pairs of rows whose cosine similarity is above a threshold: the baseline of table 2.

    ``b`` not given: ``a`` with itself without the diagonal. Shapes, ranges and errors as in `cosines`.
    """
    return cosines(a, b, thresholds=(threshold,), bins=1, block=block).share(threshold)


def directions(rows: Tensor, name: str, first: int = 0) -> Tensor:
    """Rows of length one, in float32; errors number them from ``first``."""
    if rows.ndim != 2:
        raise ValueError(f"{name} has shape {tuple(rows.shape)}: give one row a vector, (rows, width)")
    lengths = torch.linalg.vector_norm(rows, dim=1, dtype=torch.float64)
    if not (lengths.isfinite() & (lengths > 0)).all():
        bad = int((~(lengths.isfinite() & (lengths > 0))).nonzero()[0])
        raise ValueError(f"row {first + bad} of {name} has length {float(lengths[bad])} and so no direction: drop it")
    return (rows / lengths[:, None]).float()


def row_blocks(rows: int, groups: int, block: int) -> Iterator[tuple[int, slice]]:
    """Each group's number with its rows, in slices of at most ``block``."""
    edges = [rows * g // groups for g in range(groups + 1)]
    for g, (start, stop) in enumerate(pairwise(edges)):
        for begin in range(start, stop, block):
            yield g, slice(begin, min(begin + block, stop))


def _histogram(values: Tensor, bins: int) -> np.ndarray:
    """Counts in equal bins from -1 to 1; values beyond, by rounding, fall into the outermost. Changes ``values``."""
    places = values.flatten().add_(1).mul_(bins / 2).clamp_(0, bins - 1).to(torch.int16)
    return torch.bincount(places, minlength=bins).numpy(force=True)
