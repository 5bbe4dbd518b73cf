"""Draws from groups of overlap against HANS, by plain loops over pairs of seeds."""

from __future__ import annotations

from itertools import combinations, permutations

import numpy as np
import pandas as pd
import pytest
import torch

import repmatch_lib as rm
from repmatch_lib.experiments.overlap_scores import lead

SEEDS, GROUPS, HEURISTICS = (1, 2, 3), ("full", "mid", "no", "any"), ("first", "second")
LAYER = "base_model.model.encoder.layer.{}.attention.self.value.lora_{}.weight"


def drawn_adapter(seed: int) -> rm.Adapter:
    random = torch.Generator().manual_seed(seed)
    shapes = {"A": (2, 8), "B": (8, 2)}
    tensors = {LAYER.format(k, f): torch.randn(*shapes[f], generator=random) for k in range(2) for f in "AB"}
    return rm.Adapter(tensors, {"base_model_name_or_path": "one"}, name=f"adapter {seed}")


@pytest.fixture(scope="module")
def parts() -> tuple[dict, dict, dict]:
    """Adapters by run, draws and targets."""
    draws = {
        ("snli", g, s): rm.Run("snli", sample_seed=s, seed=s, lr=0.1 + k / 10)
        for k, g in enumerate(GROUPS)
        for s in SEEDS
    }
    targets = {(n, s): rm.Run("hans", seed=s, rank=k + 1) for k, n in enumerate(("HANS", *HEURISTICS)) for s in SEEDS}
    runs = [*draws.values(), *targets.values()]
    return {run: drawn_adapter(k) for k, run in enumerate(runs)}, draws, targets


def by_hand(parts: tuple[dict, dict, dict], group: str, target: str, seeds: tuple[int, ...]) -> float:
    adapters, draws, targets = parts
    if target == "another draw":
        pairs = [(draws["snli", group, i], draws["snli", group, j]) for i, j in combinations(seeds, 2)]
    else:
        pairs = [(draws["snli", group, i], targets[target, j]) for i, j in permutations(seeds, 2)]
    return float(np.mean([rm.repmatch(adapters[a], adapters[b]).score for a, b in pairs]))


def test_estimates_are_means_over_pairs_of_different_seeds(parts: tuple[dict, dict, dict]) -> None:
    scores = rm.overlap_scores(*parts)
    found = rm.overlap_estimates(scores, ways=(), heuristics=HEURISTICS)
    mean = {(g, t): by_hand(parts, g, t, SEEDS) for g in GROUPS for t in ("HANS", *HEURISTICS, "another draw")}
    expected = {g: mean[g, "HANS"] for g in GROUPS}
    expected |= {f"full - {g}": mean["full", "HANS"] - mean[g, "HANS"] for g in ("mid", "no")}
    expected |= {"full - others": mean["full", "HANS"] - max(mean["mid", "HANS"], mean["no", "HANS"])}
    expected |= {f"{g}, another draw": mean[g, "another draw"] for g in ("full", "mid", "no")}
    expected |= {"full: first - others": mean["full", "first"] - mean["full", "second"]}
    assert {name: found[name].value for name in expected} == pytest.approx(expected)
    assert found.keys() == {*expected, "full - others, phi(1,1)"}


def test_the_interval_leaves_out_a_seed_of_draw_and_target(parts: tuple[dict, dict, dict]) -> None:
    found = rm.overlap_estimates(rm.overlap_scores(*parts), ways=(), heuristics=HEURISTICS)["full"]
    left_out = [by_hand(parts, "full", "HANS", tuple(s for s in SEEDS if s != gone)) for gone in SEEDS]
    spread = np.array(left_out) - np.mean(left_out)
    error = np.sqrt(2 / 3 * (spread**2).sum())
    assert (found.high - found.low) / 2 == pytest.approx(4.302652729696142 * error)  # Student's t, two degrees


def test_full_leads_by_the_nearer_of_the_others() -> None:
    rows = [("full", 0.5), ("mid", 0.2), ("no", 0.4), ("mid, as long", 0.6), ("no, as long", 0.1)]
    scores = pd.DataFrame({"group": [g for g, _ in rows], "score": [s for _, s in rows], "target": "HANS"})
    assert lead(scores) == pytest.approx(0.1) and lead(scores, ", as long") == pytest.approx(-0.1)
