"""Scores under every two seeds against single comparisons and plain loops."""

from __future__ import annotations

from itertools import product
from math import isnan, nan

import numpy as np
import pytest
import torch

import repmatch_lib as rm

TASKS, SEEDS = ("a", "b", "c"), (3, 5, 8)


def drawn_adapter(seed: int, layers: int = 2, width: int = 12, rank: int = 2) -> rm.Adapter:
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for layer in range(layers):
        name = f"base_model.model.encoder.layer.{layer}.attention.self.value"
        tensors[f"{name}.lora_A.weight"] = torch.randn(rank, width, generator=generator)
        tensors[f"{name}.lora_B.weight"] = torch.randn(width, rank, generator=generator)
    return rm.Adapter(tensors, {"base_model_name_or_path": "drawn"}, name=f"adapter {seed}")


ADAPTERS = {key: drawn_adapter(k) for k, key in enumerate(product(TASKS, SEEDS))}


def test_seed_scores_are_single_comparisons() -> None:
    scores = rm.seed_scores(ADAPTERS)
    assert scores.shape == (3, 3, 3, 3)
    for (s, one), (t, other) in product(enumerate(SEEDS), repeat=2):
        for (i, a), (j, b) in product(enumerate(TASKS), repeat=2):
            expected = rm.repmatch(ADAPTERS[a, one], ADAPTERS[b, other]).score
            assert scores[s, t, i, j] == pytest.approx(expected)


def test_basis_scores_are_single_comparisons() -> None:
    ones, others = [ADAPTERS["a", seed] for seed in SEEDS], [ADAPTERS["b", seed] for seed in SEEDS[:2]]
    scores = rm.basis_scores(rm.stacked_bases(ones), rm.stacked_bases(others))
    assert scores.shape == (3, 2)
    for (i, one), (j, other) in product(enumerate(ones), enumerate(others)):
        assert scores[i, j] == pytest.approx(rm.repmatch(one, other).score)


def test_means_over_seeds_are_those_of_loops() -> None:
    scores = np.random.default_rng(0).random((3, 3, 2))
    for k in range(2):
        same = [scores[s, s, k] for s in range(3)]
        other = [scores[s, t, k] for s in range(3) for t in range(3) if s != t]
        assert rm.same_seeds(scores)[k] == pytest.approx(sum(same) / 3)
        assert rm.other_seeds(scores)[k] == pytest.approx(sum(other) / 6)
    assert isnan(rm.other_seeds(scores[:1, :1, 0]))


def test_an_estimate_leaves_a_seed_out_of_all_arrays() -> None:
    a, b = np.random.default_rng(1).random((2, 4, 4))

    def less(kept: list[int]) -> float:
        pairs = [(s, t) for s in kept for t in kept if s != t]
        return sum(a[p] - b[p] for p in pairs) / len(pairs) if pairs else nan

    found = rm.over_seeds(lambda a, b: rm.other_seeds(a) - rm.other_seeds(b), a, b)
    expected = rm.jackknife(range(4), less)
    assert (found.value, found.low, found.high) == pytest.approx((expected.value, expected.low, expected.high))
    assert (found.n, found.unit) == (4, "seed")


def test_arrays_of_other_seeds_are_refused() -> None:
    with pytest.raises(ValueError, match="one number of seeds"):
        rm.over_seeds(lambda a, b: 0, np.ones((3, 3)), np.ones((2, 2)))
