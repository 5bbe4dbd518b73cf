"""Which instances to keep: the best by RepMatch, as the paper does (section 5.3), and what it is compared with."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from repmatch_lib.instances.scores import Scores

# A rule's value for each instance; the highest are kept. `table` holds the corpus' columns, and what the rule needs.
RULES: dict[str, Callable[[pd.DataFrame, np.random.Generator], pd.Series]] = {
    "top": lambda table, random: table.score,
    "lowest": lambda table, random: -table.score,
    "highest loss": lambda table, random: table.loss,
    "longest": lambda table, random: table.words,
    "highest EL2N": lambda table, random: table["EL2N"],
    "facility location": lambda table, random: -table["facility location"],
    "k-centre": lambda table, random: -table["k-centre"],
    "random": lambda table, random: pd.Series(random.random(len(table)), table.index),
}


def select(
    scores: Scores | pd.DataFrame, k: int = 100, balance: str | None = None, rule: str = "top", draw: int = 0
) -> np.ndarray:
    """Row numbers of the instances that a rule keeps, the first choice first; equal values in the table's order.

    Parameters
    ----------
    scores : Scores or DataFrame
        With the columns that the rule looks at: ``score``, ``loss``, ``words``, ``label``, ``EL2N``, or an order's
        name.
    k, balance, rule, draw
        See `Selection`.

    Raises
    ------
    ValueError
        If there are fewer than ``k`` instances, the rule or balance is unknown, or its column is missing.
    """
    if rule not in RULES or balance not in (None, "label", "top"):
        rules = ", ".join(RULES)
        raise ValueError(f"rule = {rule!r}, balance = {balance!r}: give one of {rules}; None, 'label' or 'top'")
    table = scores.to_pandas() if isinstance(scores, Scores) else scores.reset_index(drop=True)
    if not 0 < k <= len(table):
        raise ValueError(
            f"k = {k}, but the pool has {len(table)} instances: give 1 to {len(table)}, or enlarge the pool"
        )
    try:
        value = RULES[rule](table, np.random.default_rng(draw))
    except (AttributeError, KeyError) as error:
        raise ValueError(f"rule {rule!r} looks at a column that the table lacks; it has {', '.join(table)}") from error
    if balance is None:
        return np.argsort(-value.to_numpy(), kind="stable")[:k]
    place = value.groupby(table.label).rank(method="first", ascending=False)  # within its class, from 1
    if balance == "label":
        return np.lexsort((-value, place))[:k]
    quota = table.label.iloc[select(table, k)].value_counts()
    kept = table.index[place <= table.label.map(quota).fillna(0)]
    return kept[np.argsort(-value[kept].to_numpy(), kind="stable")].to_numpy()
