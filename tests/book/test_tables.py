"""The recorded run's estimates and this build's, beside each other on a page."""

from __future__ import annotations

import math

import pytest

import repmatch_lib as rm
from repmatch_lib.book import chapter, tables

NONE = math.nan
RECORDED = {"a": rm.Estimate(1.26, 1, 2, 5, "run"), "b": rm.Estimate(2, NONE, NONE, 1, "run")}
BUILD = {"a": rm.Estimate(3, 2.5, 4, 3, "run"), "c": rm.Estimate(-1, -2, 0, 3, "run")}
NAMES = {"first": "a", "second": "b", "third": "c", "fourth": "d"}


def of_both(experiment: str, build: dict[str, rm.Estimate]) -> list[tuple[str, str, rm.Estimate]]:
    """The recorded run's estimates and a build's."""
    both = rm.Chapter(experiment)
    both.update(build)
    return both.points(NAMES)


@pytest.fixture
def points(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, rm.Estimate]]:
    record = rm.Record("demo", {}, RECORDED, [], {}, {})
    monkeypatch.setattr(chapter, "recorded", {"demo": record}.get)
    return of_both("demo", BUILD)


def test_each_run_gives_what_it_has(points: list[tuple[str, str, rm.Estimate]]) -> None:
    assert [(label, kind) for label, kind, _ in points] == [
        ("first", "recorded"), ("first", "this build"), ("second", "recorded"), ("third", "this build"),
    ]  # fmt: skip
    assert points[1][2] is BUILD["a"] and points[2][2] is RECORDED["b"]
    assert {kind for _, kind, _ in of_both("never recorded", BUILD)} == {"this build"}


def test_a_page_of_the_recorded_results_has_no_build_of_its_own(points: list[tuple[str, str, rm.Estimate]]) -> None:
    near = {"a": rm.Estimate(1.26 + 1e-9, 1, 2, 5, "run")}  # the last digits are the processor's
    assert {kind for _, kind, _ in of_both("demo", near)} == {"recorded"}
    far = {"a": rm.Estimate(1.2601, 1, 2, 5, "run")}
    assert {kind for _, kind, _ in of_both("demo", far)} == {"recorded", "this build"}
    lines = [line for line in rm.points_table(of_both("demo", near), "what").data.splitlines() if line.startswith("|")]
    assert lines[0] == "| what | recorded |"


def test_a_table_keeps_the_kinds_of_number_apart(points: list[tuple[str, str, rm.Estimate]]) -> None:
    def cells(markdown: str) -> list[list[str]]:
        lines = [line for line in markdown.splitlines() if line.startswith("|")]
        return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]

    assert cells(rm.points_table(points, "what", ".1f").data) == [
        ["what", "recorded", "this build"],
        ["---"] * 3,
        ["first", "1.3 [1.0, 2.0]", "3.0 [2.5, 4.0]"],
        ["second", "2.0", "–"],
        ["third", "–", "-1.0 [-2.0, 0.0]"],
    ]
    with_paper = cells(rm.points_table([("second", "paper", 7.0), *points], "what", ".1f").data)
    assert with_paper[0] == ["what", "paper", "recorded", "this build"]
    assert ["second", "7.0", "2.0", "–"] in with_paper and [
        "first",
        "–",
        "1.3 [1.0, 2.0]",
        "3.0 [2.5, 4.0]",
    ] in with_paper
    unknown = rm.Estimate(math.nan, math.nan, math.nan, 3, "run")
    assert cells(rm.points_table([("none", "recorded", unknown)], "what").data)[-1] == ["none", "–"]
    assert "|" not in rm.points_table([]).data


def test_running_times_are_minutes_of_each_run(monkeypatch: pytest.MonkeyPatch) -> None:
    record = rm.Record("demo", {}, RECORDED, [], {}, {"training_seconds": 90.0})
    monkeypatch.setattr(tables, "recorded", {"demo": record}.get)
    build = rm.Record("demo", {}, BUILD, [], {}, {"training_seconds": 3606.0})
    lines = [line for line in rm.running_times(build).data.splitlines() if line.startswith("| ")]
    assert lines[2:] == ["| recorded | 1.5 |", "| this build | 60.1 |"]


def test_a_name_is_no_element_of_the_page() -> None:
    shown = tables.as_markdown([{"run": "<img src=x onerror=alert(1)>.csv", "of": "a|b\nc"}]).data
    assert "<img" not in shown and "&lt;img src=x" in shown and "a\\|b c" in shown
