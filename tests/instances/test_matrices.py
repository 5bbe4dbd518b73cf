"""Only plain LoRA in its initial state is taken."""

from __future__ import annotations

from typing import Any

import peft
import pytest
import torch
from helpers import (
    Tiny,
    configured,
    frame,
    ready,
    target,
    varied,
)

from repmatch_lib.training.heads import frozen_model


def test_a_trained_model_is_refused(tiny: Tiny) -> None:
    encoder = tiny("bert")
    model = ready(encoder)
    with torch.no_grad():
        [p for n, p in model.named_parameters() if "lora_B" in n][-1][5, 1] = 1e-6
    with pytest.raises(ValueError, match=r"B of .*layer\.1.* is not zero.*init_lora_weights=True.*give the encoder"):
        frame(model, varied(), target(encoder), tokenizer=encoder.tokenizer())


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (peft.LoraConfig(r=2, target_modules=["value"], use_dora=True), "value is not plain LoRA on a linear layer"),
        (peft.IA3Config(target_modules=["value"], feedforward_modules=[]), "no trainable LoRA.*get_peft_model"),
    ],
    ids=["DoRA", "IA3"],
)
def test_another_method_is_refused(tiny: Tiny, config: peft.PeftConfig, message: str) -> None:
    encoder = tiny("bert")
    model = peft.get_peft_model(frozen_model(encoder, "classification", 3), config).eval()
    with pytest.raises(ValueError, match=message):
        frame(model, varied(), target(encoder), tokenizer=encoder.tokenizer())


@pytest.mark.parametrize("config", [{"lora_bias": True}, {"target_modules": ["word_embeddings", "value"]}], ids=str)
def test_lora_that_is_not_plain_is_refused(tiny: Tiny, config: dict[str, Any]) -> None:
    encoder, data = tiny("bert"), varied()
    model = configured(encoder, **config)
    with pytest.raises(ValueError, match="plain LoRA"):
        frame(model, data, target(encoder), 3, tokenizer=encoder.tokenizer())
