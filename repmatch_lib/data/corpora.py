"""Rows of a task, from the bundle, a local folder, the hub or a user's file; checked, and fingerprinted.

The book's page on your own data goes through a file's way into rows.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from repmatch_lib.data.files import read_table
from repmatch_lib.data.rows import check_classes, rows_of
from repmatch_lib.data.tasks import Task
from repmatch_lib.paths import project_file

SourceName = Literal["mini", "local", "hub", "auto"]


@dataclass(frozen=True)
class Corpus:
    """Checked rows of one task.

    Attributes
    ----------
    table : pyarrow.Table
        Columns ``id`` (row number in the file), ``text``, ``text_pair`` (pairs and spans), ``label`` (class number,
        score or answer), ``answer_start`` (spans), then the file's further columns.
    source : str
        Where the rows came from, for provenance: ``mini``, ``local`` or ``hub@revision``, and the file.
    """

    task: Task
    split: str
    table: pa.Table
    source: str

    def __len__(self) -> int:
        return len(self.table)

    @property
    def title(self) -> str:
        """The task's, for figures."""
        return self.task.title

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the columns that training sees, row by row; corpora of one fingerprint train one adapter."""
        columns = [c for c in ("text", "text_pair", "label", "answer_start") if c in self.table.column_names]
        digest = hashlib.sha256(json.dumps(columns).encode())
        for row in zip(*(self.table[c].to_pylist() for c in columns), strict=True):
            digest.update(json.dumps(row, ensure_ascii=False).encode())
        return digest.hexdigest()

    def named(self) -> pd.DataFrame:
        """The rows as a data frame to read: with ``class``, the label's name, or the label itself where it has none."""
        table, names = self.table.to_pandas(), self.task.labels
        return table.assign(**{"class": [names[label] if names else label for label in table["label"]]})

    @property
    def label_mix(self) -> str:
        """How the labels are spread, in words: each class with its share, or the mean of the scores."""
        if self.task.kind == "regression":
            return f"scores, mean {pc.mean(self.table['label']).as_py():.2f}"
        shares = self.named()["class"].value_counts(normalize=True)
        return ", ".join(f"{label} {shares[label]:.1%}" for label in self.task.labels if label in shares)

    @property
    def provenance(self) -> dict[str, Any]:
        """What results say of the rows that they were made of."""
        return {"task": self.task.name, "rows": len(self), "source": self.source, "fingerprint": self.fingerprint}

    def take(self, rows: Sequence[int] | np.ndarray) -> Corpus:
        """Some of the rows, by number, as a corpus of their own."""
        return replace(self, table=self.table.take(pa.array(rows, pa.int64())))


def load(
    task: Task, split: str = "train", source: SourceName = "auto", rows: int | None = None, seed: int = 0
) -> Corpus:
    """Load and check rows of a task.

    Parameters
    ----------
    task : Task
    split : {"train", "validation"}
    source : {"mini", "local", "hub", "auto"}
        The bundled miniature corpora; ``<task>/<split>.parquet`` under the folder in ``REPMATCH_DATA``; the hub at
        the task's revision; or the folder where it is set, else the hub. A user's own file is its own source.
    rows : int, optional
        So many rows, drawn with ``seed``; all, in the file's order, if not given. Fewer rows of one seed are a
        prefix of more.
    seed : int
        Of the sample.

    Raises
    ------
    FileNotFoundError, ValueError
        Naming the file, the row and the mend.
    """
    file, name = _locate(task, split, source)
    parts = file.iterdir() if file.is_dir() else [file]
    written = max((part.stat().st_mtime_ns for part in parts if part.is_file()), default=0)
    table = _read(file, written, task, name.startswith("hub"))
    if rows is not None:
        if not 0 < rows <= len(table):
            raise ValueError(f"{file} has {len(table)} usable rows; asked for {rows}. Lower rows, or leave it out")
        table = table.take(np.random.default_rng(seed).permutation(len(table))[:rows])
        check_classes(table, task, file)
    return Corpus(task, split, table, f"{name}:{task.folder or task.name}/{file.name}")


@lru_cache(maxsize=8)
def _read(file: Path, written: int, task: Task, hub: bool) -> pa.Table:
    """A file's checked rows; kept, since a chapter asks for samples of the same few files a hundred times."""
    own = bool(task.file) and task.kind == "classification"
    table = read_table(file, texts=(*task.text, task.label) if own else task.text)
    return rows_of(table, task, file, hub)


def _locate(task: Task, split: str, source: SourceName) -> tuple[Path, str]:
    if source not in ("mini", "local", "hub", "auto"):
        raise ValueError(f"unknown source {source!r}: give 'mini', 'local', 'hub' or 'auto'")
    if task.file:
        return task.file, "file"
    if source == "mini":
        return _existing(project_file("data/mini"), task, split), "mini"
    name = task.splits.get(split, split)
    folder = Path(os.environ["REPMATCH_DATA"]) if os.environ.get("REPMATCH_DATA") else None
    if source == "local" and folder is None:
        raise ValueError("source 'local' needs REPMATCH_DATA, the folder that holds <task>/<split>.parquet")
    if source in ("local", "auto") and folder:
        return _existing(folder, task, name), "local"
    repository, revision, pattern = cast("tuple[str, str, str]", task.hub)  # only a file's task has none
    return _download(repository, revision, pattern.format(split=name)), f"hub@{revision}"


def _existing(folder: Path, task: Task, split: str) -> Path:
    file = folder / (task.folder or task.name) / f"{split}.parquet"
    if not file.is_file():
        splits = sorted(p.stem for p in file.parent.glob("*.parquet")) or ["no Parquet file"]
        raise FileNotFoundError(f"no {file}; {file.parent} has {', '.join(splits)}")
    return file


def _download(repository: str, revision: str, path: str) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(repository, path, repo_type="dataset", revision=revision))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise FileNotFoundError(
            f"{repository} at {revision} could not be fetched from the hub ({error}); set REPMATCH_DATA to a folder "
            "with <task>/<split>.parquet, or use source='mini'"
        ) from error
