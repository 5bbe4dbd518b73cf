"""What came of fine-tunings, against plain loops over made-up outcomes."""

from itertools import combinations
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t

import repmatch_lib as rm
from repmatch_lib.experiments.chains import Outcomes

SEEDS = range(6)
TARGETS = 3  # each of two runs


def fine_tuning(key: str, seed: int) -> SimpleNamespace:
    """A request whose outcome is drawn."""
    random = np.random.default_rng([ord(key), seed])
    kept = random.choice(30, 10, replace=False).tolist()
    classes = int(random.integers(1, 10))
    labels = {"a": classes, "b": 10 - classes}
    told = {"learned": {"constant": 0.25}}
    outcome = SimpleNamespace(
        value=float(random.random()), metric="accuracy", labels=labels, instances=kept, provenance=told
    )
    selection = SimpleNamespace(ranking=SimpleNamespace(target=rm.Run("sst2", seed=seed % TARGETS)))
    return SimpleNamespace(make=lambda progress: outcome, outcome=outcome, selection=selection)


@pytest.fixture
def outcomes() -> Outcomes:
    """Of two ways to select, under six seeds."""
    return Outcomes({(way,): {seed: fine_tuning(way, seed) for seed in SEEDS} for way in "xy"})


def test_an_outcome_is_known_by_key_and_seed(outcomes: Outcomes) -> None:
    assert outcomes["x",][2] is outcomes.asked["x",][2].outcome


def test_shares_by_counting(outcomes: Outcomes) -> None:
    x, y = outcomes["x",], outcomes["y",]
    for seed, share in outcomes.shared(("x",), ("y",)).items():
        assert share == 10 * sum(one in y[seed].instances for one in x[seed].instances)
    for seed, share in outcomes.largest_class("x").items():
        assert share == 10 * max(x[seed].labels["a"], x[seed].labels["b"])
    firsts = range(TARGETS)
    pairs = [10 * sum(one in x[b].instances for one in x[a].instances) for a, b in combinations(firsts, 2)]
    assert outcomes.shared_by_targets("x").value == pytest.approx(sum(pairs) / len(pairs))


def test_an_interval_leaves_out_a_target_with_its_runs(outcomes: Outcomes) -> None:
    gaps = {seed: 100 * (outcomes["x",][seed].value - outcomes["y",][seed].value) for seed in SEEDS}
    by_target = [(gaps[target] + gaps[target + TARGETS]) / 2 for target in range(TARGETS)]
    half = float(t.ppf(0.975, TARGETS - 1) * np.std(by_target, ddof=1) / TARGETS**0.5)
    gap = outcomes.less(("x",), ("y",))
    assert (gap.n, gap.unit) == (TARGETS, "target") and gap.value == pytest.approx(np.mean(by_target))
    assert (gap.low, gap.high) == pytest.approx((gap.value - half, gap.value + half))


def test_a_row_for_each_fine_tuning(outcomes: Outcomes) -> None:
    table = outcomes.table("way")
    assert [*zip(table.way, table.seed, strict=True)] == [(way, seed) for way in "xy" for seed in SEEDS]
    assert (table.target == table.seed % TARGETS).all() and (table.constant == 0.25).all()
    assert isinstance(table, pd.DataFrame) and (table["class a"] + table["class b"] == 10).all()


def test_a_chain_hands_its_settings_down() -> None:
    chain = rm.Chain(source="mini", rows=7, pool=9, k=3, lora_lr=1e-2, tuning_lr=1e-3, targets=4)
    one = chain.run("sst2", 5, "random", k=2, share=0.5, among=8, method="lora", rank=4)
    assert (one.seed, one.lr, one.selection.k, one.selection.draw) == (5, 1e-2, 2, 5)
    assert one.selection.among == 8
    target = one.selection.ranking.target
    assert (target.seed, target.head_seed, target.sample_seed) == (1, 1, 1)  # the sixth run has the second target
    assert one.selection.ranking.share == 0.5 and one.selection.ranking.ranking.rows == 9
    assert (one.selection.ranking.target.rank, one.selection.ranking.target.rows) == (4, 7)
    assert chain.run("sst2", 5).selection.k == 3 and chain.run("sst2", 5).lr == 1e-3
