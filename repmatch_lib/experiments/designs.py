"""Designs of runs: what varies, at two levels each, in every combination; and runs of equally many steps.

For the book's chapter on batches: what else moves an adapter.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from itertools import product
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from repmatch_lib.experiments.runs import Run

SEED_OF = {
    "head": "head_seed", "start": "start_seed", "order": "order_seed", "dropout": "seed", "rows": "sample_seed"
}  # fmt: skip


class Design:
    """A 2^k design: k factors at two levels each, one run a combination, and all of it again with other seeds.

    Parameters
    ----------
    base : Run
        What does not vary, with ``start_seed`` and ``order_seed`` given.
    factors : sequence of str
        Of ``SEED_OF``, at least two, each once.
    replicates : int
        Times that it is run; replicate k has the seeds 2 k and 2 k + 1.

    Attributes
    ----------
    levels : list of tuple of int
        0 or 1 for each factor, the last changing fastest, as `variance_shares` takes runs.

    Raises
    ------
    ValueError
        If factors or replicates are not such.
    """

    def __init__(self, base: Run, factors: Sequence[str], replicates: int = 1) -> None:
        if len(factors) < 2 or len(set(factors)) < len(factors) or not set(factors) <= set(SEED_OF) or replicates < 1:
            raise ValueError(
                f"factors = {factors}, replicates = {replicates}: give at least two of {', '.join(SEED_OF)}, each "
                "once, and at least one replicate"
            )
        self.base, self.factors, self.replicates = base, tuple(factors), replicates
        self.levels = list(product((0, 1), repeat=len(factors)))

    def cells(self, replicate: int) -> list[Run]:
        """The runs of a replicate, 2^k of them, in the order of ``levels``."""
        names = [SEED_OF[factor] for factor in self.factors]
        seeds: list[dict[str, Any]] = [
            {name: 2 * replicate + one for name, one in zip(names, level, strict=True)} for level in self.levels
        ]
        return [dataclasses.replace(self.base, **of_cell) for of_cell in seeds]

    @property
    def runs(self) -> list[Run]:
        """Those of all replicates."""
        return [run for replicate in range(self.replicates) for run in self.cells(replicate)]

    def differing(self, *factors: str) -> tuple[NDArray[np.intp], ...]:
        """Places of all pairs of cells that differ in these factors and in no other, to index a square by."""
        levels = np.array(self.levels)
        wanted = np.isin(self.factors, factors)
        return np.nonzero(((levels[:, None] != levels) == wanted).all(-1))


def under_seed(run: Run, seed: int, **changes: Any) -> Run:
    """The run with one seed for start, order and dropout, and with other changes."""
    return dataclasses.replace(run, seed=seed, start_seed=seed, order_seed=seed, **changes)


def steps_of(epochs: int, rows: int, batch_size: int) -> int:
    """Steps that passes over so many rows make, the last batch of a pass as small as it comes."""
    return epochs * ceil(rows / batch_size)


def passes_of(steps: int, rows: int, batch_size: int) -> int:
    """Passes over so many rows that make so many steps.

    Raises
    ------
    ValueError
        If no whole number of them does.
    """
    whole, rest = divmod(steps, ceil(rows / batch_size))
    if rest or not whole:
        raise ValueError(
            f"{steps} steps are no whole number of passes over {rows} rows in batches of {batch_size}: give rows and "
            "sizes that are multiples of every batch size, or other epochs and size_epochs"
        )
    return whole


def shared_rows(run: Run, rows: int, pairs: Iterable[tuple[int, int]]) -> float:
    """Rows that two samples of so many rows of a run's data share, mean over pairs of sample seeds."""
    pairs = list(pairs)
    samples = {s: dataclasses.replace(run, rows=rows, sample_seed=s).rows_of() for pair in pairs for s in pair}
    ids = {seed: {*sample.table["id"].to_pylist()} for seed, sample in samples.items()}
    return sum(len(ids[a] & ids[b]) for a, b in pairs) / len(pairs)
