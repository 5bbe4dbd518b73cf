"""Transfer against PEFT and scikit-learn by another way."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from helpers import Tiny
from peft import PeftModel
from sklearn.linear_model import LogisticRegression

import repmatch_lib as rm
from repmatch_lib.embeddings import vectors
from repmatch_lib.experiments import transfer
from repmatch_lib.experiments.catalogue import parse
from repmatch_lib.experiments.requests import stages
from repmatch_lib.training.heads import frozen_model


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
    seen, original = [], vectors.vectors
    monkeypatch.setattr(transfer, "head_rows", lambda *_: parts)
    monkeypatch.setattr(vectors, "vectors", lambda *a, **k: seen.append(original(*a, **k)) or seen[-1])
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
    assert not np.allclose(seen[0][:24], original(encoder, parts[0], max_length=32, progress=False), atol=1e-2)

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
