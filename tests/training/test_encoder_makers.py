"""Encoders made of others: each differs in the one respect that its name says."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers import FAMILIES, Tiny
from safetensors.torch import load_file
from torch import Tensor

import repmatch_lib as rm
from repmatch_lib.training import encoder_makers
from repmatch_lib.training.batching import encode
from repmatch_lib.training.heads import frozen_model


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
    monkeypatch.setattr(encoder_makers, "TUNED_ON", 8)
    monkeypatch.setattr(
        encoder_makers, "fine_tuned_encoder", lambda encoder, data, **how: asked.append(data) or encoder
    )
    name, how = f"{toy.task.file}-local", encoder_makers._tuned(tiny("bert"), f"{toy.task.file}-local")
    how[1](folder=None)
    assert len(asked[0]) == 8 and how[0]["rows"] == asked[0].fingerprint
    monkeypatch.setattr(encoder_makers, "TUNED_ON", 9)
    assert encoder_makers._tuned(tiny("bert"), name)[0]["rows"] != how[0]["rows"]


@pytest.mark.parametrize("family", ["bert", "electra"])
def test_a_tuned_encoder_is_the_encoder_with_the_update(
    family: str, tiny: Tiny, toy: rm.Corpus, tmp_path: Path
) -> None:
    adapter = rm.train_adapter(tiny(family), toy, rank=2, lr=0.05, epochs=1, max_length=32, progress=False)
    tuned = rm.tuned_encoder(tiny(family), adapter, tmp_path / "tuned")
    before, after = (dict(frozen_model(e, "regression", 1).named_parameters()) for e in (tiny(family), tuned))
    layers, A, B = adapter.factors("value")
    for layer, a, b in zip(layers, A, B, strict=True):
        name = f"{layer.removeprefix('base_model.model.')}.weight"
        torch.testing.assert_close(after.pop(name) - before.pop(name), b @ a, atol=1e-5, rtol=1e-4)
    assert all(torch.equal(before[n], after[n]) for n in before)
    how = {"max_length": 32, "precision": "float32", "progress": False}
    assert not torch.allclose(rm.vectors(tuned, toy, **how), rm.vectors(tiny(family), toy, **how), atol=1e-3)


def test_the_update_of_a_span_task_is_added_too(tiny: Tiny, tmp_path: Path) -> None:
    """LLaMA's class for spans names the encoder within it otherwise than the one for classes does."""
    rows = rm.load(rm.task("squad"), source="mini", rows=12)
    adapter = rm.train_adapter(tiny("llama"), rows, rank=1, lr=0.05, epochs=1, max_length=32, progress=False)
    tuned = load_file(rm.tuned_encoder(tiny("llama"), adapter, tmp_path / "tuned").folder / "model.safetensors")
    old = load_file(tiny("llama").folder / "model.safetensors")
    _, A, B = adapter.factors("value")
    for k, update in enumerate(B @ A):
        name = f"layers.{k}.self_attn.v_proj.weight"
        torch.testing.assert_close(tuned[name] - old[f"model.{name}"], update, atol=1e-5, rtol=1e-4)


def test_an_adapter_of_another_encoder_is_refused(tiny: Tiny, toy: rm.Corpus, tmp_path: Path) -> None:
    adapter = rm.train_adapter(tiny("bert"), toy, rank=1, epochs=1, max_length=32, progress=False)
    with pytest.raises(ValueError, match="was trained on other weights than .*give its own encoder"):
        rm.tuned_encoder(tiny("electra"), adapter, tmp_path / "tuned")


def test_a_random_encoder_has_the_shape_and_none_of_the_weights(tiny: Tiny, toy: rm.Corpus, tmp_path: Path) -> None:
    state = torch.random.get_rng_state()
    made = [rm.random_encoder(tiny("bert"), tmp_path / f"{k}-{seed}", seed) for k, seed in enumerate((0, 0, 1))]
    assert torch.equal(state, torch.random.get_rng_state())
    tables = [rm.token_embeddings(e)[0] for e in (tiny("bert"), *made)]
    assert torch.equal(tables[1], tables[2]) and len({t.shape for t in tables}) == 1
    assert not torch.equal(tables[1], tables[0]) and not torch.equal(tables[1], tables[3])
    assert made[0].sha256 == made[1].sha256 != made[2].sha256
    assert rm.vectors(made[0], toy, "mean", max_length=32, progress=False).shape == (40, 32)
