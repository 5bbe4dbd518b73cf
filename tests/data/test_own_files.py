"""Files as people have them: packed, in parts, with names in their metadata, with rows that have no label."""

from __future__ import annotations

import gzip
import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import Command

import repmatch_lib as rm
from repmatch_lib.training.pairs import with_shared_labels

CSV = "text,label\n" + "".join(f"t{k},{'ab'[k % 2]}\n" for k in range(6))


def classes_and_rows(file: Path, **how: Any) -> tuple[tuple[str, ...], list[int]]:
    task = rm.Task.from_file(file, **how)
    return task.labels, rm.load(task).table["label"].to_pylist()


def write_named(file: Path, labels: list[int], names: list[str]) -> Path:
    """As Hugging Face's datasets write it: numbers, and what they stand for beside them."""
    features = {"label": {"names": names, "_type": "ClassLabel"}}
    metadata = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    table = pa.table({"text": [f"t{k}" for k in range(len(labels))], "label": labels})
    pq.write_table(table.replace_schema_metadata(metadata), file)
    return file


def test_classes_have_the_names_that_a_parquet_file_gives_them(tmp_path: Path) -> None:
    """The same rows in another numbering are the same rows."""
    one = write_named(tmp_path / "one.parquet", [0, 1, 2, 0, 1, 2], ["good", "bad", "neither"])
    other = write_named(tmp_path / "other.parquet", [2, 0, 1, 2, 0, 1], ["bad", "neither", "good"])
    tasks = with_shared_labels(*map(rm.Task.from_file, (one, other)))
    first, second = (rm.load(task).table["label"].to_pylist() for task in tasks)
    assert first == second and tasks[0].labels == tasks[1].labels == ("bad", "good", "neither")
    assert classes_and_rows(one, labels=("neither", "bad", "good")) == (("neither", "bad", "good"), [2, 1, 0, 2, 1, 0])
    with pytest.raises(ValueError, match="bad.parquet: label 3 has no name.*good, bad, neither"):
        rm.Task.from_file(write_named(tmp_path / "bad.parquet", [0, 3], ["good", "bad", "neither"]))


@pytest.mark.parametrize(
    ("labels", "expected", "left"),
    [
        ([0, 1, 2, -1, 0], ("0", "1", "2"), 4),
        (["yes", "-", "no", "yes", "-"], ("no", "yes"), 3),
        ([-1, 0, 1, -1, 0], ("0", "1"), 3),
        ([-1, 1, 1, -1, 1], ("-1", "1"), 5),  # the two classes of many a classifier
    ],
    ids=str,
)
def test_rows_without_a_label_are_left_out_and_counted(
    labels: list[Any], expected: tuple[str, ...], left: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "mine.parquet"
    pq.write_table(pa.table({"text": [f"t{k}" for k in range(5)], "label": labels}), file)
    with caplog.at_level(logging.WARNING):
        found, rows = classes_and_rows(file)
    assert found == expected and len(rows) == left
    assert [f"{5 - left} of 5 rows have no label" in message for message in caplog.messages] == [True] * (left < 5)
    every = tuple(dict.fromkeys(map(str, labels)))
    assert classes_and_rows(file, labels=every)[1] == [every.index(str(label)) for label in labels]


def test_minus_one_beside_names_is_no_label(tmp_path: Path) -> None:
    file = write_named(tmp_path / "mine.parquet", [0, 1, -1], ["yes", "no"])
    assert classes_and_rows(file) == (("no", "yes"), [1, 0])


def test_labels_are_taken_as_they_are_written_but_for_blanks_around(tmp_path: Path) -> None:
    file = tmp_path / "mine.csv"
    file.write_text("text,label\na,01\nb,1\nc,007\nd, 7\ne,7 \n")
    assert classes_and_rows(file) == (("01", "1", "007", "7"), [0, 1, 2, 3, 3])
    file.write_text("text,label\na,10\nb,9\nc,2\n")
    assert classes_and_rows(file)[0] == ("2", "9", "10")


@pytest.mark.parametrize("labels", [[b"a", b"b"], [True, False], [1.0, 0.0]], ids=str)
def test_a_label_is_one_text_in_every_format(labels: list[Any], tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["x", "y"], "label": labels}), tmp_path / "mine.parquet")
    plain = [v.decode() if isinstance(v, bytes) else str(v).lower() if isinstance(v, bool) else int(v) for v in labels]
    (tmp_path / "mine.csv").write_text("text,label\n" + "".join(f"{t},{v}\n" for t, v in zip("xy", plain, strict=True)))
    assert classes_and_rows(tmp_path / "mine.parquet") == classes_and_rows(tmp_path / "mine.csv")


@pytest.mark.parametrize("name", ["mine.csv", "mine.jsonl"])
def test_a_text_of_a_book_s_length_is_read(name: str, tmp_path: Path) -> None:
    rows = [{"text": "word " * 300_000, "label": k % 2} for k in range(3)]
    lines = (
        [json.dumps(row) for row in rows]
        if "json" in name
        else ["text,label", *(f"{r['text']},{r['label']}" for r in rows)]
    )
    (tmp_path / name).write_text("\n".join(lines))
    assert len(rm.load(rm.task(tmp_path / name)).table["text"][2].as_py()) == 1_500_000


