"""Maps show the numbers that they are given, each at its place."""

from __future__ import annotations

import numpy as np
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


def test_gains_are_written_with_their_sign() -> None:
    gains = pd.DataFrame([[np.nan, 1.25], [-3.0, np.nan]], ["a", "b"], ["a", "b"])
    texts = [text.get_text() for text in rm.gain_maps({"recorded": gains, "this build": gains}).axes[0].texts]
    assert texts == ["+1.2", "-3.0"]
