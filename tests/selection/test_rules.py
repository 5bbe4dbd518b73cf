"""Which instances a rule keeps, against sorting by hand."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from helpers import highest

import repmatch_lib as rm


@pytest.fixture
def table() -> pd.DataFrame:
    random = np.random.default_rng(1)
    return pd.DataFrame(
        {
            "label": random.choice(3, 60, p=[0.7, 0.2, 0.1]),
            "score": random.random(60).round(2),
            "loss": random.random(60),
            "words": random.integers(1, 9, 60),
        }
    )


@pytest.mark.parametrize(
    ("rule", "column", "sign"),
    [("top", "score", 1), ("lowest", "score", -1), ("highest loss", "loss", 1), ("longest", "words", 1)],
)
def test_the_highest_values_are_kept(table: pd.DataFrame, rule: str, column: str, sign: int) -> None:
    assert rm.select(table, 11, rule=rule).tolist() == highest(sign * table[column], 11)


def test_ties_are_kept_in_the_order_of_the_rows() -> None:
    table = pd.DataFrame({"score": [1.0, 2.0, 1.0, 1.0], "label": 0})
    assert rm.select(table, 3).tolist() == [1, 0, 2]


def test_a_random_draw_is_its_seeds(table: pd.DataFrame) -> None:
    first, again, other = (rm.select(table, 20, rule="random", draw=draw).tolist() for draw in (3, 3, 4))
    assert first == again != other and len(set(first)) == 20


def test_balanced_takes_the_best_of_each_class(table: pd.DataFrame) -> None:
    kept = rm.select(table, 12, balance="label")
    for label in range(3):
        rows = table.index[table.label == label]
        mine = [row for row in kept if table.label[row] == label]
        assert len(mine) == 4 and table.score[mine].min() >= table.score[rows.difference(mine)].max() - 1e-12


def test_a_class_that_runs_out_leaves_its_places_to_the_others(table: pd.DataFrame) -> None:
    few = (table.label == 2).sum()
    counts = Counter(table.label[rm.select(table, 3 * few + 6, balance="label")])
    assert counts[2] == few and abs(counts[0] - counts[1]) <= 1 and counts.total() == 3 * few + 6


@pytest.mark.parametrize("rule", ["random", "lowest"])
def test_classes_as_in_the_top(table: pd.DataFrame, rule: str) -> None:
    top, kept = rm.select(table, 15), rm.select(table, 15, balance="top", rule=rule)
    assert Counter(table.label[kept]) == Counter(table.label[top]) and set(kept) != set(top)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 61}, "k = 61, but the pool has 60 instances"),
        ({"rule": "best"}, "rule = 'best', .* give one of top, lowest"),
        ({"balance": "classes"}, "balance = 'classes'"),
    ],
)
def test_what_cannot_be_selected(table: pd.DataFrame, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rm.select(table, **({"k": 5} | options))


def test_a_choice_that_cannot_be_made_is_refused() -> None:
    table = pd.DataFrame({"score": [0.1, 0.3, 0.2], "label": [0, 1, 0]})
    for k in (-1, 0, 4):
        with pytest.raises(ValueError, match=f"k = {k}, but the pool has 3 instances: give 1 to 3"):
            rm.select(table, k)
    with pytest.raises(ValueError, match="rule 'longest' looks at a column that the table lacks; it has score, label"):
        rm.select(table, 2, rule="longest")
