"""Instances' scores and updates: what must not change them, and what is asked for that cannot be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import (
    CALL,
    FAMILIES,
    KINDS,
    LENGTHS,
    Tiny,
    alone,
    frame,
    layers,
    one_at_a_time,
    ready,
    sentences,
    target,
    varied,
    words,
)

import repmatch_lib as rm
from repmatch_lib.instances.trainee import Scoring
from repmatch_lib.training.batching import encode


@pytest.mark.parametrize(
    ("family", "kind", "steps"),
    [(f, k, steps) for f in FAMILIES for k, steps in (("classification", 1), ("classification", 3), ("span", 1))]
    + [("bert", "span", 3)],
)
def test_a_score_does_not_depend_on_its_neighbours(tiny: Tiny, family: str, kind: str, steps: int) -> None:
    encoder, data = tiny(family), varied(kind)
    model = ready(encoder, kind)

    def score(rows: list[int], tokens: int | None = None) -> pd.DataFrame:
        part = replace(data, table=data.table.take(rows))
        options = {"tokens": tokens, "tokenizer": encoder.tokenizer()}
        return frame(model, part, target(encoder, kind), steps, **options).set_index("id").drop(columns="label")

    rows = list(range(len(data)))
    expected = score(rows)
    mixed = np.random.default_rng(0).permutation(rows).tolist()
    found = {
        "each in a pass of its own": score(rows, 1),
        "all in one pass": score(rows, 10**6),
        "another order": score(mixed, 100),
        "one row as the whole corpus": pd.concat(score([row]) for row in (1, 3)),
        "a short row among long ones": score([2, 3, 7, 9], 10**6),
    }
    # What the first step rounds, the later ones divide by its own size.
    tolerance = 1e-5 if steps == 1 else 5e-5
    for name, table in found.items():
        np.testing.assert_allclose(table, expected.loc[table.index], atol=tolerance, rtol=0, err_msg=name)
    assert expected.score.std() > 0.01


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_rows_come_in_the_data_s_order_with_the_model_s_own_loss(tiny: Tiny, family: str, kind: str) -> None:
    encoder, data = tiny(family), varied(kind)
    model = ready(encoder, kind)
    table = frame(model, data, target(encoder, kind), tokens=80, tokenizer=encoder.tokenizer())
    assert table.id.tolist() == data.table["id"].to_pylist() and table.label.tolist() == data.table["label"].to_pylist()
    encoded = encode(encoder.tokenizer(), data, 48)
    with torch.no_grad():
        losses = [model(**encoded.collate([row])).loss.item() for row in range(len(data))]
    np.testing.assert_allclose(table.loss, losses, atol=1e-5)
    assert np.std(losses) > 0.05
    np.testing.assert_allclose(table.score, layers(table).mean(1))


@pytest.mark.parametrize("steps", [1, 3])
def test_updates_are_those_that_are_scored(tiny: Tiny, steps: int) -> None:
    encoder, data = tiny("bert"), varied()
    options = {"tokens": 80, "steps": steps, "rank": 2, "modules": ("query", "value"), "head_seed": 0}
    options |= {"max_length": 48, "precision": "float32", "progress": False}
    adapter = target(encoder, modules=("query", "value"))
    updates = rm.instance_updates(encoder, data, **options)
    table = frame(encoder, data, adapter, **options)
    assert updates.ids == table.id.tolist()
    np.testing.assert_allclose(updates.losses, table.loss, atol=1e-6)
    for module in ("query", "value"):
        assert updates.A[module].shape == (10, 2, 2, 32) and updates.B[module].shape == (10, 2, 32, 2)
        _, A, B = adapter.factors(module)
        grid = rm.grassmann_similarity(rm.lora_basis(updates.A[module], updates.B[module]), rm.lora_basis(A, B))
        columns = [f"{module}_layer_0", f"{module}_layer_1"]
        np.testing.assert_allclose(table[columns], rm.repmatch_score(grid), atol=1e-6)
        expected = rm.lora_basis(updates.A[module], updates.B[module])
        np.testing.assert_allclose(updates.basis(module).mul(expected).sum(-2).abs(), expected.norm(dim=-2), atol=1e-6)
    assert updates.provenance["corpus"]["fingerprint"] == data.fingerprint
    assert updates.provenance["training"]["steps"] == steps


@pytest.mark.parametrize("modules", [("value",), ("query", "value"), ("value", "query")], ids=str)
def test_the_right_side_and_several_matrices(tiny: Tiny, modules: tuple[str, ...]) -> None:
    encoder, data = tiny("bert"), varied()
    data = replace(data, table=data.table.slice(0, 4))
    adapter = target(encoder, modules=("query", "value"))
    table = frame(encoder, data, adapter, 3, side="right", modules=modules, rank=2, head_seed=0, seed=1)
    names = [f"{m}_layer_{k}" for m in modules for k in range(2)] if len(modules) == 2 else ["layer_0", "layer_1"]
    assert table.columns.tolist() == ["id", "label", "loss", *names, "score"]
    np.testing.assert_allclose(table.score, table[names].mean(axis=1))
    scoring = Scoring(3, rank=2, side="right", modules=modules, head_seed=0, seed=1, max_length=48, precision="float32")
    np.testing.assert_allclose(table[names], one_at_a_time(encoder, data, adapter, scoring), atol=1e-5)
    left = frame(encoder, data, adapter, 3, side="left", modules=modules, rank=2, head_seed=0, seed=1)
    assert np.abs(left[names] - table[names]).to_numpy().max() > 0.01


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_matrix_that_is_not_square(tiny: Tiny, side: str) -> None:
    encoder, data, modules = tiny("bert"), varied(), ("intermediate.dense",)  # 32 to 48
    data = replace(data, table=data.table.slice(0, 3))
    adapter = target(encoder, modules=modules)
    found = frame(encoder, data, adapter, side=side, modules=modules, rank=2, head_seed=0, seed=1)
    scoring = Scoring(rank=2, side=side, modules=modules, head_seed=0, seed=1, max_length=48, precision="float32")
    np.testing.assert_allclose(layers(found), one_at_a_time(encoder, data, adapter, scoring), atol=1e-5)


@pytest.mark.parametrize("module", ["query", "value"])
def test_one_token_has_nothing_to_attend_to(tiny: Tiny, module: str) -> None:
    """Attention over one token is 1 whatever the query: no gradient, no update, no similarity."""
    encoder = tiny("llama")
    data = sentences([words(6, 0), "good", words(9, 3), words(4, 8), "film", words(12, 1)])
    found = layers(frame(encoder, data, target(encoder, modules=("query", "value")), modules=(module,), rank=2))
    assert np.isfinite(found).all()
    single = found[[1, 4]]
    assert (single == 0).all() if module == "query" else (single > 0).all()
    assert (found[[0, 2, 3, 5]] > 0).all()


def test_a_target_is_an_adapter_its_folder_or_its_model(tiny: Tiny, tmp_path: Path) -> None:
    encoder, data = tiny("bert"), varied()
    live = ready(encoder)
    torch.manual_seed(4)
    with torch.no_grad():
        for name, parameter in live.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    live.save_pretrained(tmp_path / "peft")
    adapter = rm.Adapter.from_model(live)
    expected = frame(encoder, data, adapter)
    for same in (live, tmp_path / "peft", str(adapter.save(tmp_path / "ours"))):
        pd.testing.assert_frame_equal(frame(encoder, data, same), expected)
    with pytest.raises(FileNotFoundError, match="nowhere holds no adapter_model.safetensors"):
        frame(encoder, data, tmp_path / "nowhere")


@pytest.mark.parametrize("shard", [(0, 1), (2, 1), (-1, 3), (4, 3), (1, 2)], ids=str)
def test_a_shard_that_is_none_is_refused(tiny: Tiny, shard: tuple[int, int]) -> None:
    encoder = tiny("bert")
    with pytest.raises(ValueError, match=rf"shard {shard[0]}/{shard[1]}: give k/n with k from 1 to n, and a folder"):
        frame(encoder, varied(), target(encoder), shard=shard)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("momentum", 0.9), ("lr", -1e-3), ("lr", 0.0), ("steps", 0), ("side", "up"), ("modules", "value"), ("rank", 0),
        ("eps", 0.0), ("weight_decay", -0.1), ("max_length", 4), ("precision", "fp8"),
    ],
)  # fmt: skip
def test_an_impossible_setting_is_named(tiny: Tiny, setting: str, value: Any) -> None:
    encoder = tiny("bert")
    options = {"steps": 1} | CALL | {setting: value}
    with pytest.raises(ValueError, match=setting):
        rm.score_instances(encoder, varied(), target(encoder), **options)


def test_many_rows_of_one_token_hide_no_others(tiny: Tiny) -> None:
    encoder = tiny("llama")
    data = sentences(["good", "bad", "fine", "poor", words(5, 3), words(9, 1)])
    found = layers(frame(ready(encoder), data, target(encoder), tokenizer=encoder.tokenizer()))
    np.testing.assert_allclose(found, alone(ready(encoder), encoder, data, target(encoder), 1), atol=1e-5)


def test_a_text_that_ends_in_the_padding_token(tiny: Tiny) -> None:
    encoder = tiny("llama")
    data = sentences([*(words(3 + k, k) for k in range(6)), f"{words(12, 1)} </s>"])
    found = layers(frame(ready(encoder), data, target(encoder), tokenizer=encoder.tokenizer()))
    np.testing.assert_allclose(found, alone(ready(encoder), encoder, data, target(encoder), 1), atol=1e-5)


def test_dropout_is_repeatable_and_leaves_the_generator_alone(tiny: Tiny) -> None:
    encoder, found = tiny("bert"), []
    adapter = target(encoder)  # made here if no test has before, and not without the generator
    for seed in (1, 2):
        torch.manual_seed(seed)
        state = torch.get_rng_state()
        found.append(layers(frame(encoder, varied(), adapter, dropout=True)))
        assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(*found)


def test_a_caller_without_gradients(tiny: Tiny) -> None:
    encoder = tiny("bert")
    with torch.no_grad():
        assert len(frame(encoder, varied(), target(encoder))) == len(LENGTHS)


def test_a_row_without_a_gradient_does_not_look_coupled(tiny: Tiny) -> None:
    """The fused kernel gives the query of one token 1e-9 and not zero."""
    encoder, data = tiny("llama"), sentences(["good", words(9, 3), words(20, 5), words(4, 8)])
    adapter, modules = target(encoder, modules=("query", "value")), ("query", "value")
    model = ready(encoder, modules=modules)
    model.get_base_model().set_attn_implementation("sdpa")
    found = frame(model, data, adapter, modules=modules, tokenizer=encoder.tokenizer())
    assert not found.filter(like="query").to_numpy()[0].any() and found.filter(like="value").to_numpy().all()


@pytest.mark.parametrize(("family", "kind"), [("llama", "span"), ("bert", "classification")])
def test_a_model_that_knows_no_padding_token(tiny: Tiny, family: str, kind: str) -> None:
    encoder, data = tiny(family), varied(kind)
    model = ready(encoder, kind)
    expected = frame(model, data, target(encoder, kind), tokenizer=encoder.tokenizer())
    model.get_base_model().config.pad_token_id = None
    found = frame(model, data, target(encoder, kind), tokenizer=encoder.tokenizer())
    pd.testing.assert_frame_equal(found, expected)
