"""Scores of every two adapters of some runs as one table, and estimates over what varies between the runs.

Section 5.2; the book's chapter on data sets is the first to use them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations_with_replacement, product

import pandas as pd
import torch
from torch import Tensor

from repmatch_lib.data.tasks import task
from repmatch_lib.experiments.runs import Run
from repmatch_lib.similarity.adapters import Adapter
from repmatch_lib.similarity.all_pairs import AllPairs
from repmatch_lib.similarity.comparison import repmatch
from repmatch_lib.similarity.subspaces import Side, chance_scores, repmatch_score
from repmatch_lib.statistics import Estimate, jackknife

Statistic = Callable[[pd.DataFrame], float]


def pair_scores(
    adapters: Mapping[Run, Adapter],
    pairs: Iterable[tuple[Run, Run]],
    module: str = "value",
    side: Side = "left",
    against: Mapping[Run, Adapter] | None = None,
) -> pd.DataFrame:
    """RepMatch of pairs of runs, one row a pair.

    Parameters
    ----------
    adapters : mapping of Run to Adapter
    pairs : iterable of pairs of Run
        Such as those of `under_other_seeds`.
    module, side
        As for `repmatch`.
    against : mapping of Run to Adapter, optional
        Adapters of the second run of each pair where they were trained in another way; ``adapters`` if not given.

    Returns
    -------
    DataFrame
        ``a`` and ``b`` (tasks), ``seed_a``, ``seed_b``, ``head_a``, ``head_b``, ``lr``, ``rank``, ``module``,
        ``side``; ``score`` and ``phi_11`` (means over layers), ``without_last`` (the score without the last layer),
        ``layers`` (list of L scores), ``grid`` (Tensor, shape (L, r, r)) and ``chance``.
    """
    rows = []
    others = adapters if against is None else against
    for one, other in pairs:
        comparison = repmatch(adapters[one], others[other], module=module, side=side)
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
    """Pairs of runs under one head and different training seeds: two runs of one seed share the random start of ``A``.

    Parameters
    ----------
    runs : iterable of Run
        One of each task, head and seed.
    tasks : iterable of pairs of str, optional
        Tasks to compare; every two, and each with itself, if not given. Of a task with itself a pair of seeds comes
        once, of two tasks in both ways.
    """
    known = {(run.head_seed, run.task, run.seed): run for run in runs}
    heads, names, seeds = (list(dict.fromkeys(column)) for column in zip(*known, strict=True))
    compared = list(combinations_with_replacement(names, 2) if tasks is None else tasks)
    return [
        (known[head, a, i], known[head, b, j])
        for head in heads
        for a, b in compared
        for i, j in product(seeds, seeds)
        if i != j and (a != b or seeds.index(i) < seeds.index(j))
    ]


def over(
    table: pd.DataFrame, statistic: Statistic, unit: str = "seed", bounds: tuple[float, float] | None = None
) -> Estimate:
    """A statistic of pairs with its interval from leaving out one seed, say, at a time; see `jackknife`.

    Parameters
    ----------
    table : DataFrame
        From `pair_scores`.
    statistic : callable
        Of a table of pairs; NaN where there are none.
    unit : str
        What varies: ``"seed"``, ``"head"`` or another, with columns ``<unit>_a`` and ``<unit>_b``.
    bounds : (float, float), optional
        What the statistic cannot pass.
    """
    first, second = f"{unit}_a", f"{unit}_b"

    def among(kept: list[int]) -> float:
        return statistic(table[table[first].isin(kept) & table[second].isin(kept)])

    return jackknife(sorted({*table[first], *table[second]}), among, unit, bounds)


def pair_mean(table: pd.DataFrame, a: str, b: str, column: str = "score") -> float:
    """Mean of a column over the pairs of two tasks, in either order, or of one task with itself."""
    return float(_between(table, a, b)[column].mean())


def same_task_lead(table: pd.DataFrame, column: str = "score") -> float:
    """Mean of a column over the pairs of one task with itself, less that over the pairs of two tasks."""
    same = table.a == table.b
    return float(table.loc[same, column].mean() - table.loc[~same, column].mean())


def mean_layers(table: pd.DataFrame) -> list[float]:
    """Score of each layer, mean over pairs."""
    return pd.DataFrame(table.layers.tolist()).mean().tolist()


def chance_estimate(width: int, rank: int, layers: int = 1) -> Estimate:
    """Score of unrelated subspaces: its mean and where 95 % of draws lie."""
    null = chance_scores(width, rank, rank, layers)
    return Estimate(float(null.mean()), float(null.quantile(0.025)), float(null.quantile(0.975)), len(null), "draw")


def scores_of_all(compared: AllPairs) -> pd.DataFrame:
    """Pairs under different seeds of adapters that `compare_all` compared, one row a pair.

    Returns
    -------
    DataFrame
        ``a``, ``b``, ``seed_a``, ``seed_b``, ``score``, ``phi_11`` and ``layers``, as `pair_scores` has them. Of a task
        with itself a pair of seeds comes once, of two tasks in both ways.
    """
    layers = repmatch_score(compared.grids)
    runs = list(product(enumerate(compared.tasks), enumerate(compared.seeds)))
    return pd.DataFrame(
        {
            "a": task_a, "b": task_b, "seed_a": seed_a, "seed_b": seed_b,
            "score": float(layers[a, i, b, j].mean()), "phi_11": float(compared.grids[a, i, b, j, :, 0, 0].mean()),
            "layers": layers[a, i, b, j].tolist(),
        }
        for ((a, task_a), (i, seed_a)), ((b, task_b), (j, seed_b)) in product(runs, runs)
        if i != j and (a < b or (a == b and i < j))
    )  # fmt: skip


def mean_grid(table: pd.DataFrame, a: str, b: str) -> Tensor:
    """Grassmann similarity phi(i, j) of two tasks, mean over their pairs.

    Returns
    -------
    Tensor, shape (L, r, r)
        ``i`` counts directions of ``a`` and ``j`` those of ``b``, in whichever order the table has them.
    """
    pairs = _between(table, a, b)
    return torch.stack([grid if one == a else grid.mT for one, grid in zip(pairs.a, pairs.grid, strict=True)]).mean(0)


def pair_matrix(table: pd.DataFrame, tasks: Sequence[str], column: str = "score") -> pd.DataFrame:
    """`pair_mean` of every two tasks: symmetric, tasks as index and columns."""
    return pd.DataFrame([[pair_mean(table, a, b, column) for b in tasks] for a in tasks], tasks, tasks)


def mean_of_pairs(table: pd.DataFrame, column: str = "score") -> float:
    """Mean of a column over pairs of tasks, each of them counting once however many pairs of runs it has."""
    return float(table.groupby(["a", "b"])[column].mean().mean())


def rank_correlation(one: pd.DataFrame, other: pd.DataFrame, column: str = "score") -> float:
    """Spearman's rank correlation of the means of pairs of tasks in two tables, over the pairs that both have."""
    first, second = (table.groupby(["a", "b"])[column].mean() for table in (one, other))
    return float(first.corr(second, method="spearman"))


