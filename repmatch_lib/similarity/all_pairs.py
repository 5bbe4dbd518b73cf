"""Every pair of tasks under every pair of training seeds, compared at once.

Section 5.2; the book's chapter on data sets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from repmatch_lib.similarity.adapters import Adapter
from repmatch_lib.similarity.comparison import require_comparable, trained_basis
from repmatch_lib.similarity.subspaces import Side, chance_scores, grassmann_similarity, repmatch_score
from repmatch_lib.statistics import Estimate, jackknife


@dataclass(frozen=True)
class AllPairs:
    """What `compare_all` found, for T tasks under S seeds and L layers at rank r.

    Attributes
    ----------
    tasks : tuple of str
    seeds : tuple of int
    grids : Tensor, shape (T, S, T, S, L, r, r)
        ``grids[a, s, b, t, l, i - 1, j - 1]`` is phi(i, j) of task a under seed s and task b under seed t, in layer l.
    chance, chance_95 : float
        Of one layer's score between unrelated subspaces: its mean, and what 95 % of them score below.
    """

    tasks: tuple[str, ...]
    seeds: tuple[int, ...]
    grids: Tensor
    chance: float
    chance_95: float

    def score(self, a: str, b: str, layer: int | None = None) -> Estimate:
        """RepMatch of two tasks: mean over pairs of different seeds, with a jackknife interval over seeds.

        Two runs of one seed share the random start of their ``A``, so they are never compared.

        Parameters
        ----------
        a, b : str
            Two tasks, or one twice.
        layer : int, optional
            From 1; the mean of all layers if not given.
        """
        scores = repmatch_score(self._pair(a, b))
        square = (scores.mean(-1) if layer is None else scores[..., layer - 1]).numpy()

        def over(kept: list[int]) -> float:
            different = ~np.eye(len(kept), dtype=bool)
            return float(square[np.ix_(kept, kept)][different].mean()) if len(kept) > 1 else float("nan")

        return jackknife(range(len(self.seeds)), over)

    def grid(self, a: str, b: str) -> Tensor:
        """The mean over pairs of different seeds of phi(i, j), shape (L, r, r).

        The largest entry of a mean is at most the mean of the largest entries, which is the score.
        """
        different = ~torch.eye(len(self.seeds), dtype=torch.bool)
        return self._pair(a, b)[different].mean(0)

    def to_pandas(self) -> pd.DataFrame:
        """One row a pair and layer, a pair of tasks once and each task with itself too.

        Columns: ``a``, ``b``, ``layer``, ``score``, ``low``, ``high``, ``chance``, ``chance_95`` and ``grid``.
        """
        rows = []
        for k, a in enumerate(self.tasks):
            for b in self.tasks[k:]:
                for layer, grid in enumerate(self.grid(a, b).numpy().round(4).tolist(), 1):
                    estimate = self.score(a, b, layer)
                    row = {
                        "a": a,
                        "b": b,
                        "layer": layer,
                        "score": estimate.value,
                        "low": estimate.low,
                        "high": estimate.high,
                    }
                    rows.append(row | {"chance": self.chance, "chance_95": self.chance_95, "grid": grid})
        return pd.DataFrame(rows)

    def _pair(self, a: str, b: str) -> Tensor:
        """Grids of two tasks, shape (S, S, L, r, r)."""
        return self.grids[self.tasks.index(a), :, self.tasks.index(b)]


def compare_all(adapters: Mapping[tuple[str, int], Adapter], module: str = "value", side: Side = "left") -> AllPairs:
    """Compare the adapters of every task under every seed with each other.

    Parameters
    ----------
    adapters : mapping of (task, seed) to Adapter
        Of one rank and one base model; every task under the same seeds, at least two.
    module, side
        As for `repmatch`.

    Returns
    -------
    AllPairs

    Raises
    ------
    ValueError
        If a task lacks a seed, there is only one seed, ranks differ, or two adapters cannot be compared.
    """
    tasks, seeds = (tuple(dict.fromkeys(names)) for names in zip(*adapters, strict=True))
    if missing := [(task, seed) for task in tasks for seed in seeds if (task, seed) not in adapters]:
        raise ValueError(f"no adapter for {missing[0]}: every task needs the same seeds")
    if len(seeds) < 2:
        raise ValueError(f"one seed, {seeds[0]}: two runs of one seed share their random start, so give at least two")
    ordered = [adapters[task, seed] for task in tasks for seed in seeds]
    for other in ordered[1:]:
        require_comparable(ordered[0], other, module)
    factors = [adapter.factors(module)[1:] for adapter in ordered]
    if len(ranks := {A.shape[-2] for A, _ in factors}) > 1:
        raise ValueError(f"ranks {sorted(ranks)}: compare the adapters of one rank at a time")
    bases = torch.stack([trained_basis(one, *AB, side) for one, AB in zip(ordered, factors, strict=True)])
    bases = bases.unflatten(0, (len(tasks), len(seeds)))  # (T, S, L, width, r)
    grids = grassmann_similarity(bases[:, :, None, None], bases)
    width, rank = bases.shape[-2:]
    null = chance_scores(width, rank, rank)
    return AllPairs(tasks, seeds, grids, float(null.mean()), float(null.quantile(0.95)))
