"""How well scores of pairs tell one task from others, and one kind of task from others.

A measure that is to tell tasks apart is judged by the order that it puts pairs in, whatever the level of its values.
The functions are statistics of a table of pairs as `over` takes them; the book's chapter on layers introduces them.
"""

from __future__ import annotations

import pandas as pd
from sklearn.metrics import roc_auc_score


def task_auc(table: pd.DataFrame, column: str = "score") -> float:
    """The chance that a pair of runs of one task scores higher than a pair of two tasks, ties counting half.

    The area under the receiver operating characteristic (Fawcett, 2006), from 0 to 1; 0.5 is guessing.

    Parameters
    ----------
    table : DataFrame
        From `pair_scores`.
    column : str
        What scores.
    """
    return float(roc_auc_score(table.a == table.b, table[column]))


def kind_auc(table: pd.DataFrame, column: str = "score") -> float:
    """As `task_auc`, of pairs of two different tasks: those of one kind against those of two kinds.

    Parameters
    ----------
    table : DataFrame
        From `pair_scores`, with ``same_kind`` (bool), as `relations` tells it.
    column : str
    """
    different = table[table.a != table.b]
    return float(roc_auc_score(different.same_kind, different[column]))


def nearest_of_own_task(table: pd.DataFrame, column: str = "score") -> float:
    """Share of runs whose nearest run, among those of their head and other seeds, is of their own task.

    Parameters
    ----------
    table : DataFrame
        From `pair_scores`; every pair once.
    column : str
        The larger, the nearer.
    """
    other = {"a": "b", "head_a": "head_b", "seed_a": "seed_b"}
    exchanged = table.rename(columns=other | {second: first for first, second in other.items()})
    either_way = pd.concat([table, exchanged], ignore_index=True)
    nearest = either_way.loc[either_way.groupby(list(other))[column].idxmax()]
    return float((nearest.a == nearest.b).mean())
