"""Encoders in a folder, bundled and from the hub."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from helpers import Tiny

import repmatch_lib as rm
from repmatch_lib.training import encoders
from repmatch_lib.training.heads import frozen_model


def test_the_padding_token_is_there(tiny: Tiny) -> None:
    tokenizer = tiny("llama").tokenizer()
    assert tokenizer.pad_token_id == tokenizer.eos_token_id == 1
    assert frozen_model(tiny("llama"), "classification", 2).config.pad_token_id == 1


def test_an_encoder_in_a_folder(copied: Path, tiny: Tiny) -> None:
    found = rm.encoder(copied)
    assert (found.folder, found.title, found.sha256) == (copied, "copied", tiny("bert").sha256)
    weights = copied / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    assert rm.encoder(str(copied)).sha256 != found.sha256


def test_no_encoder(copied: Path) -> None:
    with pytest.raises(
        ValueError, match="unknown encoder 'mini'.*minilm, bert-base, electra-base, llama2-7b, a folder"
    ):
        rm.encoder("mini")
    (copied / "model.safetensors").rename(copied / "model.bin")
    with pytest.raises(ValueError, match="copied holds no safetensors.*save_pretrained"):
        rm.encoder(copied)
    (copied / "config.json").unlink()
    with pytest.raises(ValueError, match=r"copied holds no config\.json: it is not a model folder"):
        rm.encoder(copied)


def test_code_in_a_model_s_folder_is_never_run(copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is it asked for: a notebook's cell, or a "y" that stands in the input, is no consent."""
    config = json.loads((copied / "config.json").read_text())
    auto_map = {"AutoConfig": "own.OwnConfig", "AutoModel": "own.OwnModel"}
    (copied / "config.json").write_text(json.dumps(config | {"model_type": "own", "auto_map": auto_map}))
    (copied / "own.py").write_text(f"open({str(tmp_path / 'it ran')!r}, 'w')")
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked whether to run the folder's code"))
    found = rm.encoder(copied)
    for use in (found.tokenizer, lambda: frozen_model(found, "classification", 2)):
        with pytest.raises(ValueError, match="never run.*built-in architecture"):
            use()
    assert not (tmp_path / "it ran").exists()


def test_cut_weights_are_named(copied: Path) -> None:
    weights = copied / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(ValueError, match="the weights in .*copied are damaged"):
        frozen_model(rm.encoder(copied), "classification", 2)


def test_the_bundled_encoder_is_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    found = rm.encoder("minilm")
    assert found.sha256 == encoders.ENCODERS["minilm"].sha256 and found.title == "all-MiniLM-L6-v2"
    wrong = dataclasses.replace(encoders.ENCODERS["minilm"], sha256="0" * 64)
    monkeypatch.setitem(encoders.ENCODERS, "minilm", wrong)
    with pytest.raises(ValueError, match=f"the weights of 'minilm' .* have SHA-256 {found.sha256}, not .*0000; delete"):
        rm.encoder("minilm")


def test_the_hub_is_asked_for_its_revision(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def snapshot(repository: str, **options: object) -> str:
        asked.append((repository, options["revision"]))
        return str(copied)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    assert rm.encoder("owner/model").base_model == "owner/model"
    with pytest.raises(ValueError, match="the weights of 'bert-base'"):
        rm.encoder("bert-base")
    assert asked == [
        ("owner/model", "main"),
        ("google-bert/bert-base-uncased", encoders.ENCODERS["bert-base"].revision),
    ]
