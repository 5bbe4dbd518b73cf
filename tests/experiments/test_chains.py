"""What came of fine-tunings, against plain loops over made-up outcomes."""

from itertools import combinations
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import repmatch_lib as rm
from repmatch_lib.experiments.chains import Outcomes

SEEDS = range(4)


def fine_tuning(key: str, seed: int) -> SimpleNamespace:
    """A request whose outcome is drawn."""
    random = np.random.default_rng([ord(key), seed])
    kept = random.choice(30, 10, replace=False).tolist()
    classes = int(random.integers(1, 10))
    labels = {"a": classes, "b": 10 - classes}
    outcome = SimpleNamespace(value=float(random.random()), metric="accuracy", labels=labels, instances=kept)
    return SimpleNamespace(make=lambda progress: outcome, outcome=outcome)


@pytest.fixture
def outcomes() -> Outcomes:
    """Of two ways to select, under four seeds."""
    return Outcomes({(way,): {seed: fine_tuning(way, seed) for seed in SEEDS} for way in "xy"})


def test_an_outcome_is_known_by_key_and_seed(outcomes: Outcomes) -> None:
    assert outcomes["x",][2] is outcomes.asked["x",][2].outcome


def test_shares_by_counting(outcomes: Outcomes) -> None:
    x, y = outcomes["x",], outcomes["y",]
    for seed, share in outcomes.shared(("x",), ("y",)).items():
        assert share == 10 * sum(one in y[seed].instances for one in x[seed].instances)
    for seed, share in outcomes.largest_class("x").items():
        assert share == 10 * max(x[seed].labels["a"], x[seed].labels["b"])
    pairs = [10 * sum(one in x[b].instances for one in x[a].instances) for a, b in combinations(SEEDS, 2)]
    assert outcomes.shared_by_seeds("x").value == pytest.approx(sum(pairs) / len(pairs))


def test_a_row_for_each_fine_tuning(outcomes: Outcomes) -> None:
    table = outcomes.table("way")
    assert [*zip(table.way, table.seed, strict=True)] == [(way, seed) for way in "xy" for seed in SEEDS]
    assert isinstance(table, pd.DataFrame) and (table["class a"] + table["class b"] == 10).all()


def test_a_chain_hands_its_settings_down() -> None:
    chain = rm.Chain(source="mini", rows=7, pool=9, k=3, lora_lr=1e-2, tuning_lr=1e-3)
    one = chain.run("sst2", 5, "random", k=2, share=0.5, method="lora", rank=4)
    assert (one.seed, one.lr, one.selection.k, one.selection.draw) == (5, 1e-2, 2, 5)
    assert one.selection.ranking.share == 0.5 and one.selection.ranking.ranking.rows == 9
    assert (one.selection.ranking.target.rank, one.selection.ranking.target.rows) == (4, 7)
    assert chain.run("sst2", 5).selection.k == 3 and chain.run("sst2", 5).lr == 1e-3
