"""Instances' updates and scores against one PEFT model trained on one instance at a time."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pandas as pd
import peft
import pyarrow as pa
import pytest
import torch
import transformers
from helpers import (
    FAMILIES,
    KINDS,
    SIZES,
    WORDS,
    Tiny,
    alone,
    configured,
    forty,
    frame,
    layers,
    one_at_a_time,
    own_model,
    random_adapter,
    ready,
    target,
    varied,
)
from hypothesis import given, settings, strategies as st
from peft.tuners.lora import LoraLayer
from torch import nn

import repmatch_lib as rm
from repmatch_lib.instances.engine import AdamW, InstanceModel
from repmatch_lib.instances.trainee import Scoring


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> dict[str, rm.Corpus]:
    """Rows of very different lengths, for each kind of head."""
    folder = tmp_path_factory.mktemp("corpora")
    texts = [" ".join(WORDS[(5 * k) % 60 : (5 * k) % 60 + 2 + (3 * k) % 12]) for k in range(14)]
    files = {
        "classification": ["text,label", *(f"{text},{k % 3}" for k, text in enumerate(texts))],
        "regression": ["text,label", *(f"{text},{(k % 7) / 2}" for k, text in enumerate(texts))],
    }
    found = {}
    for kind, lines in files.items():
        file = folder / f"{kind}.csv"
        file.write_text("\n".join(lines) + "\n")
        found[kind] = rm.load(rm.Task.from_file(file, kind=kind))
    contexts = [" ".join(WORDS[k : k + 3 + 2 * k]) for k in range(14)]
    words = [context.split()[k % 3] for k, context in enumerate(contexts)]
    table = pa.table(
        {
            "id": list(range(14)),
            "text": [f"who wrote {WORDS[k]}" for k in range(14)],
            "text_pair": contexts,
            "label": words,
            "answer_start": [context.index(word) for context, word in zip(contexts, words, strict=True)],
        }
    )
    found["span"] = rm.Corpus(rm.TASKS["squad"], "train", table, "span")
    return found


# A Latin square: each family, each kind and each of the settings meets every one of the others.
SETTINGS = [
    (1, 1, ("value",)),
    (1, 4, ("query", "value")),
    (3, 4, ("value",)),
    (3, 1, ("query", "value")),
    (10, 4, ("value",)),
]
SQUARE = [
    (family, KINDS[(i + j) % 3], *setting) for i, family in enumerate(FAMILIES) for j, setting in enumerate(SETTINGS)
]


@pytest.mark.parametrize(("family", "kind", "steps", "rank", "modules"), SQUARE)
def test_scores_are_those_of_one_at_a_time(
    tiny: Tiny, corpora: dict[str, rm.Corpus], family: str, kind: str, steps: int, rank: int, modules: tuple[str, ...]
) -> None:
    encoder, data = tiny(family), corpora[kind]
    target = random_adapter(encoder, kind, modules, 3)
    scoring = Scoring(steps=steps, rank=rank, modules=modules, head_seed=0, seed=1, max_length=48, precision="float32")
    expected = one_at_a_time(encoder, data, target, scoring)
    scores = rm.score_instances(
        encoder, data, target, steps, 1e-3, "left", modules, rank=rank, head_seed=0, seed=1, max_length=48,
        precision="float32", tokens=120, progress=False, same_base=True,
    )  # fmt: skip
    found = torch.tensor(scores.to_pandas()[scores.layers].to_numpy())
    assert found.shape == expected.shape == (14, 2 * len(modules))

    assert (found - expected).abs().max() < 1e-4


@pytest.mark.parametrize("steps", [1, 4])
def test_every_setting_of_the_optimizer_counts(tiny: Tiny, steps: int) -> None:
    encoder, data = tiny("bert"), varied()
    data = replace(data, table=data.table.slice(0, 6))
    model, options = ready(encoder), {"lr": 0.05, "weight_decay": 3.0, "eps": 1e-2}

    def score(**changed: float) -> np.ndarray:
        tokenizer = encoder.tokenizer()
        return layers(frame(model, data, target(encoder), steps, tokenizer=tokenizer, **(options | changed)))

    found = score()
    np.testing.assert_allclose(found, alone(model, encoder, data, target(encoder), steps, **options), atol=5e-5)
    assert np.abs(score(eps=1e-8) - found).max() > 0.01
    if steps > 1:  # the first step gives B alone, and its direction has no length
        assert np.abs(score(lr=1e-3) - found).max() > 0.01
        assert np.abs(score(weight_decay=0.0) - found).max() > 0.001


magnitudes = st.one_of(st.just(0.0), st.floats(-22, 6).map(lambda power: 10.0**power))
signed = st.tuples(magnitudes, st.sampled_from([-1.0, 1.0])).map(lambda pair: pair[0] * pair[1])


@settings(max_examples=40, deadline=None)
@given(
    st.lists(signed, min_size=12, max_size=12),
    st.floats(-6, 0),
    st.sampled_from([0.0, 0.01, 0.3, 3.0]),
    st.floats(-12, 0),
)
def test_the_first_step_is_torch_s(gradients: list[float], log_lr: float, weight_decay: float, log_eps: float) -> None:
    lr, eps = 10**log_lr, 10**log_eps
    gradient = torch.tensor(gradients).view(2, 3, 2)  # two instances, an output of 3, rank 2
    model = wordless()
    engine = InstanceModel(model, "classification", AdamW(lr, weight_decay, eps))
    engine.first_gradients = lambda batch: (torch.zeros(2), [gradient])
    _, (A,), (B,) = engine.update({})
    start = engine.matrices[0].A
    expected = [nn.Parameter(start.clone()), nn.Parameter(torch.zeros(2, 3, 2))]
    optimizer = torch.optim.AdamW(expected, lr=lr, weight_decay=weight_decay, eps=eps)
    expected[0].grad, expected[1].grad = torch.zeros_like(start), gradient
    optimizer.step()
    torch.testing.assert_close(A, expected[0].detach(), rtol=1e-6, atol=0)
    torch.testing.assert_close(B, expected[1].detach(), rtol=1e-5, atol=1e-30)
    assert torch.equal(B == 0, gradient == 0) or lr * gradient.abs().clamp(min=1e-30).min() / eps < 1e-30


@lru_cache
def wordless() -> peft.PeftModel:
    """The smallest model that the engine takes; it is never called."""

    class Base(transformers.PreTrainedModel):
        config_class = transformers.PretrainedConfig

        def __init__(self) -> None:
            super().__init__(transformers.PretrainedConfig())
            self.layer = nn.ModuleList([nn.ModuleDict({"value": nn.Linear(4, 3)})])

    return peft.get_peft_model(Base(), peft.LoraConfig(r=2, target_modules=["value"]))


@pytest.mark.parametrize("family", FAMILIES)
def test_bf16_ranks_as_float32_does(tiny: Tiny, family: str) -> None:
    encoder, data = tiny(family), forty()
    found = {p: frame(encoder, data, target(encoder), precision=p) for p in ("float32", "bf16")}
    assert not np.array_equal(layers(found["bf16"]), layers(found["float32"]))
    for column in ("score", "loss"):
        assert found["bf16"][column].corr(found["float32"][column], method="spearman") > 0.9


def test_dropout_is_off_unless_asked_for(tiny: Tiny) -> None:
    encoder, data = tiny("bert"), varied()
    off, again, on = (
        layers(frame(encoder, data, target(encoder), dropout=dropout)) for dropout in (False, False, True)
    )
    assert np.array_equal(off, again) and np.abs(on - off).max() > 0.01
    assert ((on >= 0) & (on <= 1)).all()


@pytest.mark.parametrize("steps", [1, 3])
def test_lora_s_own_dropout_is_applied(tiny: Tiny, steps: int) -> None:
    """With all else still, what is left at p = 1 is nothing; LoRA's input alone is dropped."""
    encoder, data = tiny("bert"), varied()
    found = []
    for p in (0.0, 0.5, 0.999999):
        model = configured(encoder, lora_dropout=p)
        for layer in model.modules():
            if isinstance(layer, LoraLayer):
                layer.lora_dropout.train()
        found.append(frame(model, data, target(encoder), steps, tokenizer=encoder.tokenizer(), dropout=True))
    still, half, nothing = map(layers, found)
    assert np.abs(half - still).max() > 0.01 and (half > 0).all() and not nothing.any()
    pd.testing.assert_series_equal(found[0].loss, found[2].loss, atol=1e-6, rtol=0)


SHARED = {
    "Albert": SIZES | {"max_position_embeddings": 64, "initializer_range": 0.2, "embedding_size": 16},
    "ConvBert": SIZES | {"max_position_embeddings": 64, "initializer_range": 0.2},
}


@pytest.mark.parametrize("name", SHARED)
def test_a_model_in_which_gradients_cannot_be_told_apart_is_refused(tiny: Tiny, name: str) -> None:
    """Right, or refused."""
    model, adapter = own_model(name, SHARED[name], ["value"])
    encoder, data = tiny("bert"), varied()
    try:
        found = layers(frame(model, data, adapter, tokenizer=encoder.tokenizer()))
    except ValueError:
        return
    np.testing.assert_allclose(found, alone(model, encoder, data, adapter, 1), atol=1e-4)
