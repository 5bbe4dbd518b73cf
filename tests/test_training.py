"""Batches, targets, and training that can be repeated bit for bit."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from conftest import WORDS
from hypothesis import given, settings, strategies as st
from safetensors.torch import load_file, save, save_file

import repmatch_lib as rm
from repmatch_lib.training import loop, lora
from repmatch_lib.training.batching import encode, shuffled_batches, within_budget
from repmatch_lib.training.heads import frozen_model, lora_model
from repmatch_lib.training.loop import Training, fit

Tiny = Callable[[str], rm.Encoder]
lengths_of_rows = st.lists(st.integers(1, 60), min_size=1, max_size=300).map(np.array)
property_test = settings(max_examples=40, deadline=None)
QUICK: dict[str, Any] = {"rank": 2, "lr": 1e-2, "epochs": 2, "batch_size": 8, "max_length": 32}


def train(encoder: rm.Encoder, corpus: rm.Corpus, **changes: Any) -> rm.Adapter:
    return rm.train_adapter(encoder, corpus, **QUICK | {"precision": "float32", "progress": False} | changes)


def digest(adapter: rm.Adapter) -> str:
    return hashlib.sha256(save(dict(sorted(adapter.tensors.items())))).hexdigest()


@property_test
@given(lengths_of_rows, st.integers(1, 7), st.integers(0, 99), st.integers(0, 9))
def test_every_row_once_an_epoch(lengths: np.ndarray, size: int, seed: int, epoch: int) -> None:
    batches = shuffled_batches(lengths, size, seed, epoch)
    assert sorted(np.concatenate(batches)) == list(range(len(lengths)))
    assert len(batches) == -(-len(lengths) // size) and max(map(len, batches)) <= size
    assert all((np.diff(lengths[rows]) >= 0).all() for rows in batches)
    again = shuffled_batches(lengths, size, seed, epoch)
    assert all(np.array_equal(a, b) for a, b in zip(batches, again, strict=True))


def test_the_order_depends_on_seed_and_epoch() -> None:
    lengths = np.tile(np.arange(1, 11), 20)
    orders = [np.concatenate(shuffled_batches(lengths, 5, seed, epoch)) for seed in range(3) for epoch in range(3)]
    assert len({tuple(order) for order in orders}) == 9


def test_batches_are_of_similar_lengths() -> None:
    lengths = np.random.default_rng(0).integers(1, 200, size=1000)
    padded = sum(len(rows) * lengths[rows].max() for rows in shuffled_batches(lengths, 10, 0, 0))
    assert padded < 1.1 * lengths.sum()


@property_test
@given(lengths_of_rows, st.integers(1, 400))
def test_the_budget_is_kept(lengths: np.ndarray, tokens: int) -> None:
    rows = np.argsort(lengths, kind="stable")
    pieces = list(within_budget(rows, lengths, tokens))
    assert np.array_equal(np.concatenate(pieces), rows)
    assert all(len(piece) == 1 or len(piece) * lengths[piece].max() <= tokens for piece in pieces)
    joined = [np.concatenate(pair) for pair in pairwise(pieces)]
    assert all(len(pair) * lengths[pair].max() > tokens for pair in joined)  # none could have been saved


def test_a_padded_batch(tiny: Tiny, toy: rm.Corpus) -> None:
    encoded = encode(tiny("bert").tokenizer(), toy, 32)
    rows = [6, 0, 3]
    batch = encoded.collate(rows)
    longest = max(encoded.lengths[rows])
    assert batch["input_ids"].shape == (3, longest) and len({*encoded.lengths[rows]}) == 3
    assert batch["attention_mask"].sum(1).tolist() == encoded.lengths[rows].tolist()
    assert (batch["input_ids"][batch["attention_mask"] == 0] == 0).all()
    assert batch["labels"].tolist() == [0, 0, 1]
    tokenizer = tiny("bert").tokenizer()
    found = [tokenizer.decode(ids, skip_special_tokens=True) for ids in batch["input_ids"]]
    assert found == [toy.table["text"][row].as_py() for row in rows]
    assert max(encode(tokenizer, toy, 8).lengths) == 8


def spans(question: list[str], context: list[str], first: int, last: int) -> rm.Corpus:
    """One question on a context whose answer is its words first to last."""
    start = sum(len(word) + 1 for word in context[:first])
    columns = {"text": " ".join(question), "text_pair": " ".join(context), "label": " ".join(context[first : last + 1])}
    table = pa.table({name: [value] for name, value in (columns | {"answer_start": start}).items()})
    return rm.Corpus(rm.TASKS["squad"], "train", table, "")


@pytest.mark.parametrize("family", ["bert", "llama"])
@property_test
@given(st.permutations(WORDS[14:]), st.integers(1, 60), st.integers(1, 5), st.integers(24, 64), st.data())
def test_span_targets_are_the_answer(
    family: str, tiny: Tiny, words: list[str], size: int, asked: int, max_length: int, data: st.DataObject
) -> None:
    """No word occurs twice, so the answer's words say where it stands; long contexts need a later window."""
    context = words[:size]
    first = data.draw(st.integers(0, size - 1))
    last = data.draw(st.integers(first, min(first + 2, size - 1)))
    tokenizer = tiny(family).tokenizer()
    encoded = encode(tokenizer, spans(WORDS[:asked], context, first, last), max_length)
    batch = encoded.collate([0])
    assert batch["input_ids"].shape[1] <= max_length
    start, end = int(batch["start_positions"]), int(batch["end_positions"])
    assert tokenizer.convert_ids_to_tokens(batch["input_ids"][0, start : end + 1].tolist()) == context[first : last + 1]
    kept = tokenizer.decode(batch["input_ids"][0], skip_special_tokens=True).split()
    assert kept[:asked] == WORDS[:asked]


