"""Draws the playground's static figure, for readers without scripts: its positions to start from, each with its grid.

Usage: ``python book/planes.py OUT.svg``
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy.spatial.transform import Rotation

import repmatch_lib as rm
from repmatch_lib.figures.style import COLORS, PAPER, RECORDED, THEME

PAGE = Path(__file__).with_name("playground.md")


def presets() -> list[dict]:
    """The positions that the page offers."""
    return json.loads(re.search(r'id="playground-presets">(.*?)</script>', PAGE.read_text(), re.DOTALL)[1])


def basis(preset: dict) -> np.ndarray:
    """Columns of the turned subspace, shape (3, 1 or 2)."""
    angles = [preset[name] for name in ("turn", "tilt", "spin")]
    return Rotation.from_euler("ZXZ", angles, degrees=True).as_matrix()[:, : preset["turned"]]


def draw_space(ax: plt.Axes, U: np.ndarray, V: np.ndarray, view: float) -> None:
    """Discs or lines, with arrows for the directions."""
    circle = np.linspace(0, 2 * np.pi, 60)
    for vectors, color in ((U, RECORDED), (V, PAPER)):
        if vectors.shape[1] == 2:
            disc = vectors @ np.stack([np.cos(circle), np.sin(circle)])
            ax.plot_trisurf(*disc, triangles=[(0, k, k + 1) for k in range(58)], color=color, alpha=0.3, lw=0)
        else:
            ax.plot(*np.hstack([-vectors, vectors]), color=color, lw=2)
        for n, vector in enumerate(vectors.T):
            ax.quiver(0, 0, 0, *vector, color=color, lw=(2.2, 1.2)[n], arrow_length_ratio=0.12)
    ax.set(xlim=(-0.75, 0.75), ylim=(-0.75, 0.75), zlim=(-0.75, 0.75))
    ax.set_box_aspect((1, 1, 1))
    ax.view_init(30, view)
    ax.axis("off")


def draw_grid(ax: plt.Axes, grid: np.ndarray) -> None:
    """The grid with its numbers, the largest entry framed."""
    ax.imshow(grid, vmin=0, vmax=1, cmap=COLORS)
    for (i, j), phi in np.ndenumerate(grid):
        ax.text(j, i, f"{phi:.2f}", ha="center", va="center", fontsize=8, color="black" if phi >= 0.5 else "white")
    i, j = np.unravel_index(np.argmax(grid.round(9)), grid.shape)
    for color, width in (("white", 4), ("black", 1.5)):
        ax.add_patch(plt.Rectangle((j - 0.43, i - 0.43), 0.86, 0.86, fill=False, ec=color, lw=width))
    ax.set_xticks(range(grid.shape[1]), range(1, grid.shape[1] + 1))
    ax.set_yticks(range(grid.shape[0]), range(1, grid.shape[0] + 1))
    ax.tick_params(length=0, labelsize=8)


def main(out: str) -> None:
    """Write the figure."""
    offered = presets()
    rows = -(-len(offered) // 2)
    with plt.rc_context(THEME):
        figure = plt.figure(figsize=(8, 2.1 * rows))
        for k, preset in enumerate(offered):
            U, V = np.eye(3)[:, : preset["fixed"]], basis(preset)
            left = 4 * (k // 2) + 2 * (k % 2) + 1
            space = figure.add_subplot(rows, 4, left, projection="3d")
            draw_space(space, U, V, preset["view"])
            space.set_title(preset["name"], fontsize=9)
            grid = figure.add_subplot(rows, 4, left + 1)
            draw_grid(grid, rm.grassmann_similarity(torch.from_numpy(U), torch.from_numpy(V)).numpy())
        figure.tight_layout()
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(out, metadata={"Date": None}, bbox_inches="tight")


if __name__ == "__main__":
    main(sys.argv[1])
