"""Encoders made of others: named, kept in the store, verified; each differs in the one respect that its name says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import repmatch_lib as rm
from repmatch_lib import store
from repmatch_lib.training import encoder_makers as variants
from repmatch_lib.training.batching import encode
from repmatch_lib.training.encoder_variants import parted
from repmatch_lib.training.heads import frozen_model

Tiny = Callable[[str], rm.Encoder]
FAMILIES = ("bert", "electra", "llama")


def hidden(encoder: rm.Encoder, rows: rm.Corpus) -> tuple[Tensor, ...]:
    """Hidden states: of the embeddings, and after each layer."""
    model = frozen_model(encoder, "classification", 2).base_model.eval()
    batch = encode(encoder.tokenizer(), rows, 32).collate(range(len(rows)))
    del batch["labels"]
    with torch.no_grad():
        return model(**batch, output_hidden_states=True).hidden_states


@pytest.mark.parametrize("family", FAMILIES)
def test_lower_layers_compute_what_they_did(tiny: Tiny, toy: rm.Corpus, family: str) -> None:
    whole, rows = tiny(family), toy.take(list(range(6)))
    cut = rm.encoder(f"{whole.folder}:layers-1")
    before, after = hidden(whole, rows), hidden(cut, rows)
    assert (len(before), len(after)) == (3, 2)
    # LLaMA's last state is taken after its final norm, which belongs to the model and not to a layer.
    assert torch.equal(after[0], before[0]) and (family == "llama" or torch.equal(after[1], before[1]))
    assert len(rm.train_adapter(cut, rows, rank=1, epochs=1, max_length=32, progress=False).factors("value")[0]) == 1


def test_a_variant_is_named_made_once_and_compares_with_none_but_its_like(
    tiny: Tiny, toy: rm.Corpus, own_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tiny("bert")
    name = f"{base.folder}:layers-1:random-3"
    made = rm.encoder(name)
    assert made.name == name and made.title.endswith(":layers-1:random-3")
    assert made.folder.parent == own_store / "encoders"
    monkeypatch.setattr(variants, "_write", None)  # what the store has is not made
    assert rm.encoder(name) == made
    one, other = (
        rm.adapter(rm.Run(str(toy.task.file), encoder=where, rank=1, lr=1e-2, max_length=32), progress=False)
        for where in (name, f"{base.folder}:layers-1")
    )
    assert one.provenance["encoder"] == {"name": name, "weights_sha256": made.sha256}
    with pytest.raises(ValueError, match="different models"):
        rm.repmatch(one, other)


def test_random_weights_are_those_of_the_seed(tiny: Tiny) -> None:
    base = tiny("bert")
    found = [load_file(rm.encoder(f"{base.folder}:random-{seed}").folder / "model.safetensors") for seed in (0, 1)]
    old = load_file(base.folder / "model.safetensors")
    matrices = [name for name in found[0] if name.endswith("value.weight")]
    assert len(matrices) == 2
    for name in matrices:
        drawn = [tensors[name] for tensors in found]
        assert not torch.isclose(*drawn).all() and not torch.isclose(drawn[0], old[f"bert.{name}"]).all()
        assert drawn[0].std() == pytest.approx(0.2, rel=0.1)  # the configuration's initializer_range


def test_a_tuned_encoder_has_moved_in_every_layer_and_keeps_nothing_of_its_head(tiny: Tiny, toy: rm.Corpus) -> None:
    base, task = tiny("bert"), toy.task.file
    tuned = rm.encoder(f"{base.folder}:tuned-{task}-local")
    tensors, old = load_file(tuned.folder / "model.safetensors"), load_file(base.folder / "model.safetensors")
    moved = [name for name in tensors if name.endswith("dense.weight") and f"bert.{name}" in old]
    assert len(moved) == 6 and not any(torch.equal(tensors[name], old[f"bert.{name}"]) for name in moved)
    assert frozen_model(tuned, "regression", 1).config.problem_type is None  # or a score would be trained as a class
    # One step of AdamW moves a weight by no more than its rate: 40 rows twice are two steps.
    assert max((tensors[name] - old[f"bert.{name}"]).abs().max() for name in moved) < 2.2e-4


def test_so_many_rows_tune_and_decide_the_key(tiny: Tiny, toy: rm.Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(variants, "TUNED_ON", 8)
    monkeypatch.setattr(variants, "fine_tuned_encoder", lambda encoder, data, **how: asked.append(data) or encoder)
    name, how = f"{toy.task.file}-local", variants._tuned(tiny("bert"), f"{toy.task.file}-local")
    how[1](folder=None)
    assert len(asked[0]) == 8 and how[0]["rows"] == asked[0].fingerprint
    monkeypatch.setattr(variants, "TUNED_ON", 9)
    assert variants._tuned(tiny("bert"), name)[0]["rows"] != how[0]["rows"]


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
