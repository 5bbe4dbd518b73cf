"""Lines show the numbers that they are given, and are told apart without colour."""

from __future__ import annotations

import pandas as pd
import pytest

import repmatch_lib as rm


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


def test_spectra_are_shares_and_differ_in_dashes() -> None:
    curves = rm.spectrum_figure({"[CLS]": {"a": [2.0, 1.0], "b": [1.0, 1.0]}}).axes[0].lines
    assert curves[0].get_ydata() == pytest.approx([0.8, 1]) and curves[0].get_linestyle() != curves[1].get_linestyle()
