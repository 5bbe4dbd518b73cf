"""What an encoder's input embeddings know of words: analogies, and the intruder among words of one kind.

The book's chapter on what a space of vectors looks like introduces both tests.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from itertools import permutations
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from repmatch_lib.embeddings.quality import unit
from repmatch_lib.paths import project_file
from repmatch_lib.training.encoders import Encoder
from repmatch_lib.training.heads import frozen_model


@cache
def word_lists() -> dict[str, Any]:
    """``relations``: by name, pairs of words one after the other; ``kinds``: words of two neighbouring kinds a line."""
    return json.loads(project_file("data/words.json").read_text())


def analogy_questions() -> list[tuple[str, str, str, str]]:
    """ "a is to b as c is to d", with d the answer: every two pairs of one relation, in both orders."""
    pairs = [
        list(zip(words[::2], words[1::2], strict=True)) for words in map(str.split, word_lists()["relations"].values())
    ]
    return [(*first, *second) for relation in pairs for first, second in permutations(relation, 2)]


def intruder_questions(size: int = 4, seed: int = 0) -> list[tuple[str, ...]]:
    """``size`` words of one kind, drawn with ``seed``, and last one of its neighbouring kind: each word once."""
    random, questions = np.random.default_rng(seed), []
    for one, other in word_lists()["kinds"]:
        for group, outsiders in ((one, other), (other, one)):
            for word in outsiders.split():
                questions.append((*map(str, random.choice(group.split(), size, replace=False)), word))
    return questions


def token_embeddings(encoder: Encoder) -> tuple[Tensor, dict[str, int]]:
    """The input embeddings of an encoder, and the row of each token.

    Returns
    -------
    Tensor, float32, shape (tokens, width)
    dict of str to int
        The tokenizer's vocabulary.
    """
    model = frozen_model(encoder, "regression", 1)
    return model.get_input_embeddings().get_parameter("weight").detach().clone(), encoder.tokenizer().get_vocab()


def token_rows(questions: Sequence[Sequence[str]], vocabulary: dict[str, int]) -> np.ndarray:
    """Questions as rows of the embeddings; those with a word of several tokens are left out.

    Parameters
    ----------
    questions : sequence of equally many words each
    vocabulary : dict of str to int
        From `token_embeddings`.

    Returns
    -------
    ndarray, int, shape (questions that are left, words)

    Raises
    ------
    ValueError
        If none is left.
    """
    # Some tokenizers mark the start of a word.
    rows = [[next((vocabulary[m + w] for m in "▁Ġ" if m + w in vocabulary), vocabulary.get(w)) for w in words]
            for words in questions]  # fmt: skip
    if not (kept := [row for row in rows if None not in row]):
        raise ValueError("every question has a word of several tokens: give words of this encoder's vocabulary")
    return np.array(kept)


def analogies(embeddings: Tensor, questions: np.ndarray) -> np.ndarray:
    """Whether ``b - a + c`` points to ``d`` (3CosAdd: Mikolov et al., 2013; Levy & Goldberg, 2014).

    Parameters
    ----------
    embeddings : Tensor, shape (tokens, width)
        All tokens are candidates but a, b and c.
    questions : ndarray, int, shape (questions, 4)
        Rows of a, b, c and d.

    Returns
    -------
    ndarray of bool, shape (questions,)
        Their mean is the accuracy, from 0 to 1; by chance one in the number of tokens.
    """
    words = normalize(embeddings.double(), dim=1)  # (tokens, width); that of padding may be zero, and stays so
    a, b, c, d = torch.from_numpy(np.asarray(questions)).T
    cosines = (words[b] - words[a] + words[c]) @ words.T  # (questions, tokens), up to a factor a question
    for given in (a, b, c):
        cosines[torch.arange(len(d)), given] = -torch.inf
    return (cosines.argmax(1) == d).numpy()


def intruders(embeddings: Tensor, questions: np.ndarray) -> np.ndarray:
    """Whether the intruder is the word with the lowest mean cosine to the rest (Schnabel et al., 2015).

    Parameters
    ----------
    embeddings : Tensor, shape (tokens, width)
    questions : ndarray, int, shape (questions, words)
        Rows; the intruder is the last.

    Returns
    -------
    ndarray of bool, shape (questions,)
        Their mean is the accuracy, from 0 to 1; by chance one in the number of words.
    """
    words = unit(embeddings[np.asarray(questions)].flatten(0, 1)).unflatten(0, np.shape(questions))
    cosines = (words @ words.mT).sum(2)  # (questions, words); each with itself adds one to all
    return (cosines.argmin(1) == cosines.shape[1] - 1).numpy()


def word_tests(encoder: Encoder) -> dict[str, np.ndarray]:
    """Both tests of an encoder's input embeddings: ``"analogies"`` and ``"intruders"``, whether each is answered right.

    Questions with a word that is no single token of this encoder are left out; see `analogies`, `intruders`.
    """
    embeddings, vocabulary = token_embeddings(encoder)
    return {
        "analogies": analogies(embeddings, token_rows(analogy_questions(), vocabulary)),
        "intruders": intruders(embeddings, token_rows(intruder_questions(), vocabulary)),
    }
