"""How well scores tell tasks apart, counted by hand and by loops."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest

import repmatch_lib as rm


@pytest.fixture
def table() -> pd.DataFrame:
    runs = [(task, seed) for task in ("a", "b", "c") for seed in range(3)]
    pairs = [(one, other) for k, one in enumerate(runs) for other in runs[k + 1 :] if one[1] != other[1]]
    random = np.random.default_rng(1)
    return pd.DataFrame(
        {
            "a": a, "b": b, "head_a": 0, "head_b": 0, "seed_a": i, "seed_b": j,
            "same_kind": {a, b} <= {"a", "b"} or a == b, "score": round(random.uniform(), 1),  # with ties
        }
        for (a, i), (b, j) in pairs
    )  # fmt: skip


def ahead(higher: pd.Series, lower: pd.Series) -> float:
    return float(np.mean([(x > y) + (x == y) / 2 for x, y in product(higher, lower)]))


def test_auc_is_a_count_of_pairs_of_pairs(table: pd.DataFrame) -> None:
    same, different = table[table.a == table.b], table[table.a != table.b]
    assert rm.task_auc(table) == pytest.approx(ahead(same.score, different.score))
    one_kind, two_kinds = different[different.same_kind], different[~different.same_kind]
    assert rm.kind_auc(table) == pytest.approx(ahead(one_kind.score, two_kinds.score))
    assert rm.task_auc(table.assign(score=table.a == table.b)) == 1


def test_auc_does_not_see_a_rising_function(table: pd.DataFrame) -> None:
    assert rm.kind_auc(table.assign(bent=np.exp(table.score)), "bent") == rm.kind_auc(table)


def test_nearest_is_looked_for_from_every_run(table: pd.DataFrame) -> None:
    table = table.assign(score=np.random.default_rng(2).permutation(len(table)))  # without ties
    own = []
    for task, seed in {*zip(table.a, table.seed_a, strict=True), *zip(table.b, table.seed_b, strict=True)}:
        with_others = {
            (row.b if (row.a, row.seed_a) == (task, seed) else row.a): row.score
            for row in table.sort_values("score").itertuples()
            if (task, seed) in ((row.a, row.seed_a), (row.b, row.seed_b))
        }
        own.append(max(with_others, key=with_others.get) == task)
    assert len(own) == 9 and rm.nearest_of_own_task(table) == pytest.approx(np.mean(own))
    assert rm.nearest_of_own_task(table.assign(score=table.a == table.b)) == 1
    another = table.assign(head_a=1, head_b=1, score=table.a != table.b)
    of_both = pd.concat([table.assign(score=table.a == table.b), another])
    assert rm.nearest_of_own_task(of_both) == 0.5  # each head's runs among themselves
