"""Scores of every two adapters of some runs as one table, and estimates over what varies between the runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import combinations_with_replacement, product

import pandas as pd

from repmatch_lib.experiments.runs import Run
from repmatch_lib.similarity.adapters import Adapter
from repmatch_lib.similarity.comparison import repmatch
from repmatch_lib.similarity.subspaces import Side, chance_scores
from repmatch_lib.statistics import Estimate, jackknife

Statistic = Callable[[pd.DataFrame], float]


def pair_scores(
    adapters: Mapping[Run, Adapter],
    pairs: Iterable[tuple[Run, Run]],
    module: str = "value",
    side: Side = "left",
) -> pd.DataFrame:
    """RepMatch of pairs of runs, one row a pair.

    Parameters
    ----------
    adapters : mapping of Run to Adapter
    pairs : iterable of pairs of Run
        Such as those of `under_other_seeds`.
    module, side
        As for `repmatch`.

    Returns
    -------
    DataFrame
        ``a`` and ``b`` (tasks), ``seed_a``, ``seed_b``, ``head_a``, ``head_b``, ``lr``, ``rank``, ``module``,
        ``side``; ``score`` and ``phi_11`` (means over layers), ``without_last`` (the score without the last layer),
        ``layers`` (list of L scores), ``grid`` (Tensor, shape (L, r, r)) and ``chance``.
    """
    rows = []
    for one, other in pairs:
        comparison = repmatch(adapters[one], adapters[other], module=module, side=side)
        rows.append(
            {
                "a": one.task, "b": other.task, "seed_a": one.seed, "seed_b": other.seed,
                "head_a": one.head_seed, "head_b": other.head_seed, "lr": one.lr, "rank": one.rank,
                "module": module, "side": side,
                "score": comparison.score,
                "phi_11": float(comparison.grid[:, 0, 0].mean()),
                "without_last": float(comparison.layers[:-1].mean()),
                "layers": comparison.layers.tolist(), "grid": comparison.grid, "chance": comparison.chance,
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def under_other_seeds(runs: Iterable[Run], tasks: Iterable[tuple[str, str]] | None = None) -> list[tuple[Run, Run]]:
    """Pairs of runs under different training seeds, since two runs of one seed share the random start of their ``A``.

    Parameters
    ----------
    runs : iterable of Run
        One of each task and seed.
    tasks : iterable of pairs of str, optional
        Tasks to compare; every two, and each with itself, if not given. Of a task with itself a pair of seeds comes
        once, of two tasks in both ways.
    """
    known = {(run.task, run.seed): run for run in runs}
    names, seeds = (list(dict.fromkeys(column)) for column in zip(*known, strict=True))
    compared = combinations_with_replacement(names, 2) if tasks is None else tasks
    return [
        (known[a, i], known[b, j])
        for a, b in compared
        for i, j in product(seeds, seeds)
        if i != j and (a != b or seeds.index(i) < seeds.index(j))
    ]


def over(table: pd.DataFrame, statistic: Statistic, unit: str = "seed") -> Estimate:
    """A statistic of pairs with its interval from leaving out one seed, say, at a time; see `jackknife`.

    Parameters
    ----------
    table : DataFrame
        From `pair_scores`.
    statistic : callable
        Of a table of pairs; NaN where there are none.
    unit : str
        What varies: ``"seed"``, ``"head"`` or another, with columns ``<unit>_a`` and ``<unit>_b``.
    """
    first, second = f"{unit}_a", f"{unit}_b"

    def among(kept: list[int]) -> float:
        return statistic(table[table[first].isin(kept) & table[second].isin(kept)])

    return jackknife(sorted({*table[first], *table[second]}), among, unit)


def pair_mean(table: pd.DataFrame, a: str, b: str, column: str = "score") -> float:
    """Mean of a column over the pairs of two tasks, in either order, or of one task with itself."""
    of_both = table[table.a.isin([a, b]) & table.b.isin([a, b])]
    return of_both.loc[(of_both.a == of_both.b) == (a == b), column].mean()


def mean_layers(table: pd.DataFrame) -> list[float]:
    """Score of each layer, mean over pairs."""
    return pd.DataFrame(table.layers.tolist()).mean().tolist()


def chance_estimate(width: int, rank: int, layers: int = 1) -> Estimate:
    """Score of unrelated subspaces: its mean and where 95 % of draws lie."""
    null = chance_scores(width, rank, rank, layers)
    return Estimate(float(null.mean()), float(null.quantile(0.025)), float(null.quantile(0.975)), len(null), "draw")
