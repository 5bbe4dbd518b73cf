"""How figures look: the colours and markers of the three kinds of number, theme, saving."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

from repmatch_lib.statistics import Estimate

# The three kinds of number, one colour and one marker each, told apart without colour too.
PAPER, RECORDED, BUILD = "#b3530b", "#1b6ca8", "#5a7d2a"

KINDS = {"paper": (PAPER, "D"), "recorded": (RECORDED, "o"), "this build": (BUILD, "s")}

NUMBERS = "application/vnd.repmatch.figure+json"  # of what a figure draws, beside its picture in a notebook

COLORS = "cividis"  # rises evenly in lightness: reads in grey and with any colour vision

THEME: dict[Any, Any] = {
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "figure.dpi": 110,
    "font.size": 11,
    "axes.titlesize": 11,
    "text.parse_math": False,  # a dollar sign in a name is one
    "svg.hashsalt": "repmatch",
    "svg.fonttype": "none",
}


def _powers(figure: Figure) -> None:
    """Powers of ten on a logarithmic axis are formulas, as names are not."""
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            if isinstance(axis.get_major_formatter(), LogFormatter):
                for label in axis.get_ticklabels(which="both"):
                    label.set_parse_math(True)


def finish(figure: Figure, path: str | Path | None, metadata: Mapping[str, str | None] | None = None) -> Figure:
    """Write a figure where a path is given, and close it: a notebook shows it once, as the value of its cell.

    Beside the picture the notebook then holds the numbers that are drawn, under the type `NUMBERS`.
    """
    _powers(figure)
    if path is not None:
        figure.savefig(path, metadata=metadata, bbox_inches="tight")
    plt.close(figure)
    numbers = {NUMBERS: drawn(figure)}
    figure._repr_mimebundle_ = lambda **_: numbers  # type: ignore[attr-defined]
    return figure


def drawn(figure: Figure) -> list[dict[str, Any]]:
    """The numbers that a figure draws, one entry for each of its axes.

    Returns
    -------
    list of dict
        ``title``, ``x`` and ``y`` (labels); ``maps``, arrays as nested lists from top to bottom; ``lines``, lists of
        points.
    """
    found = []
    for ax in figure.axes:
        images = [np.asarray(image.get_array()) for image in ax.get_images()]
        meshes = [np.asarray(mesh.get_array()) for mesh in ax.collections if isinstance(mesh, QuadMesh)]
        lines = [np.asarray(line.get_xydata(), dtype=float) for line in ax.get_lines()]
        found.append(
            {"title": ax.get_title(), "x": ax.get_xlabel(), "y": ax.get_ylabel()}
            | {"maps": [array.round(6).tolist() for array in images + meshes]}
            | {"lines": [points.round(6).tolist() for points in lines if np.isfinite(points).all()]}
        )
    return found


def span(shown: Iterable[tuple[str, Estimate]]) -> tuple[float, float]:
    """Ends of an axis that holds all values, and the intervals of the paper's and the recorded numbers.

    A small run has intervals so wide that beside them nothing else could be told apart: they run off the axis.

    Parameters
    ----------
    shown : iterable of (kind, Estimate)
    """
    by_kind = list(shown)
    judged = [e for kind, e in by_kind if kind == "recorded"] or [e for _, e in by_kind]
    ends = [e.value for _, e in by_kind] + [end for e in judged for end in (e.low, e.high)]
    known = [end for end in ends if math.isfinite(end)] or [0.0, 1.0]
    room = 0.05 * (max(known) - min(known)) or 0.05
    return min(known) - room, max(known) + room


def wrapped(name: str) -> str:
    """An encoder's name, one line a step."""
    return name.replace(":", ":\n")
