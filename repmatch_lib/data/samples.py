"""Rows of a corpus in another number or another form: at most so many, one text of each pair, single texts in pairs.

For the book's chapters beside table 2: the [CLS] baseline, spaces of vectors, SemDeDup.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np
import pyarrow as pa

from repmatch_lib.data.corpora import Corpus, SourceName, load
from repmatch_lib.data.tasks import Task


def load_at_most(
    task: Task, split: str = "train", source: SourceName = "auto", most: int | None = None, seed: int = 0
) -> Corpus:
    """As `load`, in random order in any case: ``most`` rows, or all there are where they are fewer or none is given."""
    rows = len(load(task, split, source))
    return load(task, split, source, rows=min(most or rows, rows), seed=seed)


def rest_of(data: Corpus, source: SourceName = "auto", most: int | None = None) -> Corpus | None:
    """Rows of a task's training file that a sample of it left out, in random order, ``most`` at most; None if none."""
    whole = load(data.task, source=source)
    taken = {*data.table["id"].to_pylist()}
    free = [row for row, number in enumerate(whole.table["id"].to_pylist()) if number not in taken]
    return whole.take(np.random.default_rng(0).permutation(free)[:most]) if free else None


def is_pair(data: Corpus) -> bool:
    """Whether a row has two texts."""
    return "text_pair" in data.table.column_names


def single_texts(data: Corpus, column: Literal["text", "text_pair"] = "text") -> Corpus:
    """The first or the second text of every pair, as single texts."""
    other = "text_pair" if column == "text" else "text"
    return dataclasses.replace(data, table=data.table.drop_columns(other).rename_columns({column: "text"}))


def in_pairs(data: Corpus) -> Corpus:
    """Each text with that of the next row, the last with the first: single texts in the form of pairs."""
    texts = data.table["text"].to_pylist()
    return dataclasses.replace(data, table=data.table.append_column("text_pair", pa.array(texts[1:] + texts[:1])))


def with_other_labels(data: Corpus) -> Corpus:
    """The same texts, each with the next label."""
    turned = pa.array([(label + 1) % data.task.outputs for label in data.table["label"].to_pylist()])
    table = data.table.set_column(data.table.column_names.index("label"), "label", turned)
    return dataclasses.replace(data, table=table)
