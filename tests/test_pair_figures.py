"""Figures of pairs show the numbers that they are given, each at its place."""

from __future__ import annotations

import pandas as pd
import pytest

import repmatch_lib as rm

SQUARE = pd.DataFrame([[0.9, 0.25], [0.25, 0.8]], ["SST-2", "SNLI"], ["SST-2", "SNLI"])


def test_maps_hold_every_score_under_their_encoder() -> None:
    figure = rm.matrix_panels({"recorded": {}, "this build": {"minilm": SQUARE, "minilm:layers-2": SQUARE / 2}})
    assert [ax.get_title() for ax in figure.axes] == ["minilm", "minilm:\nlayers-2"]
    assert [text.get_text() for text in figure.axes[0].texts] == ["0.90", "0.25", "0.25", "0.80"]
    assert float(figure.axes[1].texts[0].get_text()) == pytest.approx(0.45)
    assert figure.axes[0].get_ylabel() == "this build"


def test_rows_with_fewer_maps_leave_the_rest_empty() -> None:
    figure = rm.matrix_panels({"recorded": {"a": SQUARE, "b": SQUARE}, "this build": {"a": SQUARE}})
    assert [bool(ax.texts) for ax in figure.axes] == [True, True, True, False]


def test_the_order_has_the_highest_on_top_and_follows_each_pair() -> None:
    scores = pd.DataFrame({"a": [0.9, 0.5, 0.7], "b": [0.1, 0.3, 0.2]}, ["one", "two", "three"])
    figure = rm.order_figure({"recorded": scores[:0], "this build": scores}, dict.fromkeys(scores.index, "pairs"))
    (ax,) = figure.axes
    assert [list(line.get_ydata()) for line in ax.lines[:3]] == [[1, 3], [3, 1], [2, 2]]
    assert [(tick.get_text(), place) for tick, place in zip(ax.get_yticklabels(), ax.get_yticks(), strict=True)] == [
        ("one", 1), ("two", 3), ("three", 2),
    ]  # fmt: skip
    assert ax.yaxis_inverted()


def test_groups_are_told_apart_without_colour() -> None:
    scores = pd.DataFrame({"a": [0.9, 0.5], "b": [0.1, 0.3]}, ["one", "two"])
    (ax,) = rm.order_figure({"this build": scores}, {"one": "first", "two": "second"}).axes
    assert ax.lines[0].get_linestyle() != ax.lines[1].get_linestyle()
