"""LoRA training that can be repeated bit for bit, and says what it did."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import QUICK, ROOT, Tiny, digest, train

import repmatch_lib as rm
from repmatch_lib.training.heads import frozen_model, lora_model


def test_one_seed_gives_one_adapter_bit_for_bit(tiny: Tiny, toy: rm.Corpus) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import helpers, repmatch_lib as rm\n"
        "print(helpers.digest(helpers.train(rm.encoder(sys.argv[2]), rm.load(rm.task(sys.argv[3])))))"
    )
    arguments = [ROOT / "tests", tiny("bert").folder, toy.task.file]
    environment = os.environ | {"PYTHONHASHSEED": "5", "OMP_NUM_THREADS": "1"}
    fresh = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)], stdout=subprocess.PIPE, text=True, env=environment
    )
    torch.manual_seed(1)
    first = digest(train(tiny("bert"), toy))
    torch.manual_seed(2)
    assert digest(train(tiny("bert"), toy)) == first
    changes: list[dict[str, Any]] = [{"seed": 1}, {"head_seed": 1}, {"dropout": False}]
    others = [digest(train(tiny("bert"), toy, **change)) for change in changes]
    assert len({first, *others}) == 4
    assert fresh.communicate(timeout=300)[0].strip() == first


def test_start_order_and_dropout_have_seeds_of_their_own(tiny: Tiny, toy: rm.Corpus) -> None:
    default = train(tiny("bert"), toy, seed=3)
    assert digest(train(tiny("bert"), toy, seed=3, start_seed=3, order_seed=3)) == digest(default)
    names = ("seed", "start_seed", "order_seed")
    apart = {name: train(tiny("bert"), toy, **dict.fromkeys(names, 3) | {name: 4}) for name in names}
    assert len({digest(one) for one in (default, *apart.values())}) == 4
    for name, one in apart.items():
        told = {key: one.provenance["training"][key] for key in names}
        assert told == dict.fromkeys(names, 3) | {name: 4}


def test_without_dropout_its_seed_changes_nothing(tiny: Tiny, toy: rm.Corpus) -> None:
    given: dict[str, Any] = {"start_seed": 5, "order_seed": 6, "dropout": False}
    assert digest(train(tiny("bert"), toy, seed=1, **given)) == digest(train(tiny("bert"), toy, seed=2, **given))


@pytest.mark.parametrize("family", ["bert", "electra", "llama"])
def test_the_start_is_its_seed_s_alone(family: str, tiny: Tiny, toy: rm.Corpus) -> None:
    """At a rate too low to move anything, ``A`` is where PEFT put it."""
    quick: dict[str, Any] = {"lr": 1e-12, "epochs": 1, "start_seed": 7}
    one, other = (train(tiny(family), toy, seed=seed, order_seed=seed, **quick).factors()[1] for seed in (0, 1))
    model = lora_model(frozen_model(tiny(family), "classification", 2, 0), QUICK["rank"], seed=7)
    started = rm.Adapter.from_model(model).factors()[1]
    torch.testing.assert_close(one, started, atol=1e-9, rtol=0)
    torch.testing.assert_close(other, started, atol=1e-9, rtol=0)


@pytest.mark.parametrize("family", ["bert", "electra", "llama"])
def test_an_adapter_says_what_made_it(family: str, tiny: Tiny, toy: rm.Corpus) -> None:
    made = train(tiny(family), toy, modules=("query", "value"))
    assert len(made.tensors) == 8 and all(t.isfinite().all() and t.any() for t in made.tensors.values())
    assert made.base_model == f"tiny-{family}"
    assert made.provenance["encoder"]["weights_sha256"] == tiny(family).sha256
    assert made.provenance["corpus"]["fingerprint"] == toy.fingerprint and made.provenance["corpus"]["rows"] == 40
    asked = QUICK | {"modules": ["query", "value"], "seed": 0, "head_seed": 0, "dropout": True, "precision": "float32"}
    assert asked.items() <= made.provenance["training"].items()
    itself = rm.repmatch(made, made)
    assert itself.score == pytest.approx(1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "epochs = 0: it should be greater than or equal to 1"),
        ({"batch_size": -3}, "batch_size = -3: it should be greater than or equal to 1"),
        ({"max_length": 1}, "max_length = 1: it should be greater than or equal to 8"),
        ({"modules": ()}, "modules = \\(\\): give at least one"),
        ({"modules": "value"}, "modules = .value.: give at least one attention matrix in a tuple"),
    ],
    ids=str,
)
def test_numbers_that_train_nothing_are_refused(
    settings: dict[str, Any], message: str, tiny: Tiny, toy: rm.Corpus
) -> None:
    with pytest.raises(ValueError, match=message):
        train(tiny("bert"), toy, **settings)


def test_a_length_beyond_the_encoder_s_is_named(tiny: Tiny, tmp_path: Path) -> None:
    file = tmp_path / "long.csv"
    file.write_text("text,label\n" + "".join(f"{'the film ' * 50},{k % 2}\n" for k in range(4)))
    with pytest.raises(ValueError, match="max_length.*64"):
        train(tiny("bert"), rm.load(rm.task(file)), max_length=128)
