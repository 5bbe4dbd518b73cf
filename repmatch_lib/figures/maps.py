"""Maps: Grassmann grids, scores of every pair, gains, images."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from torch import Tensor

from repmatch_lib.figures.style import COLORS, THEME, finish, wrapped


def grid_panels(
    grids: Mapping[str, Tensor],
    chance: float | None = None,
    path: str | Path | None = None,
    vmax: float = 1.0,
    first_layer: int = 1,
) -> Figure:
    """Grassmann grids as in the paper: one panel a layer, its score on top, one colour scale.

    Parameters
    ----------
    grids : mapping of str to Tensor, shape (L, r, r')
        One row of panels each.
    chance : float, optional
        Marked on the colour scale: the expected score of unrelated subspaces.
    path : path, optional
        Write the figure there; the suffix gives the format.
    vmax : float
        Upper end of the colour scale; the lower end is 0.
    first_layer : int
        Number of the first panel's layer.
    """
    layers = max(len(grid) for grid in grids.values())
    with plt.rc_context(THEME):
        figure, axes = plt.subplots(
            len(grids), layers, figsize=(1.25 * layers + 1.1, 1.55 * len(grids) + 0.25), squeeze=False,
            layout="constrained",
        )  # fmt: skip
        for row, (name, grid) in zip(axes, grids.items(), strict=True):
            last = name == list(grids)[-1]
            for k, ax in enumerate(row):
                if k >= len(grid):
                    ax.axis("off")
                    continue
                image = ax.imshow(grid[k], vmin=0, vmax=vmax, cmap=COLORS, origin="upper")
                ax.set_title(f"{float(grid[k].nan_to_num().max()):.2f}")
                ax.set_xticks(range(grid.shape[2]), range(1, grid.shape[2] + 1), fontsize=9)
                ax.set_yticks(range(grid.shape[1]), range(1, grid.shape[1] + 1), fontsize=9)
                ax.tick_params(length=0)
                if last:
                    ax.set_xlabel(f"layer {k + first_layer}", fontsize=10)
            row[0].set_ylabel(name.replace(" | ", "\n"), fontsize=10)
        bar = figure.colorbar(image, ax=axes, fraction=0.025, pad=0.015)
        bar.set_label("φ(i, j)")
        if chance is not None:
            bar.ax.axhline(chance, color="white", lw=2)
            bar.ax.axhline(chance, color="black", lw=1, ls=":")
            bar.ax.annotate(
                "chance", (1.15, chance), xycoords=("axes fraction", "data"), fontsize=9, va="center",
                annotation_clip=False,
            )  # fmt: skip
            bar.ax.set_yticks([t for t in bar.get_ticks() if abs(t - chance) > 0.06 * vmax and 0 <= t <= vmax])
        return finish(figure, path)


def matrix(
    scores: pd.DataFrame,
    path: str | Path | None = None,
    vmax: float = 1.0,
    metadata: Mapping[str, str | None] | None = None,
    quantity: str = "RepMatch",
) -> Figure:
    """Scores of every pair of data sets, or of selections, annotated.

    Parameters
    ----------
    scores : DataFrame
        Square, names as index and columns.
    path : path, optional
        Write the figure there.
    vmax : float
        Upper end of the colour scale.
    metadata : mapping, optional
        Kept in the file, such as the digest of the record behind it.
    quantity : str
        At the colour scale.
    """
    with plt.rc_context(THEME):
        size = 0.95 * len(scores) + 1.2
        figure, ax = plt.subplots(figsize=(size + 0.6, size - 0.4), layout="constrained")
        sns.heatmap(
            scores, vmin=0, vmax=vmax, cmap=COLORS, annot=True, fmt=".2f", square=True, ax=ax,
            cbar_kws={"label": quantity, "shrink": 0.8},
        )  # fmt: skip
        ax.set(xlabel="", ylabel="")
        ax.tick_params(length=0, rotation=0)
        return finish(figure, path, metadata)


def matrix_panels(rows: Mapping[str, Mapping[str, pd.DataFrame]]) -> Figure:
    """Annotated maps of scores from 0 to 1, one panel an encoder, one row of panels a kind of number.

    Parameters
    ----------
    rows : mapping of kind to mapping of name to DataFrame
        Square, names as index and columns; a kind without any is left out.
    """
    rows = {kind: maps for kind, maps in rows.items() if maps}
    columns = max(map(len, rows.values()))
    with plt.rc_context(THEME):
        figure, axes = plt.subplots(
            len(rows), columns, figsize=(2.5 * columns + 1, 2.9 * len(rows)), squeeze=False, layout="constrained"
        )
        for line, (kind, maps) in zip(axes, rows.items(), strict=True):
            for ax, named in itertools.zip_longest(line, maps.items()):
                if named is None:
                    ax.axis("off")
                    continue
                name, scores = named
                sns.heatmap(
                    scores, vmin=0, vmax=1, cmap=COLORS, annot=True, fmt=".2f", square=True, cbar=False, ax=ax,
                    annot_kws={"fontsize": 9}, yticklabels=ax is line[0],
                )  # fmt: skip
                ax.set_title(wrapped(name))
                ax.set(xlabel="", ylabel=kind if ax is line[0] else "")
                ax.tick_params(length=0, labelsize=9)
                ax.tick_params(axis="x", rotation=90)
                ax.tick_params(axis="y", rotation=0)
        plt.close(figure)
        return figure


def pictures(images: Mapping[str, np.ndarray | Tensor]) -> Figure:
    """Grey images, one row a set.

    Parameters
    ----------
    images : mapping of str to array, shape (n, height, width)
        By name, as many of each.
    """
    columns = max(map(len, images.values()))
    with plt.rc_context(THEME):
        figure, axes = plt.subplots(
            len(images),
            columns,
            figsize=(0.62 * columns + 2.4, 0.72 * len(images)),
            squeeze=False,
            layout="constrained",
        )
        for row, (name, shown) in zip(axes, images.items(), strict=True):
            for ax, image in itertools.zip_longest(row, shown):
                ax.axis("off")
                if image is not None:
                    ax.imshow(image, cmap="gray_r")
            row[0].text(-0.3, 0.5, name, transform=row[0].transAxes, ha="right", va="center", fontsize=10)
        plt.close(figure)
        return figure


def gain_maps(panels: Mapping[str, pd.DataFrame]) -> Figure:
    """Gains in points, from the rows to the columns, annotated; one panel a kind of number.

    Parameters
    ----------
    panels : mapping of str to DataFrame
        By title; square, NaN where there is none. All have one colour scale, with 0 in its middle.
    """
    limit = max(np.nanmax(np.abs(gains.to_numpy())) for gains in panels.values())
    size = 0.85 * max(map(len, panels.values())) + 1.4
    with plt.rc_context(THEME):
        figure, axes = plt.subplots(
            1, len(panels), figsize=(size * len(panels) + 0.6, size), squeeze=False, layout="constrained"
        )
        for ax, (title, gains) in zip(axes[0], panels.items(), strict=True):
            sns.heatmap(
                gains, vmin=-limit, vmax=limit, cmap="PuOr_r", annot=True, fmt="+.1f", square=True, ax=ax,
                cbar=ax is axes[0, -1], cbar_kws={"label": "gain, points", "shrink": 0.7}, annot_kws={"size": 9},
            )  # fmt: skip
            ax.set(xlabel="to", ylabel="from", title=title)
            ax.set_facecolor("0.85")
            ax.tick_params(length=0)
            ax.set_xticks(ax.get_xticks(), gains.columns, rotation=30, ha="right", fontsize=9)
            ax.set_yticks(ax.get_yticks(), gains.index, rotation=0, fontsize=9)
        plt.close(figure)
        return figure
