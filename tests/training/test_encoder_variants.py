"""Encoders made of others: named, kept in the store, verified."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import Tiny

import repmatch_lib as rm
from repmatch_lib import store
from repmatch_lib.training import encoder_makers
from repmatch_lib.training.encoder_variants import parted


def test_a_variant_is_named_made_once_and_compares_with_none_but_its_like(
    tiny: Tiny, toy: rm.Corpus, own_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tiny("bert")
    name = f"{base.folder}:layers-1:random-3"
    made = rm.encoder(name)
    assert made.name == name and made.title.endswith(":layers-1:random-3")
    assert made.folder.parent == own_store / "encoders"
    monkeypatch.setattr(encoder_makers, "_write", None)  # what the store has is not made
    assert rm.encoder(name) == made
    one, other = (
        rm.adapter(rm.Run(str(toy.task.file), encoder=where, rank=1, lr=1e-2, max_length=32), progress=False)
        for where in (name, f"{base.folder}:layers-1")
    )
    assert one.provenance["encoder"] == {"name": name, "weights_sha256": made.sha256}
    with pytest.raises(ValueError, match="different models"):
        rm.repmatch(one, other)


def test_changed_weights_are_made_again(tiny: Tiny, caplog: pytest.LogCaptureFixture) -> None:
    name = f"{tiny('bert').folder}:layers-2"
    made = rm.encoder(name)
    weights = made.folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    with caplog.at_level("WARNING"):
        assert rm.encoder(name).sha256 == made.sha256
    assert "was changed after it was made" in caplog.text


def test_names_are_taken_apart() -> None:
    assert parted("minilm") == ("minilm", "") and parted("owner/model") == ("owner/model", "")
    assert parted("minilm:layers-3:random-0") == ("minilm:layers-3", "random-0")
    assert parted("minilm:tuned-sst5-ends-mini") == ("minilm", "tuned-sst5-ends-mini")


@pytest.mark.parametrize(
    "name", ["minilm:", "minilm:layers", "minilm:layers-0", "minilm:random-x", "minilm:tuned-snli", "minilm:x:layers-1"]
)
def test_a_name_of_no_variant_is_refused_before_anything_is_run(name: str) -> None:
    for ask in (rm.encoder, lambda name: rm.Run("sst2", encoder=name)):
        with pytest.raises(ValueError, match="after a colon give layers-N, random-SEED, tuned-TASK-SOURCE"):
            ask(name)


def test_what_a_step_is_taken_from_has_to_be_there(tiny: Tiny, own_store: Path) -> None:
    with pytest.raises(ValueError, match="unknown task 'sst3': give one of sst2"):
        rm.Run("sst2", encoder="minilm:tuned-sst3-mini")
    with pytest.raises(ValueError, match="unknown encoder 'mini': give one of minilm"):
        rm.encoder("mini:random-0")
    with pytest.raises(ValueError, match=r"layers = 3: .* has 2 layers, so give 1 to 2"):
        rm.encoder(f"{tiny('bert').folder}:layers-3")
    assert not list((own_store / "encoders").glob("[!.]*")) and store.Store().root == own_store
