"""Batches by length, and the targets of spans."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from helpers import WORDS, Tiny
from hypothesis import given, settings, strategies as st

import repmatch_lib as rm
from repmatch_lib.training.batching import encode, shuffled_batches, within_budget

lengths_of_rows = st.lists(st.integers(1, 60), min_size=1, max_size=300).map(np.array)
property_test = settings(max_examples=40, deadline=None)


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
