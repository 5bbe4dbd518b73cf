"""Whether model, rows, settings and target fit; what scores depend on; passes that memory allows."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import peft
import pytest
import torch
from helpers import IN_BLOCKS, ROWS, Score, Tiny, files, forty, frame, ready, target, varied
from torch import Tensor

import repmatch_lib as rm
from repmatch_lib.instances import compared, job, scoring
from repmatch_lib.instances.engine import InstanceModel
from repmatch_lib.training.heads import frozen_model, lora_model

OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried to allocate"),
    RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 1 bytes"),
    MemoryError(),
]


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[tuple[int, int]]]:
    """``limit(rows=, tokens=, error=)``: passes above that fail; the shapes of those that do not."""
    update = InstanceModel.update

    def set_limit(error: BaseException, rows: int = 10**6, tokens: int = 10**6) -> list[tuple[int, int]]:
        done = []

        def limited(engine: InstanceModel, batch: dict[str, Tensor], steps: int) -> Any:
            n, longest = batch["input_ids"].shape
            if n > rows or n * longest > tokens:
                raise error
            done.append((n, longest))
            return update(engine, batch, steps)

        monkeypatch.setattr(InstanceModel, "update", limited)
        return done

    return set_limit


@pytest.mark.parametrize(
    ("error", "most"),
    [
        *((error, {"rows": 3}) for error in OUT_OF_MEMORY),
        *((OUT_OF_MEMORY[1], m) for m in ({"rows": 1}, {"tokens": 100})),
    ],
    ids=str,
)
def test_when_memory_runs_out_smaller_passes_follow(
    tiny: Tiny, limit: Callable[..., Any], error: BaseException, most: dict[str, int]
) -> None:
    encoder, data = tiny("bert"), forty()
    model = ready(encoder)
    options = {"tokenizer": encoder.tokenizer(), "tokens": 1000}
    expected = frame(model, data, target(encoder), **options)
    done = limit(error, **most)
    pd.testing.assert_frame_equal(frame(model, data, target(encoder), **options), expected, atol=1e-5, rtol=0)
    assert sum(n for n, _ in done) == 40
    assert max(n for n, _ in done) > (1 if most != {"rows": 1} else 0)  # not one by one at once


def test_a_row_that_never_fits_is_named(tiny: Tiny, limit: Callable[..., Any]) -> None:
    encoder, data = tiny("bert"), varied()
    limit(OUT_OF_MEMORY[0], tokens=35)
    with pytest.raises(MemoryError, match="row 9 of 40 tokens .*lower max_length.*smaller encoder.*larger device"):
        frame(encoder, data, target(encoder))


@pytest.mark.parametrize("error", [RuntimeError("mat1 and mat2 shapes cannot be multiplied"), KeyError("x")], ids=repr)
def test_other_errors_pass_through(tiny: Tiny, limit: Callable[..., Any], error: Exception) -> None:
    encoder, data = tiny("bert"), varied()
    limit(error, rows=1)
    with pytest.raises(type(error)) as caught:
        frame(encoder, data, target(encoder))
    assert caught.value is error


def named(adapter: rm.Adapter, base: str, **provenance: Any) -> rm.Adapter:
    return replace(adapter, config=adapter.config | {"base_model_name_or_path": base}, provenance=provenance)


def test_a_target_of_another_encoder_is_refused(tiny: Tiny) -> None:
    encoder, data, strict = tiny("bert"), varied(), {"same_base": False}
    own, mend = target(encoder), "train the target on this encoder, or say same_base=True"
    with pytest.raises(ValueError, match=f"adapts 'someone/else', but .* trained on 'tiny-bert': {mend}"):
        frame(encoder, data, named(own, "someone/else"), **strict)
    other = {"weights_sha256": "0" * 64}
    with pytest.raises(ValueError, match=f"000000000000….*{mend}"):
        frame(encoder, data, named(own, "tiny-bert", encoder=other), **strict)
    model, tokenizer = ready(encoder), encoder.tokenizer()
    with pytest.raises(ValueError, match=f"'someone/else'.*{mend}"):
        frame(model, data, named(own, "someone/else"), tokenizer=tokenizer, **strict)
    expected = frame(encoder, data, named(own, "someone/else", encoder=other), rank=2, seed=1, head_seed=0)
    same = {"weights_sha256": encoder.sha256}
    for adapter in (named(own, "tiny-bert"), named(own, "another/name", encoder=same)):  # the weights decide
        pd.testing.assert_frame_equal(frame(encoder, data, adapter, rank=2, seed=1, head_seed=0, **strict), expected)
    path = model.get_base_model().name_or_path
    found = frame(model, data, named(own, path), tokenizer=tokenizer, **strict)
    pd.testing.assert_frame_equal(found, expected, atol=1e-6, rtol=0)


def test_a_target_that_does_not_fit_the_model_is_refused(tiny: Tiny) -> None:
    encoder, data, own = tiny("bert"), varied(), target(tiny("bert"))
    first = {k: v for k, v in own.tensors.items() if ".layer.0." in k}
    moved = {k.replace(".layer.1.", ".layer.7."): v for k, v in own.tensors.items()}
    narrow = {k: v[:16] if "lora_B" in k else v for k, v in own.tensors.items()}
    short = {k: v[:, :16] if "lora_A" in k else v for k, v in own.tensors.items()}
    zero = {k: v * ("lora_B" not in k or ".layer.0." in k) for k, v in own.tensors.items()}
    for tensors, side, message in (
        (first, "left", "adapts 'value' in 1 layers, the model in 2.*adapt the same layers"),
        (moved, "left", "in 2 layers, the model in 2, or in others: adapt the same layers"),
        (narrow, "left", "is 16 wide, the model's 'value' 32: another encoder"),
        (short, "right", "is 16 wide, the model's 'value' 32: another encoder"),
        (zero, "left", "no update in layer 2.*Train it first"),
    ):
        with pytest.raises(ValueError, match=message):
            frame(encoder, data, replace(own, tensors=tensors), side=side)


def test_a_matrix_that_is_not_adapted_is_named(tiny: Tiny) -> None:
    encoder, data = tiny("bert"), varied()
    both = target(encoder, modules=("query", "value"))
    with pytest.raises(ValueError, match="the model has no LoRA on 'query'; it has it on value"):
        frame(ready(encoder), data, both, modules=("value", "query"), tokenizer=encoder.tokenizer())
    with pytest.raises(ValueError, match="adapts no 'query' matrix; it adapts attention.self.value"):
        frame(encoder, data, target(encoder), modules=("query",))
    with pytest.raises(ValueError, match="the model has no 'gate' matrix.*it has .*query"):
        frame(encoder, data, target(encoder), modules=("gate",))


@pytest.mark.parametrize("what", ["the loss", "A", "B"])
def test_an_update_that_is_not_finite_is_refused(tiny: Tiny, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    encoder, update = tiny("bert"), InstanceModel.update

    def diverging(engine: InstanceModel, batch: dict[str, Tensor], steps: int) -> Any:
        result = update(engine, batch, steps)
        if len(batch["input_ids"]) > 1:
            found = {"the loss": result[0], "A": result[1][1], "B": result[2][1]}[what]
            found[-1] = float("nan" if what == "B" else "inf")
        return result

    monkeypatch.setattr(InstanceModel, "update", diverging)
    with pytest.raises(FloatingPointError, match=r"rows \[.*976.* is not finite: lower lr \(now 0.001\)"):
        frame(encoder, varied(), target(encoder))


def test_a_rate_that_diverges_is_refused(tiny: Tiny) -> None:
    encoder = tiny("bert")
    with pytest.raises(FloatingPointError, match=r"not finite: lower lr \(now 1e\+30\), or use precision='float32'"):
        frame(encoder, varied(), target(encoder), 3, lr=1e30)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lr", 2e-3), ("steps", 2), ("side", "right"), ("seed", 4), ("head_seed", 9), ("rank", 3), ("max_length", 40),
        ("precision", "bf16"), ("weight_decay", 0.5), ("eps", 1e-6), ("dropout", True),
    ],
)  # fmt: skip
def test_other_settings_are_refused(by_encoder: Score, tmp_path: Path, name: str, value: Any) -> None:
    start = {"lr": 1e-3, "steps": 1, "side": "left", "rank": 2, "head_seed": 0}
    by_encoder(out=tmp_path, shard=(1, 5), **start)
    before = files(tmp_path)
    changed = IN_BLOCKS | start | {name: value}
    match = rf"holds scores of something else: {name} was .*, now {re.escape(repr(value))}(; .*)?. Give another folder"
    with pytest.raises(ValueError, match=match):
        by_encoder(out=tmp_path, **changed)
    assert files(tmp_path) == before


def test_under_dropout_another_number_of_tokens_a_pass_is_something_else(by_encoder: Score, tmp_path: Path) -> None:
    for dropout in (False, True):
        out = tmp_path / str(dropout)
        by_encoder(out=out, shard=(1, 5), dropout=dropout, tokens=60)
        if dropout:
            with pytest.raises(ValueError, match="tokens_a_pass was 60, now 90. Give another folder"):
                by_encoder(out=out, dropout=dropout, tokens=90)
        else:
            by_encoder(out=out, dropout=dropout, tokens=90)


def test_another_target_model_or_text_is_refused(
    tiny: Tiny, ready_model: peft.PeftModel, thirty: rm.Corpus, random_target: rm.Adapter, tmp_path: Path, score: Score,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    score(out=tmp_path)
    before, model, data, target = files(tmp_path), ready_model, thirty, random_target
    tensors = {k: v + 1e-3 * ("layer.1" in k and "lora_B" in k) for k, v in target.tensors.items()}
    fewer = replace(data, table=data.table.slice(1))
    other = data.table.set_column(1, "text", [["a plot", *data.table["text"].to_pylist()[1:]]])
    flipped_label = data.table.set_column(2, "label", [[1 - k for k in data.table["label"].to_pylist()]])
    moved = data.table.take(list(range(ROWS))[::-1])
    seeded = lora_model(frozen_model(tiny("bert"), "classification", 2), 2, seed=3).eval()
    headed = lora_model(frozen_model(tiny("bert"), "classification", 2, head_seed=3), 2).eval()
    for name, changed in {
        "target": (model, data, replace(target, tensors=tensors)),
        "rows": (model, fewer, target),
        "data": (model, replace(data, table=other), target),
        "data ": (model, replace(data, table=flipped_label), target),
        "ids": (model, replace(data, table=moved), target),
        "task": (model, replace(data, task=replace(data.task, name="else")), target),
        "weights": (seeded, data, target),
        "weights ": (headed, data, target),
    }.items():
        with pytest.raises(ValueError, match=f"holds scores of something else: .*{name.strip()} was"):
            rm.score_instances(*changed, out=tmp_path, **IN_BLOCKS)
    monkeypatch.setattr(job, "code_version", lambda modules: "changed")
    with pytest.raises(ValueError, match="something else: code was '.*', now 'changed'"):
        score(out=tmp_path)
    assert files(tmp_path) == before


def test_shards_may_run_on_different_processors(score: Score, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last digits of a QR and an SVD are not the same on all."""
    score(out=tmp_path, shard=(1, 2))
    basis = compared.trained_basis
    monkeypatch.setattr(compared, "trained_basis", lambda *arguments: basis(*arguments) * (1 + 4e-16))
    assert score(out=tmp_path, shard=(2, 2)) is not None


