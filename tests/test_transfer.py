"""Transfer against PEFT and scikit-learn by another way, and what it is compared with against plain loops."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from matplotlib.colors import to_rgba
from peft import PeftModel
from sklearn.linear_model import LogisticRegression

import repmatch_lib as rm
from repmatch_lib.embeddings import vectors as of_texts
from repmatch_lib.experiments import transfer
from repmatch_lib.experiments.catalogue import parse
from repmatch_lib.experiments.requests import stages
from repmatch_lib.training.heads import frozen_model

Tiny = Callable[[str], rm.Encoder]
DRAWN = np.random.default_rng(0)


@pytest.mark.parametrize("bandwidth", [None, 0.7])
def test_mmd_is_the_double_loop(bandwidth: float | None) -> None:
    x, y = DRAWN.normal(size=(5, 3)), DRAWN.normal(1, size=(7, 3))
    rows = [*x, *y]
    apart = sorted(math.dist(rows[i], rows[j]) for i in range(12) for j in range(i))
    width = bandwidth or (apart[32] + apart[33]) / 2  # of 66 distances

    def k(a: np.ndarray, b: np.ndarray) -> float:
        return math.exp(-(math.dist(a, b) ** 2) / (2 * width**2))

    within = [
        sum(k(s[i], s[j]) for i in range(len(s)) for j in range(len(s)) if i != j) / (len(s) * (len(s) - 1))
        for s in (x, y)
    ]
    across = sum(k(a, b) for a in x for b in y) / (len(x) * len(y))
    assert rm.mmd(x, y, bandwidth) == pytest.approx(sum(within) - 2 * across)


def test_mmd_is_unbiased_and_does_not_look_at_order_or_place() -> None:
    pool = DRAWN.normal(size=(8, 2))
    halves = [(list(half), [k for k in range(8) if k not in half]) for half in combinations(range(8), 4)]
    found = [rm.mmd(pool[one], pool[other], 1.0) for one, other in halves]
    assert abs(np.mean(found)) < 1e-12 < -min(found)  # over all halves of one set, 0 in the mean
    x, y = pool[:3], pool[3:] + 2
    assert rm.mmd(x, y) == pytest.approx(rm.mmd(y[::-1] + 3, x + 3))
    assert rm.mmd(x, y + 10, 1.0) > rm.mmd(x, y, 1.0) > 0


@pytest.mark.parametrize("shapes", [((1, 2), (4, 2)), ((4, 2), (4, 3)), ((4,), (4,))])
def test_samples_that_cannot_be_compared_are_refused(shapes: tuple[tuple[int, ...], ...]) -> None:
    with pytest.raises(ValueError, match="give two rows or more"):
        rm.mmd(*map(np.ones, shapes))
    with pytest.raises(ValueError, match="above 0"):
        rm.mmd(np.ones((3, 2)), np.ones((3, 2)))


def test_linear_transfer_finds_what_the_source_s_head_knows() -> None:
    x, y = DRAWN.normal(size=(300, 6)), DRAWN.normal(size=(300, 6))
    labels = x[:, 0] > 0
    related = np.digitize(y[:, 0], (-0.43, 0.43))  # three even classes along the same direction
    other = (y[:, 3] > 0).astype(int)
    largest = np.bincount(related).max() / 300
    assert rm.linear_transfer(x, labels, y, related) > 0.85 - largest
    assert abs(rm.linear_transfer(x, labels, y, other)) < 0.1
    names = np.array(["low", "middle", "high"])[related]  # any set of classes
    assert rm.linear_transfer(x, labels, y, names) == pytest.approx(rm.linear_transfer(x, labels, y, related))


def by_hand(encoder: rm.Encoder, adapter: rm.Adapter, part: rm.Corpus, folder: Path) -> np.ndarray:
    """[CLS] vectors, text by text, of the model with its adapter beside the weights and not merged into them."""
    model = PeftModel.from_pretrained(frozen_model(encoder, "classification", 2), adapter.save(folder)).eval()
    tokenizer, found = encoder.tokenizer(), []
    for text in part.table["text"].to_pylist():
        with torch.no_grad():
            output = model(**tokenizer(text, return_tensors="pt"), output_hidden_states=True)
        found.append(output.hidden_states[-1][0, 0].numpy())
    return np.array(found, float)


def test_a_transfer_is_logistic_regression_on_the_adapted_encoder(
    tiny: Tiny, toy: rm.Corpus, own_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = tiny("bert")
    run = rm.Run(
        str(toy.task.file), encoder=str(encoder.folder), rank=2, lr=0.1, epochs=4, max_length=32, precision="float32"
    )
    labels = pa.array(np.random.default_rng(1).integers(0, 2, len(toy)))  # that are not all told right
    drawn = dataclasses.replace(toy, table=toy.table.set_column(toy.table.column_names.index("label"), "label", labels))
    parts = drawn.take(range(0, 24)), drawn.take(range(24, 40))
    seen, vectors = [], of_texts.vectors
    monkeypatch.setattr(transfer, "head_rows", lambda *_: parts)
    monkeypatch.setattr(of_texts, "vectors", lambda *a, **k: seen.append(vectors(*a, **k)) or seen[-1])
    request = rm.Transfer(run, to=("sst2",))
    assert parse(request.to_json()).id == request.id and stages([request])[0] == [run]
    found = request.make(progress=False)

    adapter = rm.adapter(run, progress=False)
    train, dev = (by_hand(encoder, adapter, part, tmp_path / "saved") for part in parts)
    centre, spread = train.mean(0), train.std(0)
    classes, true = (part.table["label"].to_numpy() for part in parts)
    guessed = LogisticRegression(max_iter=1000).fit((train - centre) / spread, classes).predict((dev - centre) / spread)
    assert found.accuracy == {"sst2": pytest.approx((guessed == true).mean())}
    assert np.allclose(seen[0], np.vstack([train, dev]), atol=1e-4)
    assert not np.allclose(seen[0][:24], vectors(encoder, parts[0], max_length=32, progress=False), atol=1e-2)

    monkeypatch.setattr(transfer, "refit_head", None)  # what the store has is not made again
    assert request.make(progress=False) == found
    assert len(list((own_store / "transfers").glob("[!.]*"))) == 1
    with pytest.raises(TypeError):
        rm.Transfer(run, to=("sst2",), pooling="mean").make(progress=False)


def test_heads_have_rows_of_their_own() -> None:
    train, dev = rm.head_rows("sst2", "mini", 10, 8)
    more, _ = rm.head_rows("sst2", "mini", 20, 8)
    assert (train.split, dev.split, len(train), len(dev)) == ("train", "validation", 10, 8)
    assert more.table["text"].to_pylist()[:10] == train.table["text"].to_pylist()
    assert not set(train.table["text"].to_pylist()) & set(dev.table["text"].to_pylist())


@pytest.mark.parametrize(("to", "reason"), [("stsb", "no classes"), ("squad", "no classes"), ("hans", "one file")])
def test_tasks_that_no_head_can_be_refitted_on_are_refused(to: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        rm.Transfer(rm.Run("sst2"), to=("snli", to))


def test_a_user_s_one_file_is_refused(toy: rm.Corpus) -> None:
    with pytest.raises(ValueError, match="one file"):
        rm.Transfer(rm.Run("sst2"), to=(str(toy.task.file),))
    with pytest.raises(ValueError, match="to"):
        rm.Transfer(rm.Run("sst2"), to=())


def test_figures_show_what_they_were_given() -> None:
    gains = pd.DataFrame([[np.nan, 1.25], [-3.0, np.nan]], ["a", "b"], ["a", "b"])
    texts = [text.get_text() for text in rm.gain_maps({"recorded": gains, "this build": gains}).axes[0].texts]
    assert texts == ["+1.2", "-3.0"]
    points = pd.DataFrame({"x": [0.1, 0.5], "gain": [-3, 1.25], "target": ["a", "a"], "same_kind": [False, True]})
    hollow, filled, *_ = rm.gain_points({"recorded": points}).axes[0].collections
    assert not len(hollow.get_facecolors()) and len(filled.get_facecolors()) == 1
    assert hollow.get_offsets().tolist() == [[0.1, -3]] and to_rgba("white") != tuple(filled.get_facecolors()[0])
