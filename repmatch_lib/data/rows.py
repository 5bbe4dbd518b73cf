"""The columns of a file as the rows of a task: checked, and under one set of names."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from repmatch_lib.data.files import check_quotes, require
from repmatch_lib.data.labels import NO_LABEL, label_texts
from repmatch_lib.data.tasks import Task

ROW = "row of the file"

logger = logging.getLogger(__name__)


def rows_of(table: pa.Table, task: Task, file: Path, hub: bool = False) -> pa.Table:
    """A file's rows with the columns of `Corpus`.

    Parameters
    ----------
    table : Table
        As the file has it.
    task : Task
    file : Path
        For messages.
    hub : bool
        It is the hub's, with columns of other names.

    Raises
    ------
    ValueError
        Naming the file, the row and the mend.
    """
    table = table.append_column(ROW, pa.array(range(len(table))))
    if task.file and task.kind == "classification":
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
    check_classes(result, task, file)
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


def check_classes(table: pa.Table, task: Task, file: Path) -> None:
    """Refuse rows of one class.

    Raises
    ------
    ValueError
        Naming the class.
    """
    if task.kind == "classification" and len(present := pc.unique(table["label"])) < 2:
        raise ValueError(
            f"{file}: all {len(table)} rows have the label {task.labels[present[0].as_py()]!r}; "
            "a classifier needs at least two classes"
        )
