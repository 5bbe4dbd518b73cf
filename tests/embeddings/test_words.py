"""Analogies and intruders by hand, and that every question can be asked."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import repmatch_lib as rm
from repmatch_lib.embeddings import words


def test_analogies_and_intruders_by_hand() -> None:
    #                      man, woman,  king, queen, noise; then padding, which has no direction
    table = torch.tensor([[1.0, 0, 1], [1, 1, 1], [5, 0, 1], [5, 4, 1], [-1, -1, 0.5], [0, 0, 0]])
    assert rm.analogies(table, np.array([[0, 1, 2, 3], [0, 1, 2, 4]])).tolist() == [True, False]
    assert rm.analogies(table, np.array([[0, 0, 2, 2]])).tolist() == [False]  # a given word is no answer
    assert rm.intruders(table, np.array([[0, 1, 3, 4], [0, 1, 4, 3]])).tolist() == [True, False]
    assert rm.intruders(table[:5] * torch.arange(1.0, 6)[:, None], np.array([[0, 1, 3, 4]])).tolist() == [True]


def test_questions_are_distinct_and_have_their_words_once() -> None:
    asked = rm.analogy_questions()
    assert len(set(asked)) == len(asked) == sum(n * (n - 1) for n in (8, 8, 8, 8, 8, 8, 7))
    found = rm.intruder_questions()
    assert len({q[-1] for q in found}) == len(found) and all(len(set(q)) == 5 for q in found)
    kind = {
        word: (k, half)
        for k, pair in enumerate(words.word_lists()["kinds"])
        for half in (0, 1)
        for word in pair[half].split()
    }
    for *group, intruder in found:
        assert len({kind[word] for word in group}) == 1
        (own,) = {kind[word] for word in group}
        assert kind[intruder] == (own[0], 1 - own[1])
    assert found == rm.intruder_questions() != rm.intruder_questions(seed=1)


def test_every_word_is_a_token_of_the_default_encoder() -> None:
    vocabulary = rm.encoder("minilm").tokenizer().get_vocab()
    for asked in (rm.analogy_questions(), rm.intruder_questions()):
        rows = rm.token_rows(asked, vocabulary)
        assert len(rows) == len(asked) and rows.shape[1] == len(asked[0])


def test_words_of_several_tokens_are_left_out_and_marked_ones_found() -> None:
    assert rm.token_rows([("cat", "dog"), ("cat", "ox")], {"▁cat": 3, "cat": 8, "dog": 1}).tolist() == [[3, 1]]
    with pytest.raises(ValueError, match="every question has a word of several tokens"):
        rm.token_rows([("cat", "ox")], {"cat": 1})
