"""A chapter's numbers: both runs side by side, each under its own kind."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

import repmatch_lib as rm
from repmatch_lib.book import chapter as chapters
from repmatch_lib.book.records import Record


def estimate(value: float) -> rm.Estimate:
    return rm.Estimate(value, value - 0.1, value + 0.1, 3, "seed")


@pytest.fixture
def chapter(monkeypatch: pytest.MonkeyPatch) -> rm.Chapter:
    """A build of two estimates beside a record of two, one of them shared."""
    of_record = {"a": estimate(0.5), "only recorded": estimate(0.7)}
    record = Record("demo", {}, of_record, [{"task": "sst2"}, {"task": "snli"}], {}, {})
    monkeypatch.setattr(chapters, "recorded", {"demo": record}.get)
    made = rm.Chapter("demo")
    made["a"] = estimate(0.2)
    made.update({"b": estimate(0.3)})
    return made


def lines(table: object) -> list[list[str]]:
    """Cells of a Markdown table's rows, its head first."""
    rows = [row for row in table.data.splitlines() if row.startswith("| ")]  # type: ignore[attr-defined]
    return [[cell.strip() for cell in row.strip("| ").split(" | ")] for row in rows if "---" not in row]


def test_each_number_stands_under_its_own_kind(chapter: rm.Chapter) -> None:
    assert lines(chapter.table({"first": "a", "second": "b", "none": "c"}, "name", ".1f")) == [
        ["name", "recorded", "this build"],
        ["first", "0.5 [0.4, 0.6]", "0.2 [0.1, 0.3]"],
        ["second", "–", "0.3 [0.2, 0.4]"],
    ]
    assert chapter.points(["a"]) == [("a", "recorded", estimate(0.5)), ("a", "this build", estimate(0.2))]


def test_a_line_of_several_estimates_is_one_for_each_run(chapter: rm.Chapter) -> None:
    table = chapter.wide({"one": {"x": "a", "y": "only recorded"}, "two": {"x": "b", "y": "c"}}, ".1f")
    assert lines(table)[1:] == [
        ["recorded", "one", "0.5 [0.4, 0.6]", "0.7 [0.6, 0.8]"],
        ["this build", "one", "0.2 [0.1, 0.3]", "–"],
        ["this build", "two", "0.3 [0.2, 0.4]", "–"],
    ]
    shown = chapter.wide({"one": {"x": "a"}}, lambda found: f"({found.value:g})")
    assert [row[2] for row in lines(shown)[1:]] == ["(0.5)", "(0.2)"]


def test_names_and_values_of_either_run(chapter: rm.Chapter) -> None:
    assert chapter.named(".|only .*") == ["a", "b", "only recorded"] and chapter.named("a|x") == ["a"]
    assert chapter.either(["imdb", "sst2"], "task") == ["imdb", "sst2", "snli"]


def test_the_paper_s_numbers_stand_in_the_order_of_the_labels(chapter: rm.Chapter) -> None:
    table = chapter.table({"first": "a", "second": "b"}, spec=".1f", paper=[("second", "paper", 0.9)])
    assert lines(table) == [
        ["quantity", "paper", "recorded", "this build"],
        ["first", "–", "0.5 [0.4, 0.6]", "0.2 [0.1, 0.3]"],
        ["second", "0.9", "–", "0.3 [0.2, 0.4]"],
    ]


def test_a_kept_record_holds_this_build_s_estimates_alone(chapter: rm.Chapter, toy: rm.Corpus, tmp_path: Path) -> None:
    origin = {
        "encoder": {"name": "e"}, "corpus": toy.provenance, "training": {"lr": 0.1}, "software": {},
        "measured": {"seconds": 2.0},
    }  # fmt: skip
    result = rm.Adapter({}, {}, origin)
    kept = chapter.keep(
        [result], pd.DataFrame({"x": [1]}), str(tmp_path / "demo.json"), vectors=[toy], parameters={"k": 3}
    )
    again = Record.load(tmp_path / "demo.json")
    assert again.estimates == chapter.estimates and again.digest == kept.digest and again.rows == [{"x": 1}]
    assert again.parameters["k"] == 3 and again.parameters["lr"] == 0.1
    assert again.provenance["vectors"] == [toy.provenance | {"split": "train"}]


def test_rows_to_read_have_the_names_of_their_classes(toy: rm.Corpus) -> None:
    table = toy.named()
    assert table["class"].tolist() == [toy.task.labels[label] for label in toy.table["label"].to_pylist()]
