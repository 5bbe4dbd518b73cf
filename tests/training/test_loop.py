"""The one training loop against AdamW's formulas; a loss that diverges is found."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from helpers import Tiny, train

import repmatch_lib as rm
from repmatch_lib.training import loop
from repmatch_lib.training.batching import encode, within_budget
from repmatch_lib.training.heads import frozen_model
from repmatch_lib.training.loop import Training, fit


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_the_loss_falls(precision: str, tiny: Tiny, toy: rm.Corpus) -> None:
    loss = train(tiny("bert"), toy, epochs=15, precision=precision, rank=4, dropout=False).provenance["loss"]
    assert loss["last_epoch"] < 0.5 * loss["first_epoch"]


@pytest.mark.parametrize("family", ["bert", "electra", "llama"])
def test_every_parameter_follows_adamw(family: str, tiny: Tiny, toy: rm.Corpus) -> None:
    """Three steps by the formulas (Loshchilov and Hutter, 2019, algorithm 2); a misread gradient has wrong signs."""
    lr, decay, eps = 1e-3, 0.01, 1e-8
    trained, copy = (frozen_model(tiny(family), "classification", 2, 0).requires_grad_(True).eval() for _ in range(2))
    encoded = encode(tiny(family).tokenizer(), toy, 32)
    fit(trained, encoded, Training(lr=lr, epochs=3, batch_size=len(toy), tokens=100_000, precision="float32"))
    means, squares = ({name: 0.0 for name, _ in copy.named_parameters()} for _ in range(2))
    batch = encoded.collate(range(len(toy)))
    for step in (1, 2, 3):
        copy.zero_grad()
        copy(**batch).loss.backward()
        for name, parameter in copy.named_parameters():
            if parameter.grad is not None:
                means[name] = 0.9 * means[name] + 0.1 * parameter.grad
                squares[name] = 0.999 * squares[name] + 0.001 * parameter.grad**2
                mean, square = means[name] / (1 - 0.9**step), squares[name] / (1 - 0.999**step)
                parameter.data -= lr * (decay * parameter + mean / (square.sqrt() + eps))
    expected = dict(copy.named_parameters())
    for name, parameter in trained.named_parameters():
        steady = squares[name] > 1e-12 if torch.is_tensor(squares[name]) else torch.ones_like(parameter, dtype=bool)
        torch.testing.assert_close(parameter[steady], expected[name][steady], atol=2e-5, rtol=0)


def test_gradients_of_pieces_add_up(tiny: Tiny, toy: rm.Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    pieces: list[int] = []

    def spy(*arguments: Any) -> list[np.ndarray]:
        found = list(within_budget(*arguments))
        pieces.append(len(found))
        return found

    monkeypatch.setattr(loop, "within_budget", spy)
    same = {"batch_size": 16, "dropout": False, "lr": 1e-3}
    small = train(tiny("bert"), toy, tokens=64, **same)
    assert min(pieces) >= 2
    pieces.clear()
    whole = train(tiny("bert"), toy, tokens=100_000, **same)
    assert set(pieces) == {1}
    for name, tensor in whole.tensors.items():
        torch.testing.assert_close(small.tensors[name], tensor, atol=1e-5, rtol=0)
    assert small.provenance["loss"] == pytest.approx(whole.provenance["loss"], rel=1e-5)
    assert max(t.abs().max() for n, t in whole.tensors.items() if "lora_B" in n) > 1e-3


def test_a_loss_that_is_not_finite_names_the_rate(tiny: Tiny, toy: rm.Corpus) -> None:
    with pytest.raises(FloatingPointError, match=r"toy: the loss is nan in epoch 1; lower lr \(now 1e\+30\)"):
        train(tiny("bert"), toy, lr=1e30)


def test_a_last_step_that_diverges_is_found(tiny: Tiny, toy: rm.Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    def step(optimizer: torch.optim.Optimizer) -> None:
        for parameter in optimizer.param_groups[0]["params"]:
            parameter.data.fill_(torch.inf)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    with pytest.raises(FloatingPointError, match="lr"):
        train(tiny("bert"), toy, epochs=1, batch_size=40)
