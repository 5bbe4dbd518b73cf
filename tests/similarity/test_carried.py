"""Updates in another space, and the frozen matrices that carry them there."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

import repmatch_lib as rm

NAME = "base_model.model.encoder.layer.{}.attention.self.{}.lora_{}.weight"


def random_adapter(seed: int, infix: str = "") -> rm.Adapter:
    random = torch.Generator().manual_seed(seed)
    tensors = {
        NAME.format(k, matrix, f"{factor}{infix}"): torch.randn(shape, generator=random)
        for k in range(12)  # layer.1 is how layer.10 begins
        for matrix in ("query", "value")
        for factor, shape in {"A": (2, 6), "B": (8, 2)}.items()
    }
    return rm.Adapter(tensors, {"base_model_name_or_path": "one"})


@pytest.mark.parametrize("infix", ["", ".default"])
def test_the_update_is_multiplied_in_its_own_layer(infix: str) -> None:
    adapter, W = random_adapter(0, infix), torch.randn(12, 5, 8, generator=torch.Generator().manual_seed(1))
    names, A, B = adapter.factors("value")
    moved_names, moved_A, moved_B = rm.carried(adapter, W).factors("value")
    assert moved_names == names and torch.equal(moved_A, A) and moved_B.shape == (12, 5, 2)
    for layer in range(12):
        torch.testing.assert_close(moved_B[layer], W[layer] @ B[layer])
    assert torch.equal(rm.carried(adapter, W).factors("query")[2], adapter.factors("query")[2])


def test_a_rotation_of_both_changes_no_score() -> None:
    one, other = random_adapter(0), random_adapter(1)
    W = torch.linalg.qr(torch.randn(12, 8, 8, generator=torch.Generator().manual_seed(2))).Q
    carried = rm.repmatch(rm.carried(one, W), rm.carried(other, W))
    torch.testing.assert_close(carried.grid, rm.repmatch(one, other).grid, atol=1e-5, rtol=0)
    assert rm.repmatch(rm.carried(one, W), one).score < 0.9


@pytest.mark.parametrize("shape", [(8, 8), (11, 8, 8), (12, 8, 7)])
def test_a_matrix_that_does_not_fit_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="12 layers, 8 wide"):
        rm.carried(random_adapter(0), torch.zeros(shape))


@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_frozen_weights_are_the_checkpoint_s(tiny: Callable, toy: rm.Corpus, kind: str) -> None:
    from safetensors.torch import load_file

    encoder = tiny(kind)
    adapter = rm.train_adapter(encoder, toy, modules=("output",), epochs=1, max_length=32, progress=False)
    weights = rm.frozen_weights(encoder, adapter, "output")
    stored = load_file(encoder.folder / "model.safetensors")
    names = [name for name in stored if name.endswith(("attention.output.dense.weight", "o_proj.weight"))]
    assert weights.shape == (2, 32, 32) and not weights.requires_grad
    assert all(torch.equal(weight, stored[name]) for weight, name in zip(weights, sorted(names), strict=True))
