"""Files of rows as they are written, and in plain words what is wrong with one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from helpers import own, write_columns

import repmatch_lib as rm


def test_texts_of_digits_stay_as_they_are_written(tmp_path: Path) -> None:
    (tmp_path / "MINE.CSV").write_text("text,label\n007,0\n010,1\n1e3,0\n")
    assert rm.load(rm.task(tmp_path / "MINE.CSV")).table["text"].to_pylist() == ["007", "010", "1e3"]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"text": [["a"], ["b"]], "label": [0, 1]},
            "column 'text' must hold texts in UTF-8, but holds list<.*one text a row",
        ),
        ({"text": ["a", "b"], "label": [{"x": 1}, {"x": 2}]}, "column 'label' must hold labels, but holds struct<"),
    ],
    ids=["texts", "labels"],
)
def test_columns_of_another_kind_are_named(columns: dict[str, list[Any]], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"mine.parquet: {message}"):
        rm.load(rm.Task.from_file(write_columns(tmp_path / "mine.parquet", columns)))


CONTENT: dict[str, tuple[str, bytes, str]] = {
    "an empty file": ("mine.csv", b"", "is empty; it needs a header and rows"),
    "a header without rows": ("mine.csv", b"text,label\n", "no rows"),
    "a row too long": (
        "mine.csv",
        b"text,label\na,0\nb,1,2\n",
        "row 2 has 3 fields, the header 2 .'b,1,2'.; put a text",
    ),
    "a quote that never ends": ("mine.csv", b'text,label\n"a,0\nb,1\n', "row 1 has 1 fields.*within it twice"),
    "semicolons": ("mine.csv", b"text;label\na;0\nb;1\n", "no column 'text'; .*separated by ';': save it with commas"),
    "a blank before a name": ("mine.csv", b"text, label\na, 0\nb, 1\n", "no column 'label'; it has 'text', ' label'"),
    "a name twice": ("mine.csv", b"text,text,label\na,b,0\nc,d,1\n", "2 columns named 'text'; rename"),
    "a web page": ("mine.csv", b"<!DOCTYPE html><html></html>\n", "no rows; .* header: <!DOCTYPE"),
    "a picture": ("mine.csv", bytes(range(256)), "not in UTF-8: line 2 holds the byte 0x80; save it as UTF-8"),
    "Latin-1 labels": ("mine.csv", "text,label\na,grün\nb,rot\n".encode("latin-1"), "UTF-8: line 2 .*0xfc"),
    "UTF-16": ("mine.csv", "text,label\na,0\nb,1\n".encode("utf-16"), "is in UTF-16; save it as UTF-8"),
    "no JSON": ("mine.jsonl", b'{"text": "a", \n', "cannot be read as jsonl"),
    "no Parquet": ("mine.parquet", b"PAR1 and no more", "cannot be read as parquet"),
    "an unknown format": ("mine.xlsx", b"text,label\na,0\n", "unknown format '.xlsx'; give one of .*csv"),
    "Latin-1": ("mine.csv", "text,label\ngrün,0\nrot,1\n".encode("latin-1"), "(UTF|utf)-?8"),
}


@pytest.mark.parametrize("bad", list(CONTENT))
def test_bad_files_are_named(bad: str, tmp_path: Path) -> None:
    name, content, message = CONTENT[bad]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"(?s){name}.*{message}"):
        rm.load(rm.Task.from_file(tmp_path / name))


def test_line_breaks_within_quotes_in_a_long_csv(tmp_path: Path) -> None:
    """More than one block of the reader's."""
    rows = 3000
    columns = {"text": [f"{k}\n" + "some words,\n" * 60 for k in range(rows)], "label": [k % 2 for k in range(rows)]}
    corpus = own(tmp_path / "long.csv", columns)
    assert corpus.table["text"].to_pylist() == columns["text"]


def test_a_file_that_was_written_again_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "own.csv"
    for stamp, last in enumerate(("bad", "worse")):
        file.write_text(f"text,label\ngood,1\n{last},0\n")
        os.utime(file, ns=(stamp, stamp))
        assert rm.load(rm.Task.from_file(file)).table["text"].to_pylist() == ["good", last]
