"""The paper's tasks, their variants, and a user's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers import numbered, own, write_columns

import repmatch_lib as rm

FORMATS = ("csv", "jsonl", "parquet")


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize(
    ("labels", "names"), [(("no", "yes"), ("no", "yes")), ((10, 2), ("2", "10")), ((0, 1, 2), ("0", "1", "2"))]
)
def test_a_file_of_one_s_own(tmp_path: Path, suffix: str, labels: tuple[Any, ...], names: tuple[str, ...]) -> None:
    columns = numbered(labels=labels)
    task = rm.Task.from_file(write_columns(tmp_path / f"mine.{suffix}", columns))
    corpus = rm.load(task)
    assert task.labels == names and task.outputs == len(names)
    assert corpus.table["text"].to_pylist() == columns["text"]
    assert [names[k] for k in corpus.table["label"].to_pylist()] == [str(v) for v in columns["label"]]
    assert corpus.table["id"].to_pylist() == list(range(40))


def test_other_columns_a_given_order_and_pairs(tmp_path: Path) -> None:
    columns = {"q": ["a", "b", "c"], "p": ["x", "y", "z"], "gold": ["yes", "no", "yes"], "more": [1.5, 2.5, 3.5]}
    corpus = own(tmp_path / "mine.jsonl", columns, text=("p", "q"), label="gold", labels=("yes", "no", "maybe"))
    assert corpus.task.outputs == 3
    assert corpus.table.select(["text", "text_pair", "label", "more"]).to_pydict() == {
        "text": ["x", "y", "z"], "text_pair": ["a", "b", "c"], "label": [0, 1, 0], "more": [1.5, 2.5, 3.5],
    }  # fmt: skip


def test_a_score_and_a_span_of_one_s_own(tmp_path: Path) -> None:
    scores = own(tmp_path / "s.csv", {"text": ["a", "b"], "label": [1, 2]}, kind="regression")
    assert scores.table["label"].to_pylist() == [1.0, 2.0] and scores.task.outputs == 1
    columns = {"q": ["who?"], "c": ["it was Ann"], "label": ["Ann"], "answer_start": [7]}
    span = own(tmp_path / "q.jsonl", columns, text=("q", "c"), kind="span")
    assert span.table.select(["label", "answer_start"]).to_pylist() == [{"label": "Ann", "answer_start": 7}]


def test_the_ends_first_keep_every_row_s_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_columns(tmp_path / "sst5" / "train.parquet", {"text": list("abcdefg"), "label": [4, 0, 2, 1, 3, 3, 0]})
    monkeypatch.setenv("REPMATCH_DATA", str(tmp_path))
    plain, ends = (rm.load(rm.task(name), source="local") for name in ("sst5", "sst5-ends"))
    names = [[c.task.labels[k] for k in c.table["label"].to_pylist()] for c in (plain, ends)]
    assert names[0] == names[1] and plain.fingerprint != ends.fingerprint
    assert ends.task.labels[:2] == ("very negative", "very positive")  # the rows of SST-2's two classes


def test_two_classes_leave_the_middle_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_columns(tmp_path / "sst5" / "train.parquet", {"text": list("abcdefg"), "label": [4, 0, 2, 1, 3, 2, 0]})
    monkeypatch.setenv("REPMATCH_DATA", str(tmp_path))
    table = rm.load(rm.task("sst5-two"), source="local").table
    assert table.select(["id", "text", "label"]).to_pydict() == {
        "id": [0, 1, 3, 4, 6], "text": list("abdeg"), "label": [1, 0, 0, 1, 0],
    }  # fmt: skip
    assert rm.task("sst5-two").labels == rm.task("sst2").labels


def test_what_a_file_s_task_does_not_name_is_not_read(tmp_path: Path) -> None:
    columns = {"text": ["a", "b"], "text_pair": ["c", "d"], "label": [0, 1], "day": ["x", "y"]}
    table = rm.load(rm.Task.from_file(write_columns(tmp_path / "mine.parquet", columns))).table
    assert table.column_names == ["id", "text", "label", "day"]
    both = rm.Task.from_file(tmp_path / "mine.parquet", text=("text", "text_pair"))
    assert rm.load(both).table["text_pair"].to_pylist() == ["c", "d"]


def test_a_number_that_is_none_is_no_class(tmp_path: Path) -> None:
    file = write_columns(tmp_path / "mine.parquet", {"text": ["a", "b", "c"], "label": [1.0, float("nan"), 2.0]})
    assert rm.Task.from_file(file).labels == ("1", "2")
    with pytest.raises(ValueError, match="mine.parquet, row 2: the label is missing"):
        rm.load(rm.Task.from_file(file))


def test_a_task_of_no_kind_is_refused(hundred: rm.Task) -> None:
    with pytest.raises(ValueError, match="kind = 'regresion', .* give one of classification, regression, span"):
        rm.Task.from_file(hundred.file, kind="regresion")
    with pytest.raises(ValueError, match="one or two columns"):
        rm.Task.from_file(hundred.file, text=("text", "text", "text"))


def test_unknown_tasks(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown task 'sst9'.*sst2, sst5, imdb.*columns text and label"):
        rm.task("sst9")
    with pytest.raises(FileNotFoundError, match=r"nowhere\.csv"):
        rm.task(str(tmp_path / "nowhere.csv"))
    assert rm.task(write_columns(tmp_path / "mine.csv", numbered())).labels == ("no", "yes")


@pytest.mark.parametrize("name", ["stsb-two", "stsb-even"])
def test_scores_in_two_classes_are_the_scores_cut(name: str) -> None:
    scores, data = (rm.load(rm.task(task), source="mini", rows=200, seed=1) for task in ("stsb", name))
    assert data.task.kind == "classification" and data.task.outputs == 2
    assert data.table["text_pair"] == scores.table["text_pair"]
    values = scores.table["label"].to_pylist()
    assert data.table["label"].to_pylist() == [int(value > data.task.cut) for value in values]
    assert any(value == pytest.approx(data.task.cut, abs=0.31) for value in values)  # rows on both sides of the cut


def test_the_paper_s_tasks_have_its_labels_and_passes() -> None:
    entailment = ("entailment", "neutral", "contradiction")
    own = ("sst2", "sst5", "imdb", "snli", "mnli", "hans")
    assert {name: rm.task(name).labels for name in own} == {
        "sst2": ("negative", "positive"),
        "sst5": ("very negative", "negative", "neutral", "positive", "very positive"),
        "imdb": ("negative", "positive"),
        "snli": entailment,
        "mnli": entailment,
        "hans": ("entailment", "non-entailment"),
    }
    passes = {name: rm.task(name).epochs for name in (*own, "stsb", "squad")}
    assert passes == dict.fromkeys(passes, 5) | dict.fromkeys(("sst2", "sst5", "imdb"), 10)
    assert (
        rm.Run("sst2", epochs=None).settings()["epochs"] == 10 and rm.Run("snli", epochs=None).settings()["epochs"] == 5
    )
    assert rm.Run("sst2", epochs=3).settings()["epochs"] == 3


def test_labels_of_the_bundled_corpora_stand_for_what_they_say() -> None:
    for name in ("snli", "mnli"):
        rows = rm.load(rm.task(name), source="mini").named()
        words = rows.apply(lambda row: {*row.text_pair.lower().split()} <= {*row.text.lower().split()}, axis=1)
        follows = rows[words]["class"].value_counts()
        assert not len(follows) or follows.idxmax() == "entailment"
