"""Layers taken together, and sizes of updates, against plain sums."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import repmatch_lib as rm

NAME = "base_model.model.encoder.layer.{}.attention.self.value.lora_{}.weight"


def test_ways_of_taking_layers_together() -> None:
    scores, sizes = np.array([[0.1, 0.5, 0.3], [0.9, 0.6, 0.0]]), np.array([[1.0, 1.0, 2.0], [1.0, 3.0, 0.0]])
    ways = rm.layers_together(scores, sizes)
    assert ways["mean"].tolist() == pytest.approx([0.3, 0.5]) and ways["max"].tolist() == [0.5, 0.9]
    assert ways["first half"].tolist() == [0.1, 0.9] and ways["last half"].tolist() == pytest.approx([0.4, 0.3])
    assert ways["by size"].tolist() == pytest.approx([1.2 / 4, 2.7 / 4])
    assert ways[["layer 1", "layer 2", "layer 3"]].to_numpy().tolist() == scores.tolist()


def test_equal_sizes_weigh_as_the_mean() -> None:
    scores = np.random.default_rng(0).uniform(size=(5, 4))
    ways = rm.layers_together(scores, np.full((5, 4), 0.7))
    assert np.allclose(ways["by size"], ways["mean"])


def test_size_is_the_norm_of_the_product() -> None:
    random = torch.Generator().manual_seed(0)
    shapes = {"A": (2, 9), "B": (7, 2)}
    tensors = {NAME.format(k, f): torch.randn(shapes[f], generator=random) for k in range(2) for f in "AB"}
    update = [tensors[NAME.format(k, "B")] @ tensors[NAME.format(k, "A")] for k in range(2)]
    expected = [float(one.square().sum()) ** 0.5 for one in update]
    assert rm.update_sizes(rm.Adapter(tensors, {})).tolist() == pytest.approx(expected)
