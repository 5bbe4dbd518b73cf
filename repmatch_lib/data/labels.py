"""Labels of a user's own file: as text, whatever type the file keeps them in, and which of them are classes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa

# What corpora write where annotators did not agree.
NO_LABEL = ("-1", "-")


def label_texts(table: pa.Table, column: str, file: Path) -> list[str | None]:
    """A label column as text, without blanks around; None where there is no label.

    Numbers of a column whose classes have names in the file's own metadata (``ClassLabel`` of Hugging Face's datasets)
    become these names: another numbering of the same classes is the same labels.

    Raises
    ------
    ValueError
        If the column holds neither names nor numbers, or a number without a name.
    """
    kind = table[column].type
    if pa.types.is_nested(kind):
        raise ValueError(
            f"{file}: column {column!r} must hold labels, but holds {kind}: name another column, or write one name or "
            "number a row"
        )
    values = table[column].to_pylist()
    if (names := _names(table, column)) and pa.types.is_integer(kind):
        if bad := [value for value in values if value is not None and not -1 <= value < len(names)]:
            raise ValueError(f"{file}: label {bad[0]} has no name; its column {column!r} names {', '.join(names)}")
        values = [value if value in (None, -1) else names[value] for value in values]
    return [_text(value) for value in values]


def classes(labels: Iterable[str | None]) -> tuple[str, ...]:
    """The classes among labels, sorted, as numbers if all are; without `NO_LABEL` where two others are left."""
    found = {label for label in labels if label}
    named = found - set(NO_LABEL)
    found = named if len(named) > 1 else found
    if all(re.fullmatch(r"-?\d+", label) for label in found):
        return tuple(sorted(found, key=lambda label: (int(label), label)))
    return tuple(sorted(found))


def _names(table: pa.Table, column: str) -> list[str]:
    try:
        features = json.loads((table.schema.metadata or {})[b"huggingface"])["info"]["features"]
        return features[column]["names"] if features[column]["_type"] == "ClassLabel" else []
    except (KeyError, TypeError, ValueError):
        return []  # no metadata of this kind


def _text(value: Any) -> str | None:
    if value is None or value != value:
        return None
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    if isinstance(value, bool):
        value = str(value).lower()
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # numbers beside missing ones become floats in many a program
    return str(value).strip() or None
