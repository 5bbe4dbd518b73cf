"""Full fine-tuning against a plain loop, and its truncation against numpy's decomposition."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import Tiny

import repmatch_lib as rm
from repmatch_lib.experiments.catalogue import parse
from repmatch_lib.training import full
from repmatch_lib.training.batching import encode
from repmatch_lib.training.heads import frozen_model


def test_truncation_is_the_best_at_its_rank() -> None:
    update = torch.randn(9, 6, generator=torch.Generator().manual_seed(0))
    B, A, share = rm.truncated(update, 2)
    u, s, vt = np.linalg.svd(update.numpy())
    best = (u[:, :2] * s[:2]) @ vt[:2]
    assert np.allclose((B @ A).numpy(), best, atol=1e-5)
    assert share == pytest.approx(1 - np.linalg.norm(update.numpy() - best) ** 2 / np.linalg.norm(update.numpy()) ** 2)
    assert rm.truncated(B @ A, 2)[2] == pytest.approx(1)


@pytest.mark.parametrize("family", ["bert", "electra", "llama"])
def test_a_step_of_everything_is_adamw_s(tiny: Tiny, toy: rm.Corpus, family: str) -> None:
    """One batch of all rows: the value matrices move as one step of AdamW on the whole model moves them."""
    encoder, rows = tiny(family), toy.take(list(range(8)))
    found = rm.full_adapter(
        encoder, rows, rank=32, lr=1e-3, epochs=1, batch_size=8, max_length=32, dropout=False, progress=False
    )
    _, A, B = found.factors("value")

    model = frozen_model(encoder, rows.task.kind, rows.task.outputs, 0).eval()
    model.base_model.requires_grad_(True)
    weights = [p for n, p in model.named_parameters() if n.endswith(("value.weight", "v_proj.weight"))]
    before = [weight.detach().clone() for weight in weights]
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    model(**encode(encoder.tokenizer(), rows, 32).collate(range(8))).loss.backward()
    optimizer.step()
    moved = torch.stack([weight.detach() - old for weight, old in zip(weights, before, strict=True)])
    # AdamW's epsilon decides where a gradient is nearly nothing, and there the order of sums counts.
    assert ((B @ A - moved).abs() < 2e-5).double().mean() > 0.98
    assert all(share == pytest.approx(1) for share in found.provenance["kept"])


def test_a_request_is_kept_and_compares_with_lora(
    tiny: Tiny, toy: rm.Corpus, own_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = rm.Run(str(toy.task.file), encoder=str(tiny("bert").folder), rank=2, lr=1e-2, epochs=2, max_length=32)
    request = rm.FullRun(run, full_lr=1e-3)
    assert parse(request.to_json()).id == request.id
    first = request.make(progress=False)
    assert first.provenance["loss"]["last_epoch"] < first.provenance["loss"]["first_epoch"]
    monkeypatch.setattr(full, "full_adapter", None)  # what the store has is not trained
    assert rm.repmatch(request.make(progress=False), first).score == pytest.approx(1)
    assert 0 <= rm.repmatch(first, rm.adapter(run, progress=False)).score <= 1
    assert len(list((own_store / "adapters").glob("[!.]*"))) == 2


def test_an_impossible_rate_is_refused(toy: rm.Corpus) -> None:
    with pytest.raises(ValueError, match="full_lr"):
        rm.FullRun(rm.Run(str(toy.task.file)), full_lr=1.5)
    with pytest.raises(ValueError, match="give a run without start_seed and order_seed"):
        rm.FullRun(rm.Run(str(toy.task.file), order_seed=3))
