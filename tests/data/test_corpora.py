"""Rows of a corpus: from the bundle, a folder and the hub; samples, fingerprints, and rows that are wrong."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pytest
from helpers import Columns, numbered, own, write_columns
from huggingface_hub.errors import LocalEntryNotFoundError
from hypothesis import given, settings, strategies as st

import repmatch_lib as rm


@settings(max_examples=40, deadline=None)
@given(st.integers(12, 100), st.integers(12, 100), st.integers(0, 99))
def test_samples_of_one_seed_are_nested(hundred: rm.Task, few: int, many: int, seed: int) -> None:
    few, many = sorted((few, many))
    small, large = (rm.load(hundred, rows=n, seed=seed).table for n in (few, many))
    assert small.equals(large.slice(0, few))
    assert len(set(large["id"].to_pylist())) == many
    whole = rm.load(hundred).table
    assert large.equals(whole.take(large["id"]))


def test_samples_of_other_seeds_differ(hundred: rm.Task) -> None:
    first, again, other = (rm.load(hundred, rows=50, seed=s) for s in (0, 0, 1))
    assert first.fingerprint == again.fingerprint != other.fingerprint


def test_the_fingerprint_is_of_what_training_sees(tmp_path: Path) -> None:
    base = numbered(6)
    expected = own(tmp_path / "base.csv", base).fingerprint
    extra = base | {"note": list("abcdef")}
    for same in (own(tmp_path / "copy.parquet", base), own(tmp_path / "extra.csv", extra)):
        assert same.fingerprint == expected
    found = {expected}
    for k in range(6):
        texts, labels = list(base["text"]), list(base["label"])
        texts[k] += "."
        labels[k] = {"no": "yes", "yes": "no"}[labels[k]]
        found.add(own(tmp_path / f"text{k}.csv", base | {"text": texts}).fingerprint)
        found.add(own(tmp_path / f"label{k}.csv", base | {"label": labels}).fingerprint)
    found.add(own(tmp_path / "order.csv", {name: values[::-1] for name, values in base.items()}).fingerprint)
    assert len(found) == 14


def test_the_fingerprint_keeps_columns_apart() -> None:
    tables = [{"text": ["ab", "c"], "label": [0, 1]}, {"text": ["a", "bc"], "label": [0, 1]}]
    tables += [{"text": ["ab"], "text_pair": ["c"]}, {"text": ["a"], "text_pair": ["bc"]}]
    assert len({rm.Corpus(rm.TASKS["sst2"], "train", pa.table(t), "test").fingerprint for t in tables}) == 4


SPAN = {"question": ["who?", "when?"], "context": ["Ann sang", "in May"], "answer_text": ["Ann", "May"]}
LOCAL: dict[str, Columns] = {
    "sst2": {"text": ["a", "b"], "label": [0, 1]},
    "snli": {"premise": ["a", "b"], "hypothesis": ["c", "d"], "label": [2, 0]},
    "stsb": {"sentence1": ["a", "b"], "sentence2": ["c", "d"], "score": [0.5, 5]},
    "squad": SPAN | {"answer_start": [0, 3], "id": ["x", "y"]},
}


@pytest.mark.parametrize("name", LOCAL)
@pytest.mark.parametrize("source", ["local", "auto"])
def test_local_folder(name: str, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_columns(tmp_path / name / "train.parquet", LOCAL[name])
    monkeypatch.setenv("REPMATCH_DATA", str(tmp_path))
    task = rm.task(name)
    table = rm.load(task, source=source).table
    assert [table[c].to_pylist() for c in ("text", "label")] == [LOCAL[name][c] for c in (task.text[0], task.label)]
    assert table["id"].to_pylist() == [0, 1]


@pytest.mark.parametrize(("name", "split", "file"), [("imdb", "validation", "test"), ("hans", "train", "validation")])
def test_splits_of_other_names(
    name: str, split: str, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = {"text": ["a", "b"], "premise": ["a", "b"], "hypothesis": ["c", "d"], "label": [0, 1]}
    write_columns(tmp_path / name / f"{file}.parquet", columns)
    monkeypatch.setenv("REPMATCH_DATA", str(tmp_path))
    assert len(rm.load(rm.task(name), split)) == 2


def test_local_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="REPMATCH_DATA.*<task>/<split>"):
        rm.load(rm.task("sst2"), source="local")
    monkeypatch.setenv("REPMATCH_DATA", str(tmp_path))
    write_columns(tmp_path / "sst2" / "train.parquet", LOCAL["sst2"])
    with pytest.raises(FileNotFoundError, match=r"sst2/validation\.parquet.*has train"):
        rm.load(rm.task("sst2"), "validation", source="local")
    with pytest.raises(ValueError, match="unknown source 'web'.*'mini', 'local', 'hub' or 'auto'"):
        rm.load(rm.task("sst2"), source="web")


HUB: dict[str, tuple[str, str, Columns, Columns]] = {
    "sst2": (
        "nyu-mll/glue", "sst2/train-00000-of-00001.parquet",
        {"sentence": ["a", "b"], "label": [0, 1], "idx": [7, 8]}, {"text": ["a", "b"], "label": [0, 1]},
    ),
    "snli": (
        "stanfordnlp/snli", "plain_text/train-00000-of-00001.parquet",
        {"premise": ["a", "b", "c"], "hypothesis": ["d", "e", "f"], "label": [0, -1, 2]},
        {"text": ["a", "c"], "text_pair": ["d", "f"], "label": [0, 2]},
    ),
    "stsb": (
        "nyu-mll/glue", "stsb/train-00000-of-00001.parquet",
        {"sentence1": ["a", "b"], "sentence2": ["c", "d"], "label": [0.0, 4.5], "idx": [0, 1]}, {"label": [0.0, 4.5]},
    ),
    "stsb-two": (
        "nyu-mll/glue", "stsb/train-00000-of-00001.parquet",
        {"sentence1": ["a", "b", "c"], "sentence2": ["d", "e", "f"], "label": [0.0, 2.6, 2.5]}, {"label": [0, 1, 0]},
    ),
    "stsb-even": (
        "nyu-mll/glue", "stsb/train-00000-of-00001.parquet",
        {"sentence1": ["a", "b", "c"], "sentence2": ["d", "e", "f"], "label": [2.8, 2.6, 5.0]}, {"label": [0, 0, 1]},
    ),
    "squad": (
        "rajpurkar/squad", "plain_text/train-00000-of-00001.parquet",
        SPAN | {"answers": [{"text": ["Ann"], "answer_start": [0]}, {"text": ["May", "in"], "answer_start": [3, 0]}]},
        {"text": SPAN["question"], "text_pair": SPAN["context"], "label": ["Ann", "May"], "answer_start": [0, 3]},
    ),
    "mnli": (
        "nyu-mll/glue", "mnli/train-00000-of-00001.parquet",
        {"premise": ["a", "b"], "hypothesis": ["d", "e"], "label": [1, 2]}, {"text_pair": ["d", "e"], "label": [1, 2]},
    ),
    "sst5": (
        "SetFit/sst5", "default/train/0000.parquet",
        {"text": ["a", "b"], "label": [4, 0], "label_text": ["very positive", "very negative"]}, {"label": [4, 0]},
    ),
    "sst5-ends": (
        "SetFit/sst5", "default/train/0000.parquet",
        {"text": list("abcde"), "label": [0, 1, 2, 3, 4]}, {"label": [0, 2, 3, 4, 1]},
    ),
    "sst5-two": (
        "SetFit/sst5", "default/train/0000.parquet",
        {"text": list("abcde"), "label": [0, 1, 2, 3, 4]}, {"text": list("abde"), "label": [0, 0, 1, 1]},
    ),
    "imdb": (
        "stanfordnlp/imdb", "plain_text/train-00000-of-00001.parquet",
        {"text": ["a", "b"], "label": [1, 0]}, {"label": [1, 0]},
    ),
    "hans": (
        "jhu-cogsci/hans", "plain_text/validation/0000.parquet",
        {"premise": ["a", "b"], "hypothesis": ["c", "d"], "label": [0, 1], "heuristic": ["x", "y"]},
        {"label": [0, 1], "heuristic": ["x", "y"]},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", rm.TASKS)
@pytest.mark.parametrize("source", ["hub", "auto"])
def test_hub_layout(name: str, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository, file, columns, expected = HUB[name]
    write_columns(
        tmp_path / repository / file, {c: v for c, v in columns.items() if not (name == "squad" and c == "answer_text")}
    )
    asked = []

    def download(repo_id: str, filename: str, **options: Any) -> str:
        asked.append((repo_id, filename, options))
        return str(tmp_path / repo_id / filename)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    corpus = rm.load(rm.task(name), source=source)
    revision = rm.task(name).hub[1]
    assert asked == [(repository, file, {"repo_type": "dataset", "revision": revision})]
    assert corpus.table.select(list(expected)).to_pydict() == expected
    assert corpus.source.startswith(f"hub@{revision}:{name.partition('-')[0]}/")


def test_hub_ids_are_row_numbers_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_columns(tmp_path / "snli.parquet", HUB["snli"][2])
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *_, **__: str(file))
    assert rm.load(rm.task("snli"), source="hub").table["id"].to_pylist() == [0, 2]


def test_an_unreachable_hub_is_named_with_the_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: Any, **__: Any) -> None:
        raise LocalEntryNotFoundError("no network")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", offline)
    with pytest.raises(FileNotFoundError, match="nyu-mll/glue at bcdcba.*no network.*REPMATCH_DATA.*source='mini'"):
        rm.load(rm.task("sst2"), source="hub")


BAD: dict[str, tuple[Columns, dict[str, Any], str]] = {
    "no label column": ({"text": ["a", "b"]}, {}, "no column 'label'; it has 'text': give one of these as"),
    "no text column": ({"label": [0, 1]}, {}, "no column 'text'; it has 'label': give one of these"),
    "unknown label": (numbered(3), {"labels": ("no", "perhaps")}, "row 2: unknown label 'yes'; .* no, perhaps"),
    "label outside the head": (numbered(4, (0, 1, 2)), {"labels": ("0", "1")}, "row 3: unknown label '2'; .*0, 1"),
    "a number of no class": (
        numbered(6, (1, 2, 0)), {"labels": ("1", "2")}, "row 3: unknown label '0'",
    ),
    "empty text": ({"text": ["a", "", "c"], "label": [0, 1, 0]}, {}, "row 2: 'text' is empty; fill"),
    "blank text": ({"text": ["a", " \t", "c"], "label": [0, 1, 0]}, {}, "row 2: 'text' is empty; fill"),
    "null text": ({"text": ["a", "b", None], "label": [0, 1, 0]}, {}, "row 3: 'text' is empty; fill"),
    "null label": ({"text": ["a", "b", "c"], "label": ["x", "y", None]}, {}, "row 3: the label is missing"),
    "null label beside a class called None": (
        {"text": ["a", "b", "c"], "label": ["None", "y", None]}, {}, "row 3: the label is missing",
    ),
    "blank label": ({"text": ["a", "b", "c"], "label": ["x", " ", "y"]}, {}, "row 2: the label is missing"),
    "one class": (numbered(5, ("yes",)), {}, "all 5 rows have the label 'yes'; .* two classes"),
    "NaN score": (
        {"text": ["a", "b"], "label": [0.5, float("nan")]}, {"kind": "regression"}, "row 2: score nan is not a finite",
    ),
    "null score": ({"text": ["a", "b"], "label": [None, 1.5]}, {"kind": "regression"}, "row 1: score None"),
    "a word for a score": (
        {"text": ["a", "b"], "label": ["1", "high"]}, {"kind": "regression"}, "'label' must hold numbers",
    ),
    "answer elsewhere": (
        {"q": ["who?"], "c": ["it was Ann"], "label": ["Ann"], "answer_start": [6]},
        {"text": ("q", "c"), "kind": "span"}, "row 1: the answer 'Ann' does not stand at offset 6",
    ),
    "answer before its context": (
        {"q": ["who?"], "c": ["it was Ann"], "label": ["An"], "answer_start": [-3]},
        {"text": ("q", "c"), "kind": "span"}, "row 1: the answer 'An' does not stand at offset -3",
    ),
    "no offsets": (
        {"q": ["who?"], "c": ["Ann"], "label": ["Ann"]}, {"text": ("q", "c"), "kind": "span"},
        "no column 'answer_start'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("bad", list(BAD))
def test_bad_rows_are_named(bad: str, tmp_path: Path) -> None:
    columns, options, message = BAD[bad]
    with pytest.raises(ValueError, match=rf"(?s)mine\.parquet.*{message}"):
        own(tmp_path / "mine.parquet", columns, **options)


def test_rows_above_what_there_is(hundred: rm.Task) -> None:
    for rows in (101, 0, -1):
        with pytest.raises(ValueError, match=rf"hundred\.parquet has 100 usable rows; asked for {rows}.*Lower rows"):
            rm.load(hundred, rows=rows)


def test_a_sample_of_one_class(tmp_path: Path) -> None:
    file = write_columns(tmp_path / "rare.csv", {"text": list("abcdefgh"), "label": [0] * 7 + [1]})
    task = rm.Task.from_file(file)
    rare = [rows for rows in range(1, 8) if 7 not in np.random.default_rng(0).permutation(8)[:rows]]
    for rows in rare:
        with pytest.raises(ValueError, match=rf"all {rows} rows have the label '0'"):
            rm.load(task, rows=rows)
    assert rare


REAL = bool(os.environ.get("REPMATCH_DATA"))


@pytest.mark.real
@pytest.mark.skipif(not REAL, reason="REPMATCH_DATA is not set: the real corpora are not read")
@pytest.mark.parametrize("name", list(rm.TASKS) if REAL else ["all tasks"])
def test_real_corpora(name: str) -> None:
    task = rm.task(name)
    corpus = rm.load(task, source="local", rows=50, seed=1)
    table = corpus.table
    assert len(table) == 50 and all(text.strip() for text in table["text"].to_pylist())
    assert ("text_pair" in table.column_names) == (len(task.text) == 2)
    labels = table["label"].to_pylist()
    if task.kind == "classification":
        assert set(labels) == set(range(task.outputs))
    elif task.kind == "regression":
        assert 0 <= min(labels) < 2 and 3 < max(labels) <= 5
    else:
        contexts, starts = table["text_pair"].to_pylist(), table["answer_start"].to_pylist()
        assert all(c[s : s + len(a)] == a != "" for c, s, a in zip(contexts, starts, labels, strict=True))


def test_a_corpus_with_other_rows_has_another_fingerprint() -> None:
    """Whoever replaced the table: the hash is of the rows that are there."""
    data = rm.load(rm.task("sst2"), source="mini", rows=4)
    other = dataclasses.replace(data, table=data.table.slice(1))
    assert data.fingerprint != other.fingerprint == data.take([1, 2, 3]).fingerprint


def test_the_mix_of_labels_in_words(tmp_path):
    three = own(tmp_path / "a.csv", {"text": ["a", "b", "c"], "label": ["yes", "no", "yes"]})
    assert sorted(three.label_mix.split(", ")) == ["no 33.3%", "yes 66.7%"]
    stsb = rm.load(rm.task("stsb"), source="mini", rows=4)
    assert stsb.label_mix == f"scores, mean {sum(stsb.table['label'].to_pylist()) / 4:.2f}"
