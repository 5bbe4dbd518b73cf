"""The counted operations against the matrix products that PyTorch performs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry
from transformers import BertConfig, LlamaConfig

import repmatch_lib as rm
from repmatch_lib.instances.engine import AdamW, InstanceModel
from repmatch_lib.training.heads import frozen_model, lora_model


class Performed(TorchDispatchMode):
    """Counts the operations of every product that is performed."""

    total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if count := flop_registry.get(func._overloadpacket):
            self.total += count(*args, **(kwargs or {}), out_val=out)
        return out


def test_an_encoder_of_one_layer_is_refused() -> None:
    with pytest.raises(ValueError, match="has 1 layer: what is counted holds for two and more"):
        rm.instance_flops(BertConfig(num_hidden_layers=1), 20)


@pytest.mark.parametrize("family", ["bert", "electra", "llama"])
@pytest.mark.parametrize("kind", ["classification", "span"])
def test_counted_operations_are_those_performed(tiny: Callable[[str], rm.Encoder], family: str, kind: str) -> None:
    encoder = tiny(family)
    model = lora_model(frozen_model(encoder, kind, 2), 1, ("value",)).eval()
    config = model.get_base_model().config
    engine = InstanceModel(model, kind, AdamW())
    n, tokens = 3, 20
    batch = {
        "input_ids": torch.randint(5, 40, (n, tokens)),
        "attention_mask": torch.ones(n, tokens, dtype=torch.long),
        "labels": torch.zeros(n, dtype=torch.long),
        "start_positions": torch.zeros(n, dtype=torch.long),
        "end_positions": torch.ones(n, dtype=torch.long),
    }
    with engine.ready(batch), Performed() as performed:
        engine.update(batch)
    counted = rm.instance_flops(config, tokens, one_row=kind != "span")
    # LoRA's thin products and the head weigh more in an encoder 32 wide than in a real one.
    assert counted <= performed.total / n < 1.1 * counted


def test_the_shapes_of_the_papers_encoders() -> None:
    """About two operations a weight and token, forwards and backwards."""
    for config, weights in ((BertConfig(), 85e6), (LlamaConfig(), 6.5e9)):
        per_token = rm.instance_flops(config, 128) / 128
        assert 0.8 < per_token / (4 * weights) < 1.05


def test_projected_hours_by_hand() -> None:
    config = BertConfig(num_hidden_layers=3)
    flops = rm.instance_flops(config, 26)
    assert rm.projected_hours(config, 26.2, 3600, flops * 2.0, 0.5) == pytest.approx(1.0)
