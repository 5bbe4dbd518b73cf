"""Maps show the numbers that they are given, each at its place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell

import repmatch_lib as rm
from repmatch_lib.figures.style import NUMBERS, drawn

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


def test_a_notebook_has_the_numbers_of_a_figure() -> None:
    table = pd.DataFrame([[1.0, 0.25], [0.25, 0.5]], ["a", "b"], ["a", "b"])
    figure = rm.matrix(table, quantity="likeness")
    (kind, (map_, bar)) = next(iter(figure._repr_mimebundle_().items()))
    assert kind == NUMBERS and map_["maps"] == [table.to_numpy().tolist()] and bar["y"] == "likeness"
    formatted, _ = InteractiveShell.instance().display_formatter.format(figure)
    assert formatted[NUMBERS][0]["maps"] == map_["maps"]
    grids = drawn(rm.grid_panels({"one": torch.tensor([[[0.1, 0.2], [0.3, 0.4]]])}))
    np.testing.assert_allclose(grids[0]["maps"][0], [[0.1, 0.2], [0.3, 0.4]], atol=1e-6)
    assert (grids[0]["title"], grids[0]["y"]) == ("0.40", "one")


def test_a_dollar_in_a_name_is_one(tmp_path: Path) -> None:
    names = ["a$x_{$.csv", "b"]
    figure = rm.matrix(pd.DataFrame(np.eye(2), index=names, columns=names), tmp_path / "map.png")
    assert (tmp_path / "map.png").stat().st_size > 1000
    assert names[0] in [label.get_text() for label in figure.axes[0].get_xticklabels()]