def relations(table: pd.DataFrame, kinds: Iterable[Iterable[str]]) -> pd.Series:
    """What the two tasks of each row have to do with each other: ``"one task"``, ``"one kind"`` or ``"two kinds"``.

    Parameters
    ----------
    table : DataFrame
        From `pair_scores`.
    kinds : iterable of iterables of str
        The tasks, by kind.
    """
    kind_of = {name: number for number, kind in enumerate(kinds) for name in kind}
    relation = pd.Series("two kinds", table.index).mask(table.a.map(kind_of) == table.b.map(kind_of), "one kind")
    return relation.mask(table.a == table.b, "one task")


def pair_title(name: str) -> str:
    """The titles of a pair of tasks, or of one pair less another.

    Parameters
    ----------
    name : str
        Such as ``"sst2|imdb"``, or ``"sst2|imdb - sst2|snli"``.
    """
    return " less ".join(" | ".join(task(one).title for one in pair.split("|")) for pair in name.split(" - "))


def _between(table: pd.DataFrame, a: str, b: str) -> pd.DataFrame:
    """The pairs of two tasks, in either order, or of one task with itself."""
    of_both = table[table.a.isin([a, b]) & table.b.isin([a, b])]
    return of_both[(of_both.a == of_both.b) == (a == b)]