@pytest.mark.parametrize("what", ["classes", "scale", "tokenizer"])
def test_other_scores_are_not_mixed_in(
    tiny: Tiny, thirty: rm.Corpus, random_target: rm.Adapter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr(scoring, "BLOCK", 7)
    encoder, data, target = tiny("bert"), thirty, random_target
    model: Any = encoder
    options, changed = IN_BLOCKS | {"steps": 3, "rank": 2}, {}
    if what != "classes":
        config = partial(peft.LoraConfig, r=2, target_modules=["value"])
        torch.manual_seed(0)
        model = peft.get_peft_model(frozen_model(encoder, "classification", 2), config(lora_alpha=2)).eval()
        options["tokenizer"] = encoder.tokenizer()
    rm.score_instances(model, data, target, out=tmp_path, shard=(1, 2), **options)
    if what == "classes":
        data = replace(data, task=replace(data.task, labels=(*data.task.labels, "2")))
    elif what == "scale":
        torch.manual_seed(0)
        model = peft.get_peft_model(frozen_model(encoder, "classification", 2), config(lora_alpha=64)).eval()
    else:
        changed["tokenizer"] = tiny("llama").tokenizer()  # other numbers for the same words
    with pytest.raises(ValueError, match="something else"):
        rm.score_instances(model, data, target, out=tmp_path, shard=(2, 2), **(options | changed))
