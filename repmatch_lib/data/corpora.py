"""Rows of a task, from the bundle, a local folder, the hub or a user's file; checked, and fingerprinted.

The book's page on your own data goes through a file's way into rows.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from repmatch_lib.data.files import check_quotes, read_table, require
from repmatch_lib.data.labels import NO_LABEL, label_texts
from repmatch_lib.data.tasks import Task
from repmatch_lib.paths import project_file

SourceName = Literal["mini", "local", "hub", "auto"]

ROW = "row of the file"

logger = logging.getLogger(__name__)


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
        _check_classes(table, task, file)
    return Corpus(task, split, table, f"{name}:{task.folder or task.name}/{file.name}")


@lru_cache(maxsize=8)
def _read(file: Path, written: int, task: Task, hub: bool) -> pa.Table:
    """A file's checked rows; kept, since a chapter asks for samples of the same few files a hundred times."""
    own = bool(task.file) and task.kind == "classification"
    table = read_table(file, texts=(*task.text, task.label) if own else task.text)
    table = table.append_column(ROW, pa.array(range(len(table))))
    if own:
        table = _own_labels(table, task, file)
    return _check(_of_classes(_from_hub(table, task) if hub else table, task), task, file)


def _own_labels(table: pa.Table, task: Task, file: Path) -> pa.Table:
    """A user's rows with their labels as text, without those that have none by common custom."""
    require(table.drop_columns(ROW), [*task.text, task.label], file)
    labels = label_texts(table, task.label, file)
    if file.suffix.lower() == ".csv":
        check_quotes(_as_text(table, task.text[0], file).to_pylist(), table.num_columns - 1, set(task.labels), file)
    table = table.set_column(table.column_names.index(task.label), task.label, pa.array(labels, pa.string()))
    kept = [label in task.labels or label not in NO_LABEL for label in labels]
    if left_out := kept.count(False):
        logger.warning(
            "%s: %d of %d rows have no label (-1 or -) and are left out; give labels= to keep them as a class",
            file, left_out, len(table),
        )  # fmt: skip
    return table.filter(pa.array(kept))


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


def _from_hub(table: pa.Table, task: Task) -> pa.Table:
    """The hub's columns under our names; rows without a gold label (-1) left out."""
    table = table.rename_columns([task.hub_columns.get(c, c) for c in table.column_names])
    if task.kind == "span":
        answers = pc.struct_field(table["answers"], "text"), pc.struct_field(table["answers"], "answer_start")
        return table.append_column("answer_text", answers[0]).append_column("answer_start", answers[1])
    return table.filter(pc.greater_equal(table[task.label], 0)) if task.kind == "classification" else table


def _of_classes(table: pa.Table, task: Task) -> pa.Table:
    """Without the rows of classes that the task leaves out."""
    unnamed = {number for number, name in enumerate(task.file_labels) if not name}
    if not unnamed or task.label not in table.column_names:
        return table
    return table.filter(pa.array([label not in unnamed for label in table[task.label].to_pylist()]))


def _check(table: pa.Table, task: Task, file: Path) -> pa.Table:
    span = ["answer_start"] if task.kind == "span" else []
    require(table.drop_columns(ROW), [*task.text, task.label, *span], file)
    columns: dict[str, Any] = {"id": table[ROW]}
    for name, column in zip(("text", "text_pair"), task.text, strict=False):
        texts = _as_text(table, column, file)
        bad = pc.fill_null(pc.equal(pc.utf8_length(pc.utf8_trim_whitespace(texts)), 0), True)
        if pc.any(bad).as_py():
            row = table[ROW][pc.index(bad, True).as_py()].as_py() + 1
            raise ValueError(f"{file}, row {row}: {column!r} is empty; fill it in or drop the row")
        columns[name] = texts
    columns["label"] = {"classification": _class_numbers, "regression": _scores, "span": _answers}[task.kind](
        table, task, file
    )
    if task.kind == "span":
        columns["answers"] = [v if isinstance(v, list) else [v] for v in table[task.label].to_pylist()]
        columns["answer_start"] = pa.array([_first(v) for v in table["answer_start"].to_pylist()])
        _check_spans(table, columns, file)
    for name in table.column_names:
        if name not in (*task.text, "text_pair", task.label, "answer_start", "answers", ROW):
            columns.setdefault(name, table[name])
    result = pa.table(columns)
    _check_classes(result, task, file)
    return result


def _as_text(table: pa.Table, column: str, file: Path) -> pa.ChunkedArray:
    try:
        texts = table[column].cast(pa.string())
        texts.validate(full=True)  # a Parquet file can hold any bytes as text
        return texts
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ValueError(
            f"{file}: column {column!r} must hold texts in UTF-8, but holds {table[column].type} ({error}): name "
            "another column, or write one text a row"
        ) from error


def _class_numbers(table: pa.Table, task: Task, file: Path) -> list[int]:
    """Class numbers from names or numbers, whichever the file holds; or from scores, by the task's cut."""
    row_of = {label: k for k, label in enumerate(task.labels)}
    names = task.file_labels or task.labels
    if task.cut is not None:
        return [row_of[names[score > task.cut]] for score in _scores(table, task, file)]
    result = []
    for row, value in _numbered(table, table[task.label].to_pylist()):
        if value is None or value != value or not str(value).strip():
            raise ValueError(f"{file}, row {row}: the label is missing; fill it in or drop the row")
        if str(value) in row_of:
            result.append(row_of[str(value)])
        elif not isinstance(value, int):
            raise ValueError(
                f"{file}, row {row}: unknown label {value!r}; the task has {', '.join(names)}. Correct the file, "
                "or give labels= as the file spells them"
            )
        elif not 0 <= value < len(names):
            raise ValueError(
                f"{file}, row {row}: label {value} is outside the head of {len(names)} rows, "
                f"0 to {len(names) - 1} ({', '.join(names)})"
            )
        else:
            result.append(row_of[names[value]])
    return result


def _scores(table: pa.Table, task: Task, file: Path) -> list[float]:
    try:
        values = table[task.label].cast(pa.float64()).to_pylist()
    except pa.ArrowInvalid as error:
        raise ValueError(f"{file}: column {task.label!r} must hold numbers: {error}") from error
    for row, value in _numbered(table, values):
        if value is None or not np.isfinite(value):
            raise ValueError(f"{file}, row {row}: score {value} is not a finite number; fill it in or drop the row")
    return values


def _answers(table: pa.Table, task: Task, file: Path) -> list[str]:
    return [_first(value) for value in table[task.label].to_pylist()]


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, list) and value else value


def _numbered(table: pa.Table, values: Iterable[Any]) -> Iterator[tuple[int, Any]]:
    """Values with the rows of the file they come from, counted from 1."""
    return zip((row + 1 for row in table[ROW].to_pylist()), values, strict=True)


def _check_spans(table: pa.Table, columns: dict[str, Any], file: Path) -> None:
    rows = zip(columns["text_pair"].to_pylist(), columns["label"], columns["answer_start"].to_pylist(), strict=True)
    for row, (context, answer, start) in _numbered(table, rows):
        if not answer or start is None or start < 0 or context[start : start + len(answer)] != answer:
            raise ValueError(
                f"{file}, row {row}: the answer {answer!r} does not stand at offset {start} of its context"
            )


def _check_classes(table: pa.Table, task: Task, file: Path) -> None:
    if task.kind == "classification" and len(present := pc.unique(table["label"])) < 2:
        raise ValueError(
            f"{file}: all {len(table)} rows have the label {task.labels[present[0].as_py()]!r}; "
            "a classifier needs at least two classes"
        )
