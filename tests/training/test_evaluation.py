"""Measures against scikit-learn, scipy and cases by hand; answers against a search through every span."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from helpers import Tiny
from scipy.stats import spearmanr
from sklearn.metrics import accuracy_score

import repmatch_lib as rm
from repmatch_lib.training.evaluation import best_span
from repmatch_lib.training.heads import frozen_model


@pytest.mark.parametrize(
    ("found", "truth", "expected"),
    [
        ("the Eiffel Tower", "Eiffel tower", 1.0),
        ("in Paris, France", "Paris", 0.5),  # 1 of 3 words right, 1 of 1 found
        ("Rome", "Paris", 0.0),
        ("a dog a dog", "dog", 2 / 3),  # a word counts as often as both have it
        ("", "Paris", 0.0),
        ("the", "a", 1.0),  # nothing is left of either
        ("state-of-the-art", "stateoftheart", 1.0),
    ],
)
def test_answers_by_hand(found: str, truth: str, expected: float) -> None:
    assert rm.answer_f1(found, truth) == pytest.approx(expected)


def test_the_best_span_is_the_best_of_all() -> None:
    random = torch.Generator().manual_seed(0)
    for longest in (1, 3, 20):
        start, end = torch.randn(2, 12, generator=random)
        allowed = torch.rand(12, generator=random) < 0.7
        spans = [
            (float(start[i] + end[j]), i, j)
            for i, j in itertools.product(range(12), repeat=2)
            if i <= j < i + longest and allowed[i] and allowed[j]
        ]
        score, first, last = best_span(start, end, allowed, longest)
        assert (first, last) == max(spans)[1:] and score == pytest.approx(max(spans)[0])


def one_at_a_time(model: torch.nn.Module, tokenizer: object, corpus: rm.Corpus) -> np.ndarray:
    texts = [corpus.table[c].to_pylist() for c in ("text", "text_pair") if c in corpus.table.column_names]
    with torch.no_grad():
        rows = [model(**tokenizer(*row, return_tensors="pt")).logits[0].numpy() for row in zip(*texts, strict=True)]
    return np.array(rows)


@pytest.mark.parametrize("family", ["bert", "electra", "llama"])
def test_accuracy_is_that_of_one_row_at_a_time(tiny: Tiny, toy: rm.Corpus, family: str) -> None:
    encoder = tiny(family)
    model, tokenizer = frozen_model(encoder, "classification", 2, 3).eval(), encoder.tokenizer()
    logits = one_at_a_time(model, tokenizer, toy)
    expected = accuracy_score(toy.table["label"].to_pylist(), logits.argmax(1))
    for tokens in (16, 4096):
        assert rm.evaluate(model, tokenizer, toy, max_length=32, tokens=tokens) == pytest.approx(expected)


def test_scores_are_ranked_and_dropout_is_off(tiny: Tiny, toy: rm.Corpus, tmp_path: Path) -> None:
    table = pa.table({"text": toy.table["text"], "label": np.random.default_rng(0).random(len(toy))})
    pq.write_table(table, tmp_path / "scored.parquet")
    data = rm.load(rm.Task.from_file(tmp_path / "scored.parquet", kind="regression"))
    encoder = tiny("bert")
    model = frozen_model(encoder, "regression", 1)
    model.eval()
    logits = one_at_a_time(model, encoder.tokenizer(), data)[:, 0]
    model.train()
    found = rm.evaluate(model, encoder.tokenizer(), data, max_length=32)
    assert found == pytest.approx(spearmanr(logits, data.table["label"].to_pylist()).statistic, abs=1e-6)
    assert model.training


class Reader(torch.nn.Module):
    """Points at a token wherever it stands."""

    def __init__(self, first: int, last: int) -> None:
        super().__init__()
        self.first, self.last, self.one = first, last, torch.nn.Parameter(torch.ones(1))

    def forward(self, input_ids: torch.Tensor, **_: object) -> dict[str, torch.Tensor]:
        return {
            "start_logits": (input_ids == self.first).float() * self.one,
            "end_logits": (input_ids == self.last).float() * self.one,
        }


@pytest.mark.parametrize("max_length", [20, 64])
def test_an_answer_is_found_in_whatever_window_it_is(tiny: Tiny, tmp_path: Path, max_length: int) -> None:
    """In a context of many windows, the question's own words are no answer."""
    context = " ".join([f"w{k}" for k in range(40)]) + " poor plot " + " ".join([f"w{k}" for k in range(40, 55)])
    rows = {
        "text": ["who wrote the poor plot", "was it w3"],
        "text_pair": [context, context],
        "label": ["poor plot", "w3"],
        "answer_start": [context.index("poor plot"), context.index("w3")],
    }
    pq.write_table(pa.table(rows), tmp_path / "asked.parquet")
    task = rm.Task.from_file(tmp_path / "asked.parquet", ("text", "text_pair"), kind="span")
    data, tokenizer = rm.load(task), tiny("bert").tokenizer()
    ids = tokenizer.convert_tokens_to_ids(["poor", "plot"])
    # The second question is answered wrongly, with the same two words: half of the rows are right.
    assert rm.evaluate(Reader(*ids), tokenizer, data, max_length=max_length, tokens=64) == pytest.approx(0.5)


def test_the_best_of_several_answers_counts(tiny: Tiny, tmp_path: Path) -> None:
    rows = {
        "text": ["who wrote it"],
        "text_pair": ["the good film was fine"],
        "label": [["the good film", "good film"]],
        "answer_start": [[0, 4]],
    }
    pq.write_table(pa.table(rows), tmp_path / "asked.parquet")
    data = rm.load(rm.Task.from_file(tmp_path / "asked.parquet", ("text", "text_pair"), kind="span"))
    tokenizer = tiny("bert").tokenizer()
    reader = Reader(*tokenizer.convert_tokens_to_ids(["film", "film"]))
    # "film" against "good film" (the article does not count in either): F1 of 2/3.
    assert rm.evaluate(reader, tokenizer, data) == pytest.approx(2 / 3)
