"""Token sequences of a corpus, in length-bucketed batches under a token budget."""

from __future__ import annotations

import itertools
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from repmatch_lib.data.corpora import Corpus

if TYPE_CHECKING:
    from transformers import BatchEncoding, PreTrainedTokenizerBase

Result = TypeVar("Result")

# Batches are cut from this many, sorted by length: near-equal lengths in a batch, and still a shuffled order.
POOL = 50

CHUNK = 4096  # rows tokenised at once


@dataclass(frozen=True)
class Encoded:
    """A corpus as the model reads it: unpadded sequences and targets, one a row, in the corpus' order.

    Attributes
    ----------
    tokens : dict of str to ndarray, shape (all tokens,)
        The tokenizer's columns, the rows end to end: some bytes a token, however many rows there are.
    starts : ndarray, shape (rows + 1,)
        Where each row begins.
    """

    tokens: dict[str, np.ndarray]
    starts: np.ndarray
    targets: dict[str, Tensor]
    padding: dict[str, int]

    def __len__(self) -> int:
        return len(self.starts) - 1

    @cached_property
    def lengths(self) -> np.ndarray:
        """Tokens of each row."""
        return np.diff(self.starts)

    def probe(self) -> np.ndarray:
        """The shortest, the middle and the longest row: where padding and texts of one token may go wrong."""
        order = np.argsort(self.lengths, kind="stable")
        return order[np.linspace(0, len(order) - 1, 3).astype(int)]

    def collate(self, rows: Sequence[int] | np.ndarray, device: torch.device | str = "cpu") -> dict[str, Tensor]:
        """One padded batch with its targets, ready for ``model(**batch)``."""
        rows = np.asarray(rows)
        offsets = np.arange(self.lengths[rows].max())
        real = offsets < self.lengths[rows][:, None]  # (rows, longest)
        places = np.where(real, self.starts[rows][:, None] + offsets, 0)
        batch = {
            name: torch.from_numpy(np.where(real, flat[places], self.padding.get(name, 0)).astype(np.int64))
            for name, flat in self.tokens.items()
        }
        batch |= {name: target[torch.from_numpy(rows)] for name, target in self.targets.items()}
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
    table, kind = corpus.table, corpus.task.kind
    chunks, spans = [], []
    for start in range(0, len(table), CHUNK):
        piece = table.slice(start, CHUNK)
        if kind == "span":
            sequences, positions = _encode_spans(tokenizer, piece, max_length)
            spans += positions
        else:
            texts = [piece[c].to_pylist() for c in ("text", "text_pair") if c in piece.column_names]
            sequences = dict(tokenizer(*texts, truncation=True, max_length=max_length))
        flat = {name: np.fromiter(itertools.chain.from_iterable(rows), np.int32) for name, rows in sequences.items()}
        chunks.append(([len(ids) for ids in sequences["input_ids"]], flat))
    if kind == "span":
        first, last = (torch.tensor(column) for column in zip(*spans, strict=True))
        targets = {"start_positions": first, "end_positions": last}
    else:
        dtype = torch.long if kind == "classification" else torch.float32
        targets = {"labels": torch.tensor(table["label"].to_pylist(), dtype=dtype)}
    lengths = np.concatenate([lengths for lengths, _ in chunks])
    tokens = {name: np.concatenate([flat[name] for _, flat in chunks]) for name in chunks[0][1]}
    return Encoded(tokens, np.concatenate([[0], lengths.cumsum()]), targets, {"input_ids": tokenizer.pad_token_id})


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


def within_memory(
    rows: np.ndarray, lengths: np.ndarray, tokens: int, compute: Callable[[np.ndarray], Result]
) -> Iterator[tuple[np.ndarray, Result]]:
    """Compute rows, sorted by length, in pieces; after an out-of-memory go on with pieces of half the size.

    Raises
    ------
    MemoryError
        If a row does not fit even alone.
    """
    pieces = deque(within_budget(rows, lengths, tokens))
    while pieces:
        piece = pieces.popleft()
        result = None
        try:
            result = compute(piece)
        except (RuntimeError, MemoryError) as error:
            if not _out_of_memory(error):
                raise
            if len(piece) == 1:
                raise MemoryError(
                    f"row {piece[0]} of {lengths[piece[0]]} tokens does not fit into memory even alone: lower "
                    "max_length, or use a smaller encoder or a larger device"
                ) from error
        if result is None:  # outside of the handler, which holds on to the failed pass' tensors
            tokens = max(1, len(piece) // 2) * int(lengths[piece].max())
            pieces = deque(within_budget(np.concatenate([piece, *pieces]), lengths, tokens))
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        else:
            yield piece, result


def _out_of_memory(error: Exception) -> bool:
    texts = ("out of memory", "not enough memory", "can't allocate memory")
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(t in str(error).lower() for t in texts)


def question_windows(tokenizer: PreTrainedTokenizerBase, table: pa.Table, max_length: int) -> BatchEncoding:
    """Questions with their contexts, an overlong context in overlapping windows.

    Returns
    -------
    BatchEncoding
        One entry a window, with ``offset_mapping`` (characters of each token) and ``overflow_to_sample_mapping`` (the
        window's row).
    """
    questions, contexts = table["text"].to_pylist(), table["text_pair"].to_pylist()
    half, stride = max_length // 2, max(0, max_length // 4 - 4)  # so that every window advances
    cut = tokenizer(questions, truncation=True, max_length=half, add_special_tokens=False, return_offsets_mapping=True)
    ends = [offsets[-1][1] if offsets else 0 for offsets in cut["offset_mapping"]]
    questions = [question[:end] for question, end in zip(questions, ends, strict=True)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return tokenizer(
            questions, contexts, truncation="only_second", max_length=max_length, stride=stride,
            return_overflowing_tokens=True, return_offsets_mapping=True,
        )  # fmt: skip


def _encode_spans(
    tokenizer: PreTrainedTokenizerBase, table: pa.Table, max_length: int
) -> tuple[dict[str, list[list[int]]], list[tuple[int, int]]]:
    """Questions and contexts; of an overlong context the first window that holds the whole answer.

    A row whose answer fits no window points at the first token, as unanswerable questions do.
    """
    windows = question_windows(tokenizer, table, max_length)
    answers, starts = table["label"].to_pylist(), table["answer_start"].to_pylist()
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
    return sequences, [(first, last) for _, first, last in order]
