"""Points show the numbers that they are given, and are told apart without colour."""

from __future__ import annotations

import pandas as pd
from matplotlib.colors import to_rgba

import repmatch_lib as rm


def test_gains_stand_where_they_were_given_and_other_kinds_are_hollow() -> None:
    points = pd.DataFrame({"x": [0.1, 0.5], "gain": [-3, 1.25], "target": ["a", "a"], "same_kind": [False, True]})
    hollow, filled, *_ = rm.gain_points({"recorded": points}).axes[0].collections
    assert not len(hollow.get_facecolors()) and len(filled.get_facecolors()) == 1
    assert hollow.get_offsets().tolist() == [[0.1, -3]] and to_rgba("white") != tuple(filled.get_facecolors()[0])


def test_groups_differ_in_marker_and_colour() -> None:
    points = pd.DataFrame({"x": range(6), "y": range(6), "group": list("abcabc")})
    figure = rm.scatter_panels({"one": points, "two": points})
    drawn = figure.axes[0].collections
    assert len(figure.axes) == 2 and len({len(c.get_paths()[0].vertices) for c in drawn}) > 1
    assert len({tuple(c.get_facecolor()[0]) for c in drawn}) == 3


def test_intervals_of_a_small_run_run_off_an_axis_that_holds_every_value() -> None:
    recorded, small = rm.Estimate(2.0, 1.0, 3.0, 5, "seed"), rm.Estimate(4.0, -90.0, 98.0, 2, "seed")
    both = rm.estimates_figure([("a", "recorded", recorded), ("a", "this build", small)], quantity="points")
    low, high = both.axes[0].get_xlim()
    assert low < 1 and 4 < high < 5
    alone = rm.estimates_figure([("a", "this build", small)], quantity="points")
    assert alone.axes[0].get_xlim()[0] < -90
    scores = rm.estimates_figure([("a", "recorded", rm.Estimate(0.4, 0.3, 0.5, 5, "seed"))])
    assert scores.axes[0].get_xlim() == (0, 1)
    panels = {"recorded": {"top": {1.0: recorded}}, "this build": {"top": {1.0: small}}}
    assert rm.curves_figure(panels, "points", "k").axes[1].get_ylim()[1] < 5