def test_an_answer_that_fits_nowhere_points_at_the_first_token(tiny: Tiny) -> None:
    batch = encode(tiny("bert").tokenizer(), spans(["who"], WORDS[14:], 5, 40), 24).collate([0])
    assert (batch["start_positions"].item(), batch["end_positions"].item()) == (0, 0)


def test_many_questions_keep_their_order(tiny: Tiny) -> None:
    parts = [spans(["who"], WORDS[14 : 14 + n], k, k) for n, k in ((60, 55), (4, 0), (60, 0), (30, 29), (60, 30))]
    corpus = rm.Corpus(rm.TASKS["squad"], "train", pa.concat_tables([p.table for p in parts]), "")
    tokenizer = tiny("bert").tokenizer()
    encoded = encode(tokenizer, corpus, 24)
    ids = [encoded.collate([row])["input_ids"][0] for row in range(len(encoded))]
    columns = ids, encoded.targets["start_positions"], encoded.targets["end_positions"]
    found = [tokenizer.convert_ids_to_tokens(ids[start : end + 1]) for ids, start, end in zip(*columns, strict=True)]
    assert found == [["w55"], ["w0"], ["w0"], ["w29"], ["w30"]]


def test_a_question_without_tokens_leaves_its_context(tiny: Tiny) -> None:
    batch = encode(tiny("bert").tokenizer(), spans(["\u200b"], WORDS[14:18], 1, 1), 24).collate([0])
    assert batch["start_positions"].item() == 3  # after [CLS], [SEP] and one word


def test_a_question_that_leaves_little_room(tiny: Tiny) -> None:
    """Shorter windows than the stride."""
    batch = encode(tiny("bert").tokenizer(), spans(WORDS[:14], WORDS[14:], 0, 0), 21).collate([0])
    assert batch["input_ids"].shape[1] <= 21 and batch["start_positions"].item() == 12  # half for the question


def test_one_seed_gives_one_adapter_bit_for_bit(tiny: Tiny, toy: rm.Corpus) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import test_training as t, repmatch_lib as rm\n"
        "print(t.digest(t.train(rm.encoder(sys.argv[2]), rm.load(rm.task(sys.argv[3])))))"
    )
    arguments = [Path(__file__).parent, tiny("bert").folder, toy.task.file]
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


@pytest.fixture
def copied(tiny: Tiny, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny("bert").folder, tmp_path / "copied"))


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
