"""A file of rows as a table, or a folder of its parts; and in plain words what is wrong with one."""

from __future__ import annotations

import codecs
import gzip
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

KINDS = (".csv", ".jsonl", ".json", ".parquet")
PACKED = ".gz"

MENDS = {
    ".csv": 'put a text that holds a comma or a line break between double quotes ("), and write a double quote '
    'within it twice ("")',
    ".jsonl": 'every line must be one JSON object, such as {"text": "…", "label": "…"}',
    ".json": 'give one JSON object a line, such as {"text": "…", "label": "…"}, or one list of them',
    ".parquet": "write it anew",
}

# What pyarrow says of a row with too many or too few fields; its count of rows takes the header along.
RAGGED = re.compile(r"CSV parse error: Row #(\d+): Expected (\d+) columns, got (\d+): (.*)", re.DOTALL)
# The parts of a data set, as they are commonly named.
SHARD = re.compile(r"(?P<set>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})")


def is_file_of_rows(path: Path) -> bool:
    """Whether a name is that of a file that can be read, or of a folder that is there."""
    return _kind(path) in KINDS or path.is_dir()


def read_table(path: Path, texts: Sequence[str] = ()) -> pa.Table:
    """Read a CSV, JSONL or Parquet file, also packed with gzip, or a folder of such files.

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
    if path.is_dir():
        parts = [read_table(part, texts) for part in _parts(path)]
        try:
            return pa.concat_tables(parts, promote_options="permissive")
        except pa.ArrowInvalid as error:
            raise ValueError(f"{path}: its files have columns of other types ({error}); write them alike") from error
    kind = _kind(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}; check its name, and the folder that you are in")
    if kind not in KINDS:
        raise ValueError(f"{path}: unknown format {path.suffix!r}; give one of {', '.join(KINDS)}, or those with .gz")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty; it needs a header and rows")
    try:
        table = pq.read_table(path) if kind == ".parquet" else _read_text(path, kind, texts)
    except (pa.ArrowInvalid, EOFError, gzip.BadGzipFile) as error:
        raise ValueError(f"{path} cannot be read as {kind[1:]}: {_plain(error)}; {MENDS[kind]}") from error
    names = table.column_names
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"{path} has {names.count(twice[0])} columns named {twice[0]!r}; rename all but one")
    if len(table) == 0:
        header = "; its only line is taken as the header" if kind == ".csv" else ""
        raise ValueError(f"{path} has columns but no rows{header}: {', '.join(names)}")
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


def check_quotes(texts: Sequence[str], columns: int, labels: set[str], file: Path) -> None:
    """Refuse a text that has swallowed rows of its CSV file, because a quote is not closed.

    Parameters
    ----------
    texts : sequence of str
        A column.
    columns : int
        Of the file.
    labels : set of str
        Its classes: a line that ends or begins with one, after as many commas as a row has, looks like a row.

    Raises
    ------
    ValueError
        Naming the row and its line.
    """
    line = 2
    for row, text in enumerate(texts, 1):
        inner = text.split("\n")
        fields = [part.split(",") for part in inner]
        alike = [part for part in fields if len(part) == columns and {*map(str.strip, part)} & labels]
        if columns > 1 and len(alike) > 1 and len(alike) >= len(inner) - 2:
            raise ValueError(
                f"{file}, row {row} (line {line}): its text holds {len(alike)} lines that look like rows of the file "
                f"({','.join(alike[0])[:60]!r}): a double quote is not closed; {MENDS['.csv']}"
            )
        line += len(inner)


def _kind(path: Path) -> str:
    return Path(path.stem if path.suffix.lower() == PACKED else path.name).suffix.lower()


def _parts(folder: Path) -> list[Path]:
    """The files of a folder, which must be of one data set and whole."""
    files = sorted(file for file in folder.iterdir() if _kind(file) in KINDS and not file.name.startswith("."))
    if not files:
        raise FileNotFoundError(f"{folder} is a folder without files of rows ({', '.join(KINDS)}): give another")
    shards = [SHARD.match(file.name) for file in files]
    sets = sorted({shard["set"] if shard else file.stem for shard, file in zip(shards, files, strict=True)})
    if any(shards) and len(sets) > 1:
        raise ValueError(f"{folder} holds several sets, {', '.join(sets)}: put the files of one into a folder")
    if shards[0] and len(files) != int(shards[0]["count"]):
        raise ValueError(f"{folder} holds {len(files)} of {int(shards[0]['count'])} parts of {sets[0]}: fetch the rest")
    return files


def _read_text(path: Path, kind: str, texts: Sequence[str]) -> pa.Table:
    content = path.read_bytes()
    content = gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content
    _check_encoding(content, path)
    if kind != ".csv":
        return _read_json(content.decode("utf-8-sig"), path, kind)
    return pyarrow.csv.read_csv(
        pa.BufferReader(content),
        # With threads, an error does not name its row; a row must lie in one block, and may be a book.
        read_options=pyarrow.csv.ReadOptions(use_threads=False, block_size=min(max(len(content), 2**20), 2**31 - 1)),
        parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
        convert_options=pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(texts, pa.string())),
    )


def _read_json(text: str, path: Path, kind: str) -> pa.Table:
    """Objects as they are written: nothing that looks like a date becomes one, and a column may hold several types."""
    rows: list[dict[str, Any]] = []
    listed = text.lstrip().startswith("[")
    for number, line in enumerate([text] if listed else text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            found = json.loads(line, object_pairs_hook=_once)
        except (ValueError, RecursionError) as error:
            where = "" if listed else f"line {number}: "
            raise ValueError(f"{path} cannot be read as {kind[1:]}: {where}{error}; {MENDS[kind]}") from error
        rows += found if listed else [found]
    if wrong := [k for k, row in enumerate(rows, 1) if not isinstance(row, dict)]:
        raise ValueError(f"{path} cannot be read as {kind[1:]}: row {wrong[0]} is no object; {MENDS[kind]}")
    names = dict.fromkeys(name for row in rows for name in row)
    return pa.table({name: _column([row.get(name) for row in rows]) for name in names})


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"one object has {names.count(twice[0])} fields named {twice[0]!r}, of which one is meant")
    return dict(pairs)


def _column(values: list[Any]) -> pa.Array:
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return pa.array([v if v is None or isinstance(v, str) else json.dumps(v, ensure_ascii=False) for v in values])


def _plain(error: Exception) -> str:
    if not (found := RAGGED.match(str(error))):
        return str(error)
    row, columns, fields, text = found.groups()
    return f"row {int(row) - 1} has {fields} fields, the header {columns} ({text.strip()[:80]!r})"


def _check_encoding(content: bytes, path: Path) -> None:
    mend = 'save it as UTF-8 (in a spreadsheet: "CSV UTF-8")'
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ValueError(f"{path} is in UTF-16; {mend}")
    try:
        content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{path} is not in UTF-8: line {line} holds the byte 0x{content[error.start]:02x}; {mend}"
        ) from error
