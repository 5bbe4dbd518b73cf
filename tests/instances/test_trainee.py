"""The model that every instance is trained on: an encoder under the target's head, or one of one's own as it is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import peft
import pytest
import torch
import transformers
from helpers import (
    CALL,
    Tiny,
    alone,
    configured,
    frame,
    layers,
    ready,
    target,
    varied,
)
from peft.tuners.lora import LoraLayer
from torch import nn

import repmatch_lib as rm
from repmatch_lib.instances.engine import InstanceModel
from repmatch_lib.training import last_block
from repmatch_lib.training.batching import encode
from repmatch_lib.training.heads import frozen_model


def test_rank_and_head_are_the_target_s_unless_given(tiny: Tiny) -> None:
    encoder, data, adapter = tiny("bert"), varied(), target(tiny("bert"))
    trained = replace(adapter, provenance={"training": {"rank": 2, "head_seed": 5}})
    found = {
        name: rm.score_instances(encoder, data, adapter, **CALL, **options)
        for name, adapter, options in (
            ("trained", trained, {}),
            ("as trained", adapter, {"rank": 2, "head_seed": 5}),
            ("otherwise", trained, {"rank": 3, "head_seed": 0}),
            ("untold", adapter, {}),  # the rank of its factors
        )
    }
    for same in (("trained", "as trained"), ("otherwise", "untold")):
        assert found[same[0]].table.equals(found[same[1]].table)
    told = [(scores.made_of["rank"], scores.made_of["head_seed"]) for scores in found.values()]
    assert told == [(2, 5), (2, 5), (3, 0), (3, 0)]
    for other in ({"rank": 2}, {"head_seed": 5}, {"seed": 1}):
        assert not rm.score_instances(encoder, data, adapter, **CALL, **other).table.equals(found["untold"].table)


@pytest.mark.parametrize(("family", "steps"), [("bert", 1), ("bert", 3), ("electra", 1), ("llama", 1)])
def test_a_ready_model_scores_as_its_encoder_does(tiny: Tiny, family: str, steps: int) -> None:
    encoder, data = tiny(family), varied()
    expected = frame(encoder, data, target(encoder), steps, rank=2, seed=1, head_seed=0)
    for name in ("eager", "sdpa"):
        model = ready(encoder)
        model.get_base_model().set_attn_implementation(name)
        found = frame(model, data, target(encoder), steps, tokenizer=encoder.tokenizer())
        pd.testing.assert_frame_equal(found, expected, atol=1e-6, rtol=0)
    assert np.abs(layers(frame(encoder, data, target(encoder), steps, rank=2, seed=2)) - layers(expected)).max() > 0.01


@pytest.mark.parametrize(
    "config",
    [
        {"lora_alpha": 64},
        {"lora_alpha": 0.5},
        {"r": 3, "lora_alpha": 12, "use_rslora": True},
        {"lora_alpha": 8, "target_modules": ["query", "key", "value", "attention.output.dense"]},
        {"adapter": "mine", "target_modules": ["query", "value"], "layers_to_transform": [0]},
    ],
    ids=str,
)
@pytest.mark.parametrize("steps", [1, 3])
def test_a_ready_model_s_own_configuration_counts(tiny: Tiny, config: dict[str, Any], steps: int) -> None:
    encoder, data = tiny("bert"), varied()
    data = replace(data, table=data.table.slice(0, 6))
    adapter = target(encoder)
    if "layers_to_transform" in config:
        adapter = replace(adapter, tensors={k: v for k, v in adapter.tensors.items() if ".layer.0." in k})
    model = configured(encoder, **config)
    found = layers(frame(model, data, adapter, steps, tokenizer=encoder.tokenizer()))
    assert found.shape == (6, 1 if "layers_to_transform" in config else 2)
    np.testing.assert_allclose(found, alone(model, encoder, data, adapter, steps), atol=5e-5)


def test_the_scale_matters_after_the_first_step(tiny: Tiny) -> None:
    encoder, data = tiny("bert"), varied()
    options = {"steps": 3, "tokenizer": encoder.tokenizer(), "lr": 0.05}
    found = [layers(frame(configured(encoder, lora_alpha=a), data, target(encoder), **options)) for a in (2, 64)]
    assert np.abs(found[0] - found[1]).max() > 0.01


def condition(model: peft.PeftModel) -> dict[str, Any]:
    """All that could be left behind."""
    modules = dict(model.named_modules())
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return {
        "parameters": {n: p.detach().clone().numpy().tobytes() for n, p in model.named_parameters()},
        "trained": [n for n, p in model.named_parameters() if p.requires_grad],
        "gradients": [n for n, p in model.named_parameters() if p.grad is not None],
        "attention": model.get_base_model().config._attn_implementation,
        "adapters": [layer.disable_adapters for layer in modules.values() if isinstance(layer, LoraLayer)],
        "modes": [module.training for module in modules.values()],
        "hooks": [name for name, module in modules.items() if any(getattr(module, hook) for hook in hooks)],
        "rows": len(last_block._rows),
    }


@pytest.mark.parametrize(
    ("family", "steps", "attention"),
    [("bert", 1, "eager"), ("bert", 3, "sdpa"), ("electra", 1, "sdpa"), ("llama", 1, "sdpa"), ("llama", 3, "eager")],
)
def test_a_ready_model_is_left_as_it_was(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, family: str, steps: int, attention: str
) -> None:
    encoder, data = tiny(family), varied()
    model = ready(encoder)
    model.get_base_model().set_attn_implementation(attention)
    batch = encode(encoder.tokenizer(), data, 48).collate(range(3))
    options = {"tokens": 60, "tokenizer": encoder.tokenizer()}
    before, output = condition(model), model(**batch).logits
    assert before["attention"] == attention and before["trained"] and not any(before["adapters"])
    expected = frame(model, data, target(encoder), steps, **options)
    assert condition(model) == before and torch.equal(model(**batch).logits, output)

    def count(*arguments: Any) -> Any:
        passes.append(arguments)
        return update(*arguments)

    def fail(module: nn.Module, *_: Any) -> None:
        if len(passes) == 2:
            assert condition(model) != before
            raise RuntimeError("in the middle of a pass")

    update, passes = InstanceModel.update, []
    monkeypatch.setattr(InstanceModel, "update", count)
    (block,) = (module for name, module in model.named_modules() if name.endswith(".1"))  # the last
    breaking = block.register_forward_hook(fail)
    with pytest.raises(RuntimeError, match="in the middle of a pass"):
        frame(model, data, target(encoder), steps, **options)
    breaking.remove()
    assert len(passes) == 2
    assert condition(model) == before and torch.equal(model(**batch).logits, output)
    monkeypatch.undo()
    pd.testing.assert_frame_equal(frame(model, data, target(encoder), steps, **options), expected)


@pytest.mark.parametrize(("family", "steps"), [("bert", 3), ("electra", 1)])
def test_lora_on_every_linear_layer(tiny: Tiny, family: str, steps: int) -> None:
    """Outside of the blocks too: BERT's pooler and classifier, ELECTRA's projection of the embeddings."""
    encoder, data = tiny(family), varied()
    model = configured(encoder, target_modules="all-linear")
    found = layers(frame(model, data, target(encoder), steps, tokenizer=encoder.tokenizer()))
    np.testing.assert_allclose(found, alone(model, encoder, data, target(encoder), steps), atol=5e-5)


def test_the_head_that_peft_keeps_is_the_one_that_counts(tiny: Tiny) -> None:
    encoder, data = tiny("bert"), varied()
    model = configured(encoder, modules_to_save=["classifier"])
    torch.manual_seed(5)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "modules_to_save" in name:
                parameter.normal_()
    found = layers(frame(model, data, target(encoder), tokenizer=encoder.tokenizer()))
    np.testing.assert_allclose(found, alone(model, encoder, data, target(encoder), 1), atol=1e-5)


@pytest.mark.parametrize("change", ["frozen", "merged"])
def test_a_frozen_or_merged_adapter_stays_so(tiny: Tiny, change: str) -> None:
    encoder = tiny("bert")
    model = ready(encoder)
    model.requires_grad_(False) if change == "frozen" else model.merge_adapter()
    merged = [layer.merged for layer in model.modules() if isinstance(layer, LoraLayer)]
    before = condition(model)
    frame(model, varied(), target(encoder), tokenizer=encoder.tokenizer())
    assert condition(model) == before
    assert [layer.merged for layer in model.modules() if isinstance(layer, LoraLayer)] == merged


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("what", ["no PEFT", "a name", "classes", "kind", "padding", "no matrix", "a matrix twice"])
def test_a_model_that_does_not_fit_the_data_is_refused(tiny: Tiny, what: str) -> None:
    encoder, data = tiny("llama"), varied()
    model: Any = ready(encoder)
    options: dict[str, Any] = {"tokenizer": encoder.tokenizer()}
    if what == "no PEFT":
        model = frozen_model(encoder, "classification", 3)
    elif what == "a name":
        model = "minilm"
    elif what == "classes":
        model = configured(encoder, outputs=2)
    elif what == "kind":
        model = ready(encoder, "span")
    elif what == "padding":
        options["tokenizer"] = transformers.AutoTokenizer.from_pretrained(encoder.folder)  # has no padding token
    else:
        options["modules"] = () if what == "no matrix" else ("value", "value")
    with pytest.raises((ValueError, TypeError), match="(?i)give |say |adapt|name|module"):
        frame(model, data, target(encoder), **options)
