"""Token sequences of a corpus, in length-bucketed batches under a token budget."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from repmatch_lib.corpora import Corpus

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Batches are cut from this many, sorted by length: near-equal lengths in a batch, and still a shuffled order.
POOL = 50


@dataclass(frozen=True)
class Encoded:
    """A corpus as the model reads it: unpadded sequences and targets, one a row, in the corpus' order."""

    sequences: dict[str, list[list[int]]]
    targets: dict[str, Tensor]
    padding: dict[str, int]

    def __len__(self) -> int:
        return len(self.sequences["input_ids"])

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each row."""
        return np.array([len(ids) for ids in self.sequences["input_ids"]])

    def collate(self, rows: Sequence[int], device: torch.device | str = "cpu") -> dict[str, Tensor]:
        """One padded batch with its targets, ready for ``model(**batch)``."""
        longest = max(len(self.sequences["input_ids"][row]) for row in rows)
        batch = {
            name: torch.tensor(
                [sequences[row] + [self.padding.get(name, 0)] * (longest - len(sequences[row])) for row in rows]
            )
            for name, sequences in self.sequences.items()
        }
        index = torch.as_tensor(rows)
        batch |= {name: target[index] for name, target in self.targets.items()}
        return {name: tensor.to(device) for name, tensor in batch.items()}


def encode(tokenizer: PreTrainedTokenizerBase, corpus: Corpus, max_length: int) -> Encoded:
    """Tokenise a corpus.

    Parameters
    ----------
    tokenizer : PreTrainedTokenizerBase
    corpus : Corpus
    max_length : int
        Longest sequence in tokens; longer texts are cut at the end. A span row keeps the window of its context
        that holds the answer, and at most half of the length for its question.

    Returns
    -------
    Encoded
        With ``labels``, or ``start_positions`` and ``end_positions``, as targets.
    """
    table = corpus.table
    texts = [table[c].to_pylist() for c in ("text", "text_pair") if c in table.column_names]
    padding = {"input_ids": tokenizer.pad_token_id}
    if corpus.task.kind == "span":
        sequences, targets = _encode_spans(tokenizer, corpus, max_length)
    else:
        sequences = dict(tokenizer(*texts, truncation=True, max_length=max_length))
        dtype = torch.long if corpus.task.kind == "classification" else torch.float32
        targets = {"labels": torch.tensor(table["label"].to_pylist(), dtype=dtype)}
    return Encoded(sequences, targets, padding)


def shuffled_batches(lengths: np.ndarray, size: int, seed: int, epoch: int) -> list[np.ndarray]:
    """Rows of each batch of one epoch: shuffled, sorted by length within pools, batches shuffled again.

    Parameters
    ----------
    lengths : ndarray, shape (rows,)
    size : int
        Rows a batch; the last one may be smaller.
    seed, epoch : int
        Give the order.
    """
    random = np.random.default_rng([seed, epoch])
    order = random.permutation(len(lengths))
    batches = []
    for pool in np.split(order, range(size * POOL, len(order), size * POOL)):
        pool = pool[np.argsort(lengths[pool], kind="stable")]
        batches += np.split(pool, range(size, len(pool), size))
    return [batches[k] for k in random.permutation(len(batches))]


def within_budget(rows: np.ndarray, lengths: np.ndarray, tokens: int) -> Iterator[np.ndarray]:
    """Cut rows, sorted by length, into pieces of at most ``tokens`` padded tokens (and at least one row)."""
    start = 0
    for stop in range(1, len(rows) + 1):
        if stop - start > 1 and (stop - start) * lengths[rows[stop - 1]] > tokens:
            yield rows[start : stop - 1]
            start = stop - 1
    yield rows[start:]


def _encode_spans(
    tokenizer: PreTrainedTokenizerBase, corpus: Corpus, max_length: int
) -> tuple[dict[str, list[Any]], dict[str, Tensor]]:
    """Questions and contexts; of an overlong context the first window that holds the whole answer.

    A row whose answer fits no window points at the first token, as unanswerable questions do.
    """
    table = corpus.table
    questions, contexts, answers, starts = (
        table[c].to_pylist() for c in ("text", "text_pair", "label", "answer_start")
    )
    half, stride = max_length // 2, max(0, max_length // 4 - 4)  # so that every window advances
    cut = tokenizer(questions, truncation=True, max_length=half, add_special_tokens=False, return_offsets_mapping=True)
    questions = [q[: offsets[-1][1]] for q, offsets in zip(questions, cut["offset_mapping"], strict=True)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        windows = tokenizer(
            questions, contexts, truncation="only_second", max_length=max_length, stride=stride,
            return_overflowing_tokens=True, return_offsets_mapping=True,
        )  # fmt: skip
    chosen: dict[int, tuple[int, int, int]] = {}
    for w, row in enumerate(windows["overflow_to_sample_mapping"]):
        if chosen.get(row, (0, 0, 0))[1:] != (0, 0):
            continue
        first, last = starts[row], starts[row] + len(answers[row]) - 1
        inside = [
            t
            for t, ((a, b), part) in enumerate(
                zip(windows["offset_mapping"][w], windows.sequence_ids(w), strict=True)
            )
            if part == 1 and a <= last and b > first
        ]  # fmt: skip
        whole = inside and windows["offset_mapping"][w][inside[0]][0] <= first
        whole = whole and windows["offset_mapping"][w][inside[-1]][1] > last
        span = (inside[0], inside[-1]) if whole else (0, 0)
        if whole or row not in chosen:
            chosen[row] = (w, *span)
    order = [chosen[row] for row in range(len(table))]
    names = [n for n in windows if n not in ("overflow_to_sample_mapping", "offset_mapping")]
    sequences = {name: [windows[name][w] for w, _, _ in order] for name in names}
    targets = {
        "start_positions": torch.tensor([start for _, start, _ in order]),
        "end_positions": torch.tensor([end for _, _, end in order]),
    }
    return sequences, targets
