"""The last block is computed for the rows that the head reads, and whole where that would change the result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import peft
import pytest
import torch
from helpers import (
    FAMILIES,
    KINDS,
    SIZES,
    Tiny,
    alone,
    frame,
    layers,
    own_model,
    ready,
    target,
    varied,
)
from torch import Tensor, nn
from transformers.models.bert import modeling_bert

import repmatch_lib as rm
from repmatch_lib.instances.engine import InstanceModel
from repmatch_lib.instances.job import Job
from repmatch_lib.instances.trainee import Scoring
from repmatch_lib.training import last_block


def engine_within(model: peft.PeftModel, encoder: rm.Encoder, data: rm.Corpus) -> tuple[str, str]:
    """Which rows the engine takes, and whose attention."""
    job = Job(model, data, Scoring(max_length=48, precision="float32"), "cpu", None, encoder.tokenizer())
    with job.ready():
        return job.engine.read, model.get_base_model().config._attn_implementation


@pytest.mark.parametrize(
    ("family", "kind", "read"),
    [(f, k, "all" if k == "span" else "last" if f == "llama" else "first") for f in FAMILIES for k in KINDS],
)
def test_the_rows_that_the_head_reads_are_found(tiny: Tiny, family: str, kind: str, read: str) -> None:
    encoder = tiny(family)
    assert engine_within(ready(encoder, kind), encoder, varied(kind)) == (read, "repmatch")


@pytest.mark.parametrize("family", ["bert", "llama"])
def test_the_last_block_is_computed_for_those_rows_only(tiny: Tiny, family: str) -> None:
    encoder, data, sizes = tiny(family), varied(), set()
    model = ready(encoder)
    (linear,) = (m for n, m in model.named_modules() if n.endswith((".1.intermediate.dense", ".1.mlp.up_proj")))
    update = InstanceModel.update

    def watched(engine: InstanceModel, batch: dict[str, Tensor], steps: int) -> Any:
        hook = linear.register_forward_hook(lambda module, inputs, out: sizes.add(out.shape[1]))
        try:
            return update(engine, batch, steps)
        finally:
            hook.remove()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(InstanceModel, "update", watched)
        frame(model, data, target(encoder), tokenizer=encoder.tokenizer())
    assert sizes == {1}


def reads_another_row(patch: pytest.MonkeyPatch) -> None:
    """Every block adds what it made of the second token to all of them."""
    forward = modeling_bert.BertLayer.forward

    def mixing(self: nn.Module, *inputs: Any, **options: Any) -> Tensor:
        out = forward(self, *inputs, **options)
        return out + 0.3 * out[:, 1:2]

    patch.setattr(modeling_bert.BertLayer, "forward", mixing)


def needs_its_shape(patch: pytest.MonkeyPatch) -> None:
    """A block whose parts insist on every token."""
    forward = modeling_bert.BertIntermediate.forward
    patch.setattr(
        modeling_bert.BertIntermediate, "forward", lambda self, x: forward(self, x).view(*x.shape[:2], 48).tanh()
    )


def has_another_attention(patch: pytest.MonkeyPatch) -> None:
    """A term that favours near tokens, as some models have."""
    own = modeling_bert.eager_attention_forward

    def nearby(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Any, **options: Any) -> Any:
        places = torch.arange(query.shape[2])
        far = -(places[:, None] - places).abs()[None, None]
        return own(module, query, key, value, far if mask is None else far + mask, **options)

    patch.setattr(modeling_bert, "eager_attention_forward", nearby)


@pytest.mark.parametrize(
    ("change", "attention"),
    [(reads_another_row, "repmatch"), (needs_its_shape, "repmatch"), (has_another_attention, "eager")],
)
@pytest.mark.parametrize("steps", [1, 3])
def test_a_shortcut_that_changes_the_result_is_not_taken(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, steps: int, change: Callable[..., None], attention: str
) -> None:
    encoder, data = tiny("bert"), varied()
    model = ready(encoder)
    options = {"tokenizer": encoder.tokenizer(), "tokens": 200}
    usual = layers(frame(model, data, target(encoder), steps, **options))
    change(monkeypatch)
    assert engine_within(model, encoder, data) == ("all", attention)
    found = layers(frame(model, data, target(encoder), steps, **options))
    np.testing.assert_allclose(found, alone(model, encoder, data, target(encoder), steps), atol=2e-5)
    assert np.abs(found - usual).max() > 0.01


def test_a_block_of_unknown_names_is_computed_whole(tiny: Tiny) -> None:
    encoder, data = tiny("bert"), varied()
    sizes = SIZES | {"max_position_embeddings": 64, "initializer_range": 0.2}
    model, adapter = own_model("GPTNeoX", sizes, ["query_key_value", "attention.dense"])
    job = Job(model, data, Scoring(modules=("query_key_value",), max_length=48), "cpu", None, encoder.tokenizer())
    assert not last_block.has_known_names(job.engine.block)
    with job.ready():
        assert job.engine.read == "all"
    options = {"modules": ("query_key_value",), "tokenizer": encoder.tokenizer()}
    found = layers(frame(model, data, adapter, **options))
    np.testing.assert_allclose(found, alone(model, encoder, data, adapter, 1, "query_key_value"), atol=2e-5)
