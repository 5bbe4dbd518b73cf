"""A file of rows as a table, and in plain words what is wrong with one that cannot be read."""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq


def _read_csv(path: Path, texts: Sequence[str]) -> pa.Table:
    return pyarrow.csv.read_csv(
        path,
        read_options=pyarrow.csv.ReadOptions(use_threads=False),  # with threads, an error does not name its row
        parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
        convert_options=pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(texts, pa.string())),
    )


READERS = {
    ".csv": _read_csv,
    ".jsonl": lambda path, _: pyarrow.json.read_json(path),
    ".json": lambda path, _: pyarrow.json.read_json(path),
    ".parquet": lambda path, _: pq.read_table(path),
}


ONE_OBJECT = 'every line must be one JSON object, such as {"text": "…", "label": "…"}'


MENDS = {
    ".csv": 'put a text that holds a comma or a line break between double quotes ("), and write a double quote '
    'within it twice ("")',
    ".jsonl": ONE_OBJECT,
    ".json": ONE_OBJECT,
    ".parquet": "write it anew",
}


# What pyarrow says of a row with too many or too few fields; its count of rows takes the header along.
RAGGED = re.compile(r"CSV parse error: Row #(\d+): Expected (\d+) columns, got (\d+): (.*)", re.DOTALL)


def read_table(path: Path, texts: Sequence[str] = ()) -> pa.Table:
    """Read a CSV, JSONL or Parquet file.

    Parameters
    ----------
    path : Path
    texts : sequence of str
        Columns of a CSV file that are text, whatever they look like: 007 is not 7.

    Raises
    ------
    FileNotFoundError, ValueError
        If it is missing, of another format, not in UTF-8, damaged or empty.
    """
    kind = path.suffix.lower()
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}; check its name, and the folder that you are in")
    if kind not in READERS:
        raise ValueError(f"{path}: unknown format {kind!r}; give one of {', '.join(READERS)}")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty; it needs a header and rows")
    if kind != ".parquet":
        _check_encoding(path)
    try:
        table = READERS[kind](path, texts)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path} cannot be read as {kind[1:]}: {_plain(error)}; {MENDS[kind]}") from error
    names = table.column_names
    if len(table) == 0:
        raise ValueError(f"{path} has columns but no rows; its only line is taken as the header: {', '.join(names)}")
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"{path} has {names.count(twice[0])} columns named {twice[0]!r}; rename all but one")
    return table


def require(table: pa.Table, columns: list[str], file: Path) -> None:
    """Check that columns are there.

    Raises
    ------
    ValueError
        Naming the one that is not, and those that are.
    """
    names = table.column_names
    for column in columns:
        if column not in names:
            separators = [mark for mark in ";\t|" if len(names) == 1 and mark in names[0]]
            mend = f"its columns seem to be separated by {separators[0]!r}: save it with commas" if separators else (
                "give one of these as text or label (--text, --label), or rename a column of the file"
            )  # fmt: skip
            raise ValueError(f"{file} has no column {column!r}; it has {', '.join(map(repr, names))}: {mend}")


def classes(table: pa.Table, label: str, file: Path) -> tuple[str, ...]:
    """The classes of a label column, sorted; blank labels are not among them.

    Raises
    ------
    ValueError
        If the column holds neither names nor numbers.
    """
    try:
        values = pc.unique(table[label].drop_null()).to_pylist()
    except pa.ArrowNotImplementedError as error:
        raise ValueError(
            f"{file}: column {label!r} must hold labels, but holds {table[label].type}: name another column, or "
            "write one name or number a row"
        ) from error
    return tuple(str(v) for v in sorted(v for v in values if v == v) if str(v).strip())


def _plain(error: pa.ArrowInvalid) -> str:
    if not (found := RAGGED.match(str(error))):
        return str(error)
    row, columns, fields, text = found.groups()
    return f"row {int(row) - 1} has {fields} fields, the header {columns} ({text.strip()[:80]!r})"


def _check_encoding(path: Path) -> None:
    mend = 'save it as UTF-8 (in a spreadsheet: "CSV UTF-8")'
    with path.open("rb") as file:
        if file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            raise ValueError(f"{path} is in UTF-16; {mend}")
        file.seek(0)
        for number, line in enumerate(file, 1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                raise ValueError(
                    f"{path} is not in UTF-8: line {number} holds the byte 0x{line[error.start]:02x}; {mend}"
                ) from error