def test_what_json_holds_is_taken_as_it_is(tmp_path: Path) -> None:
    """A date stays a text; a column that is not read may hold several types; a list of objects is a file too."""
    rows = [
        {"text": f"2024-01-0{k}", "label": "ab"[k % 2], "votes": "3" if k < 3 else 3, "day": "2024-01-01"}
        for k in range(1, 6)
    ]
    (tmp_path / "lines.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "list.json").write_text("\N{ZERO WIDTH NO-BREAK SPACE}" + json.dumps(rows, indent=1))
    for name in ("lines.jsonl", "list.json"):
        table = rm.load(rm.task(tmp_path / name)).table
        assert table["text"].to_pylist() == [row["text"] for row in rows]
        assert table["day"].to_pylist() == ["2024-01-01"] * 5 and table["votes"].to_pylist() == ["3"] * 5


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"text": ' + "[" * 100_000 + "]" * 100_000 + "}", "line 1: .*recursion"),
        ('{"text": "a", "label": 1}\n[1]\n', "row 2 is no object"),
        ('{"text": "a", "label": 1, "label": 2}\n', "line 1: one object has 2 fields named 'label'"),
    ],
    ids=["deep", "a list", "a field twice"],
)
def test_json_that_is_no_row_is_named(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "mine.jsonl").write_text(content)
    with pytest.raises(ValueError, match=f"(?s)mine.jsonl.*{message}.*every line must be one JSON object"):
        rm.task(tmp_path / "mine.jsonl")


def test_packed_files_and_folders_of_parts_are_read(tmp_path: Path) -> None:
    (tmp_path / "plain.csv").write_text(CSV)
    expected = classes_and_rows(tmp_path / "plain.csv")
    for name in ("mine.csv.gz", "packed.csv"):  # the second does not say so
        (tmp_path / name).write_bytes(gzip.compress(CSV.encode()))
        assert classes_and_rows(tmp_path / name) == expected
    parts = tmp_path / "parts"
    parts.mkdir()
    lines = CSV.splitlines(keepends=True)
    for k in range(2):
        (parts / f"train-0000{k}-of-00002.csv").write_text(lines[0] + "".join(lines[1 + 3 * k : 4 + 3 * k]))
    assert rm.task(parts).name == "parts"
    assert classes_and_rows(parts) == expected
    shutil.copy(parts / "train-00000-of-00002.csv", parts / "test-00000-of-00001.csv")
    with pytest.raises(ValueError, match="parts holds several sets, test, train"):
        rm.task(parts)
    (parts / "test-00000-of-00001.csv").unlink()
    (parts / "train-00001-of-00002.csv").unlink()
    with pytest.raises(ValueError, match="parts holds 1 of 2 parts of train"):
        rm.task(parts)
    (parts / "train-00000-of-00002.csv").unlink()
    with pytest.raises(FileNotFoundError, match="parts is a folder without files of rows"):
        rm.task(parts)


@pytest.mark.parametrize(
    "rows", ['"wow,a\nbad,b\nnice,a\nthe end",b', '"wow,a\nbad,b\nnice,a",b'], ids=["", "to the last"]
)
def test_a_quote_that_swallows_rows_is_noticed(rows: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.csv"
    file.write_text(f'text,label\n"two\nlines",a\n{rows}\nfine,a\n')
    with pytest.raises(ValueError, match=r"mine.csv, row 2 \(line 4\): .*look like rows.*'wow,a'.*quote is not closed"):
        rm.load(rm.Task.from_file(file))
    file.write_text('text,label\n"a verse,\nanother, of it\nand a third",a\nfine,b\n')
    assert len(rm.load(rm.Task.from_file(file))) == 2


def test_bytes_that_are_no_text_are_named(tmp_path: Path) -> None:
    values = pa.array([b"a \xff\xfe", b"b"])
    wrong = pa.StringArray.from_buffers(2, values.buffers()[1], values.buffers()[2])
    pq.write_table(pa.table({"text": wrong, "label": [0, 1]}), tmp_path / "mine.parquet")
    with pytest.raises(ValueError, match="mine.parquet: column 'text' must hold texts in UTF-8"):
        rm.load(rm.task(tmp_path / "mine.parquet"))
    pq.write_table(
        pa.table({"text": pa.array([], pa.string()), "label": pa.array([], pa.int64())}), tmp_path / "none.parquet"
    )
    with pytest.raises(ValueError, match="none.parquet has columns but no rows: text, label"):
        rm.task(tmp_path / "none.parquet")


@pytest.mark.parametrize(
    "how",
    [
        {"text": "label"}, {"text": ("text", "text")}, {"text": ()}, {"labels": ("a", "b", "a")}, {"kind": "span"},
    ],
    ids=str,
)  # fmt: skip
def test_columns_and_classes_that_answer_nothing_are_refused(how: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text(CSV)
    with pytest.raises(ValueError, match="one or two columns|given twice"):
        rm.Task.from_file(tmp_path / "mine.csv", **how)


def test_numbers_of_a_published_task_are_those_of_its_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sst2").mkdir()
    monkeypatch.setenv("REPMATCH_DATA", str(tmp_path))
    for wrong in (2, -1):
        pq.write_table(pa.table({"text": ["x", "y", "z"], "label": [0, 1, wrong]}), tmp_path / "sst2/train.parquet")
        with pytest.raises(ValueError, match=f"row 3: label {wrong} is outside the head of 2 rows, 0 to 1"):
            rm.load(rm.task("sst2"), source="local")


def test_a_pair_is_two_columns_and_not_one_of_each_file(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "pairs.csv"
    file.write_text("premise,hypothesis,label\n" + "".join(f"a film {k},a plot {k},{k % 2}\n" for k in range(8)))
    how = ("--epochs", "1", "--max-length", "16", "--rank", "1")
    code, _, message = command("data", str(file), str(file), "--text", "premise", "--text", "hypothesis", *how)
    assert code not in (0, None) and "--text premise,hypothesis" in message
    code, output, _ = command("data", str(file), str(file), "--text", "premise,hypothesis", *how)
    assert code == 0 and "RepMatch" in output
