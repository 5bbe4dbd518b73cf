"""How figures look: the colours and markers of the three kinds of number, theme, saving."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

# The three kinds of number, one colour and one marker each, told apart without colour too.
PAPER, RECORDED, BUILD = "#b3530b", "#1b6ca8", "#5a7d2a"

KINDS = {"paper": (PAPER, "D"), "recorded": (RECORDED, "o"), "this build": (BUILD, "s")}

COLORS = "cividis"  # rises evenly in lightness: reads in grey and with any colour vision

THEME: dict[Any, Any] = {
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "figure.dpi": 110,
    "font.size": 11,
    "axes.titlesize": 11,
    "svg.hashsalt": "repmatch",
    "svg.fonttype": "none",
}


def finish(figure: Figure, path: str | Path | None, metadata: Mapping[str, str | None] | None = None) -> Figure:
    """Write a figure where a path is given, and close it: a notebook shows it once, as the value of its cell."""
    if path is not None:
        figure.savefig(path, metadata=metadata, bbox_inches="tight")
    plt.close(figure)
    return figure


def wrapped(name: str) -> str:
    """An encoder's name, one line a step."""
    return name.replace(":", ":\n")
