"""How well a fine-tuned model does on a development set: accuracy, rank correlation, or F1 of the answers' words.

Section 5.3; the book's chapter on the best hundred.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from torch import Tensor, nn

from repmatch_lib.data.corpora import Corpus
from repmatch_lib.settings import Precision
from repmatch_lib.training.batching import encode, question_windows, within_memory
from repmatch_lib.training.devices import token_budget

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Answers = Sequence[Any] | NDArray[Any]

LONGEST_ANSWER = 30  # tokens

ARTICLES = re.compile(r"\b(a|an|the)\b")

PUNCTUATION = str.maketrans("", "", string.punctuation)


def evaluate(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    data: Corpus,
    *,
    max_length: int = 256,
    tokens: int | None = None,
    precision: Precision = "float32",
) -> float:
    """The task's own measure on a development set.

    Parameters
    ----------
    model : Module
        With a head for the task; evaluated without dropout.
    tokenizer : PreTrainedTokenizerBase
    data : Corpus
    max_length : int
        Longest sequence in tokens. Longer texts are cut; longer contexts of a question are read in windows.
    tokens : int, optional
        Padded tokens in one pass; what suits the device if not given.
    precision : {"float32", "bf16"}

    Returns
    -------
    float
        Accuracy or F1 from 0 to 1 (the best over the answers that the corpus holds), or Spearman's rank correlation.
    """
    answers = predictions(model, tokenizer, data, max_length=max_length, tokens=tokens, precision=precision)
    return evaluated(answers, data)


def evaluated(answers: Answers, data: Corpus) -> float:
    """The task's own measure of `predictions`; see `evaluate`. One score for all rows has no ranks, and gets 0."""
    if data.task.kind == "regression":
        return float(spearmanr(answers, data.table["label"].to_numpy()).statistic) if len(set(answers)) > 1 else 0.0
    return float(row_scores(answers, data).mean())


@torch.no_grad()
def predictions(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    data: Corpus,
    *,
    max_length: int = 256,
    tokens: int | None = None,
    precision: Precision = "float32",
) -> Answers:
    """A model's answer to every row, without dropout: a class number, a score, or words of the context."""
    training = model.training
    model.eval()
    try:
        run = Forward(model, tokens, precision)
        if data.task.kind == "span":
            return _read_answers(run, tokenizer, data, max_length)
        logits = _logits(run, tokenizer, data, max_length)
    finally:
        model.train(training)
    return logits[:, 0] if data.task.kind == "regression" else logits.argmax(1)


def row_scores(answers: Answers, data: Corpus) -> NDArray[np.float64]:
    """How right each answer is, from 0 to 1: whether it is the row's class, or the best F1 over the row's answers."""
    if data.task.kind == "span":
        truths = data.table["answers"].to_pylist()
        return np.array([max(answer_f1(a, t) for t in ts) for a, ts in zip(answers, truths, strict=True)])
    return (np.asarray(answers) == data.table["label"].to_numpy()).astype(float)


class Forward:
    """A model's outputs for many sequences, in batches of similar length."""

    def __init__(self, model: nn.Module, tokens: int | None, precision: Precision) -> None:
        self.model, self.precision = model, precision
        self.device = next(model.parameters()).device
        self.tokens = tokens or token_budget("evaluation", self.device.type)

    def __call__(
        self, lengths: np.ndarray, collate: Callable[[np.ndarray], dict[str, Tensor]], names: tuple[str, ...]
    ) -> list[tuple[np.ndarray, list[Tensor]]]:
        """Rows of each batch with the outputs that are asked for."""

        def compute(rows: np.ndarray) -> list[Tensor]:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
                out = self.model(**{name: x.to(self.device) for name, x in collate(rows).items()})
            return [out[name].float().cpu() for name in names]

        return list(within_memory(np.argsort(lengths, kind="stable"), lengths, self.tokens, compute))


def answer_f1(found: str, truth: str) -> float:
    """F1 of two answers' words: case, punctuation and articles do not count (SQuAD's measure)."""
    found_words, true_words = _words(found), _words(truth)
    if not found_words or not true_words:
        return float(found_words == true_words)
    shared = sum((Counter(found_words) & Counter(true_words)).values())
    return 2 * shared / (len(found_words) + len(true_words))


def best_span(start: Tensor, end: Tensor, allowed: Tensor, longest: int = LONGEST_ANSWER) -> tuple[float, int, int]:
    """The best-scoring span of allowed tokens.

    Parameters
    ----------
    start, end : Tensor, shape (T,)
        Logits.
    allowed : Tensor of bool, shape (T,)
        Tokens of the context.
    longest : int
        In tokens.

    Returns
    -------
    score, first, last
    """
    barred = torch.where(allowed, 0.0, -torch.inf)
    scores = (start + barred)[:, None] + (end + barred)[None, :]
    possible = torch.ones_like(scores, dtype=torch.bool).triu().tril(longest - 1)
    scores = scores.masked_fill(~possible, -torch.inf)
    place = int(scores.argmax())
    return float(scores.max()), *divmod(place, len(start))


def _logits(run: Forward, tokenizer: PreTrainedTokenizerBase, data: Corpus, max_length: int) -> np.ndarray:
    encoded = encode(tokenizer, data, max_length)

    def collate(rows: np.ndarray) -> dict[str, Tensor]:
        return {name: x for name, x in encoded.collate(rows).items() if name not in encoded.targets}

    outputs = np.empty((len(encoded), data.task.outputs))
    for rows, (logits,) in run(encoded.lengths, collate, ("logits",)):
        outputs[rows] = logits.numpy()
    return outputs


def _read_answers(run: Forward, tokenizer: PreTrainedTokenizerBase, data: Corpus, max_length: int) -> list[str]:
    """The best span over all windows of each row's context, as text."""
    windows = question_windows(tokenizer, data.table, max_length)
    owners, contexts = windows.pop("overflow_to_sample_mapping"), data.table["text_pair"].to_pylist()
    lengths = np.array([len(ids) for ids in windows["input_ids"]])
    names = [name for name in windows if name != "offset_mapping"]

    def collate(rows: np.ndarray) -> dict[str, Tensor]:
        chosen = {name: [windows[name][int(w)] for w in rows] for name in names}
        return dict(tokenizer.pad(chosen, return_tensors="pt", padding_side="right"))

    best: dict[int, tuple[float, str]] = {}
    for rows, (starts, ends) in run(lengths, collate, ("start_logits", "end_logits")):
        for w, start, end in zip(rows.tolist(), starts, ends, strict=True):
            allowed = torch.tensor([part == 1 for part in windows.sequence_ids(w)])
            score, first, last = best_span(start[: lengths[w]], end[: lengths[w]], allowed)
            offsets, row = windows["offset_mapping"][w], owners[w]
            if row not in best or score > best[row][0]:
                best[row] = score, contexts[row][offsets[first][0] : offsets[last][1]]
    return [best[row][1] for row in range(len(data))]


def _words(text: str) -> list[str]:
    return ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split()
