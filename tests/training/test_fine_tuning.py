"""Fine-tuning: what a method trains, and that it learns."""

from __future__ import annotations

import pytest
import torch
from helpers import Tiny

import repmatch_lib as rm
from repmatch_lib.training import loop
from repmatch_lib.training.heads import frozen_model


@pytest.mark.parametrize("method", ["full", "lora"])
def test_what_a_method_trains(tiny: Tiny, toy: rm.Corpus, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    seen = {}
    fit = loop.fit

    def watched(model: object, *args: object) -> list[float]:
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        losses = fit(model, *args)
        seen["moved"] = {name for name, p in model.named_parameters() if not p.equal(before[name])}
        seen["all"] = set(before)
        return losses

    monkeypatch.setattr(loop, "fit", watched)
    rm.fine_tune(tiny("bert"), toy, toy, method=method, lr=1e-2, epochs=2, max_length=32, progress=False)
    of_head = {name for name in seen["all"] if "classifier" in name}
    if method == "full":
        assert seen["moved"] >= {name for name in seen["all"] if ".layer." in name and "weight" in name} | of_head
    else:
        assert seen["moved"] == {name for name in seen["all"] if "lora_" in name} | of_head


def test_fine_tuning_learns_and_starts_from_the_seed(tiny: Tiny, toy: rm.Corpus) -> None:
    tuned = [
        rm.fine_tune(tiny("bert"), toy, toy, seed=seed, lr=3e-3, epochs=epochs, max_length=32, progress=False)
        for seed, epochs in ((0, 12), (0, 12), (1, 12), (0, 1))
    ]
    assert tuned[0].value == tuned[1].value > 0.9 and tuned[3].value < tuned[0].value
    losses = [one.provenance["loss"]["last_epoch"] for one in tuned]
    assert losses[0] == losses[1] != losses[2]
    head = [
        dict(frozen_model(tiny("bert"), "classification", 2, seed).named_parameters())["classifier.weight"]
        for seed in (0, 1)
    ]
    assert not head[0].equal(head[1])


def test_the_head_is_the_seed_s(tiny: Tiny, toy: rm.Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    heads, fit = [], loop.fit

    def watched(model: torch.nn.Module, *args: object) -> object:
        heads.append(model.classifier.weight.detach().clone())
        return fit(model, *args)

    monkeypatch.setattr(loop, "fit", watched)
    for seed in (0, 1):
        rm.fine_tune(tiny("bert"), toy, toy, seed=seed, epochs=1, max_length=32, progress=False)
    wanted = [frozen_model(tiny("bert"), "classification", 2, seed).classifier.weight for seed in (0, 1)]
    assert all(one.equal(other) for one, other in zip(heads, wanted, strict=True)) and not heads[0].equal(heads[1])
