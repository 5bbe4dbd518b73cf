"""A training by shortcuts against one without: the same adapter, by less work; harmful ones are left."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any

import pytest
import torch
from helpers import Tiny, train
from torch import Tensor, nn
from transformers.models.bert import modeling_bert

import repmatch_lib as rm
from repmatch_lib.training import loop, shortcuts
from repmatch_lib.training.batching import encode
from repmatch_lib.training.heads import frozen_model, lora_model
from repmatch_lib.training.loop import Training, fit


@contextmanager
def none(*_: Any) -> Any:
    """No shortcut at all."""
    yield "all"


@pytest.mark.parametrize("family", ["bert", "electra", "llama", "distilbert"])
def test_the_adapter_is_that_of_a_training_without(
    tiny: Tiny, toy: rm.Corpus, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    how = {"epochs": 3, "lr": 1e-3, "dropout": False, "batch_size": 16}
    quick = train(tiny(family), toy, **how)
    monkeypatch.setattr(loop, "shortcuts", none)
    plain = train(tiny(family), toy, **how)
    for name, tensor in plain.tensors.items():
        torch.testing.assert_close(quick.tensors[name], tensor, atol=3e-5, rtol=0)
    assert max(t.abs().max() for n, t in plain.tensors.items() if "lora_B" in n) > 1e-3


def rows_in_the_last_block(encoder: rm.Encoder, data: rm.Corpus, trained: str) -> set[int]:
    """Sequence lengths that the last feed-forward layer sees in training."""
    model: Any = frozen_model(encoder, "classification", 2)
    model = lora_model(model, 2) if trained == "lora" else model.requires_grad_(True)
    (linear,) = (m for n, m in model.named_modules() if n.endswith(".1.intermediate.dense"))
    sizes: list[int] = []
    linear.register_forward_hook(lambda module, inputs, out: sizes.append(out.shape[1]))
    encoded = encode(encoder.tokenizer(), data, 32)
    fit(model.train(), encoded, Training(epochs=1, batch_size=16, max_length=32, precision="float32"))
    return set(sizes[-2:])


@pytest.mark.parametrize("trained", ["lora", "all"])
def test_the_last_block_is_computed_for_the_first_token(tiny: Tiny, toy: rm.Corpus, trained: str) -> None:
    assert rows_in_the_last_block(tiny("bert"), toy, trained) == {1}


def test_a_head_that_reads_more_keeps_the_whole_block(
    tiny: Tiny, toy: rm.Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = modeling_bert.BertLayer.forward

    def mixing(self: nn.Module, *inputs: Any, **options: Any) -> Tensor:
        out = forward(self, *inputs, **options)
        return out + 0.3 * out[:, 1:2]

    monkeypatch.setattr(modeling_bert.BertLayer, "forward", mixing)
    assert min(rows_in_the_last_block(tiny("bert"), toy, "lora")) > 1


def test_attention_that_ours_does_not_reproduce_is_kept(tiny: Tiny, toy: rm.Corpus) -> None:
    model = frozen_model(tiny("bert"), "classification", 2).requires_grad_(True)
    probe = encode(tiny("bert").tokenizer(), toy, 32).collate([0, 1, 2])
    seen = []

    def gradients(read: str) -> list[Tensor]:
        seen.append(model.config._attn_implementation)
        return [torch.tensor([1.0 if seen[-1] == "eager" else 2.0])]

    with shortcuts.shortcuts(model, model, probe, gradients) as read:
        assert (read, model.config._attn_implementation) == ("all", "eager")
    assert seen == ["eager", "repmatch", "repmatch"]
    assert model.training is False
