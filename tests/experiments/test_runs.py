"""A run is trained once, and never from what it is not."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import QUICK, Tiny, digest
from safetensors.torch import load_file, save_file

import repmatch_lib as rm
from repmatch_lib.training import lora


def request(toy: rm.Corpus, encoder: Path, **changes: Any) -> rm.Run:
    return rm.Run(str(toy.task.file), encoder=str(encoder), **QUICK | changes)


def test_nothing_of_a_diverged_run_is_stored(copied: Path, toy: rm.Corpus, own_store: Path) -> None:
    weights = load_file(copied / "model.safetensors")
    name = "bert.encoder.layer.1.output.dense.bias"
    save_file(weights | {name: weights[name] * torch.nan}, copied / "model.safetensors", {"format": "pt"})
    with pytest.raises(FloatingPointError, match="lower lr"):
        rm.adapter(request(toy, copied), progress=False)
    assert not [p for p in own_store.rglob("*") if p.suffix != ".lock" and p.name != "adapters"]


def test_a_run_is_trained_once(tiny: Tiny, toy: rm.Corpus, own_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, calls, original = request(toy, tiny("bert").folder), [], rm.train_adapter

    def count(*arguments: Any, **settings: Any) -> rm.Adapter:
        calls.append(settings["seed"])
        return original(*arguments, **settings)

    monkeypatch.setattr(lora, "train_adapter", count)
    first, again = rm.adapter(run, progress=False), rm.adapter(run, progress=False)
    assert calls == [0] and digest(first) == digest(again)
    assert first.provenance["software"]["packages"]["torch"] == version("torch")
    assert str(own_store) not in str(first.provenance)
    rm.adapter(request(toy, tiny("bert").folder, seed=1), progress=False)
    assert calls == [0, 1] and len(list((own_store / "adapters").glob("[!.]*"))) == 2


def test_seeds_that_are_equal_are_one_request_of_the_store(tiny: Tiny, toy: rm.Corpus, own_store: Path) -> None:
    seeds: list[dict[str, int]] = [{}, {"start_seed": 0}, {"order_seed": 0, "start_seed": 0}]
    seeds += [{"start_seed": 1}, {"order_seed": 1}]
    made = [digest(rm.adapter(request(toy, tiny("bert").folder, **given), progress=False)) for given in seeds]
    assert len({*made[:3]}) == 1 and len({*made}) == 3
    assert len(list((own_store / "adapters").glob("[!.]*"))) == 3


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [("tokenizer.json", '"good"', '"well"'), ("config.json", '"hidden_act": "gelu"', '"hidden_act": "relu"')],
)
def test_another_tokenizer_or_configuration_is_another_encoder(
    file: str, old: str, new: str, copied: Path, toy: rm.Corpus
) -> None:
    before = digest(rm.adapter(request(toy, copied), progress=False))
    text = (copied / file).read_text()
    assert old in text
    (copied / file).write_text(text.replace(old, new))
    assert digest(rm.adapter(request(toy, copied), progress=False)) != before


def test_a_run_trains_on_its_group() -> None:
    run = rm.Run("snli", source="mini", rows=20, sample_seed=3, group="mid")
    data = run.rows_of()
    expected = rm.draw(rm.load(rm.task("snli"), source="mini"), "mid", 20, 3)
    assert data.fingerprint == expected.fingerprint and data.source == "mini:snli/train.parquet, mid"
    assert run.id != rm.Run("snli", source="mini", rows=20, sample_seed=3).id


def test_rows_are_drawn_by_their_own_seed() -> None:
    run = rm.Run("sst2", source="mini", rows=10, sample_seed=3, seed=1, head_seed=2)
    drawn = rm.load(rm.task("sst2"), source="mini", rows=10, seed=3)
    assert run.rows_of().fingerprint == drawn.fingerprint != replace(run, sample_seed=0).rows_of().fingerprint
