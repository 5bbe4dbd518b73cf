"""Figures from tables and grids; nothing is computed here."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from torch import Tensor

from repmatch_lib.statistics import Estimate

# The three kinds of number, one colour and one marker each, told apart without colour too.
PAPER, RECORDED, BUILD = "#b3530b", "#1b6ca8", "#5a7d2a"
KINDS = {"paper": (PAPER, "D"), "recorded": (RECORDED, "o"), "this build": (BUILD, "s")}
COLORS = "cividis"  # rises evenly in lightness: reads in grey and with any colour vision

THEME = {
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "figure.dpi": 110,
    "font.size": 11,
    "axes.titlesize": 11,
    "svg.hashsalt": "repmatch",
    "svg.fonttype": "none",
}


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
        image = None
        for row, (name, grid) in zip(axes, grids.items(), strict=True):
            last = name == list(grids)[-1]
            for k, ax in enumerate(row):
                if k >= len(grid):
                    ax.axis("off")
                    continue
                image = ax.imshow(grid[k], vmin=0, vmax=vmax, cmap=COLORS, origin="upper")
                ax.set_title(f"{float(grid[k].max()):.2f}")
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
    metadata: Mapping[str, str] | None = None,
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


def estimates_figure(
    rows: Sequence[tuple[str, str, Estimate | float]],
    chance: float | None = None,
    path: str | Path | None = None,
    quantity: str = "RepMatch",
) -> Figure:
    """Estimates with their intervals, one line a quantity, the three kinds of number apart.

    Parameters
    ----------
    rows : sequence of (label, kind, value)
        ``kind`` is ``"paper"``, ``"recorded"`` or ``"this build"``; a plain number has no interval.
    chance : float, optional
        Drawn as a line; 0 for differences.
    quantity : str
        On the axis; scores are drawn from 0 to 1, anything else as wide as it needs.
    """
    labels = list(dict.fromkeys(label for label, _, _ in rows))
    kinds = [kind for kind in KINDS if any(k == kind for _, k, _ in rows)]
    with plt.rc_context(THEME):
        figure, ax = plt.subplots(figsize=(7, 0.5 * len(labels) + 1.1), layout="constrained")
        for label, kind, value in rows:
            color, marker = KINDS[kind]
            y = labels.index(label) + (kinds.index(kind) - (len(kinds) - 1) / 2) * 0.22
            estimate = value if isinstance(value, Estimate) else Estimate(value, value, value, 0, "")
            error = [[estimate.value - estimate.low], [estimate.high - estimate.value]]
            ax.errorbar(estimate.value, y, xerr=error, fmt=marker, color=color, ms=5, lw=1.4, capsize=3)
        for kind in kinds:
            ax.plot([], [], KINDS[kind][1], color=KINDS[kind][0], label=kind)
        if chance is not None:
            ax.axvline(chance, color="0.35", ls=":", lw=1, label="chance" if chance else "no difference")
        ax.set_yticks(range(len(labels)), labels)
        ax.set_ylim(len(labels) - 0.5, -0.5)
        ax.set_xlabel(quantity)
        if quantity == "RepMatch":
            ax.set_xlim(min(0, ax.get_xlim()[0]), max(1, ax.get_xlim()[1]))
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, 1.0 + 0.5 / len(labels)), ncol=4, fontsize=10, frameon=False)
        sns.despine(ax=ax, left=True)
        return finish(figure, path)


def layer_profile(scores: Mapping[str, Sequence[float]], chance_95: float, path: str | Path | None = None) -> Figure:
    """Score of each layer, one line a comparison.

    Parameters
    ----------
    scores : mapping of str to sequence of length L
    chance_95 : float
        95 % of unrelated subspaces score below this in a single layer; shaded.
    """
    styles = ["-o", "--s", ":^", "-.D"]
    with plt.rc_context(THEME):
        figure, ax = plt.subplots(figsize=(7, 3), layout="constrained")
        for (name, values), style in zip(scores.items(), styles, strict=False):
            ax.plot(range(1, len(values) + 1), values, style, color=BUILD, ms=5, label=name)
        ax.axhspan(0, chance_95, color="0.85", lw=0, label="95 % of chance")
        ax.set(xlabel="layer", ylabel="RepMatch", yscale="log", xticks=range(1, len(values) + 1))
        figure.legend(loc="outside upper left", ncols=4, fontsize=10, frameon=False)
        sns.despine(ax=ax)
        return finish(figure, path)


def curves_figure(
    panels: Mapping[str, Mapping[str, Mapping[float, Estimate]]],
    quantity: str,
    over: str,
    path: str | Path | None = None,
) -> Figure:
    """Estimates against a setting, one panel a kind of number, one line with its band a way.

    Parameters
    ----------
    panels : mapping of kind to mapping of name to mapping of x to Estimate
        ``kind`` is ``"recorded"`` or ``"this build"``; an empty one is left out.
    quantity, over : str
        On the axes; ``over`` on a logarithmic scale.
    """
    panels = {kind: curves for kind, curves in panels.items() if curves}
    styles = [("-", "o", 1.0), ("--", "s", 0.75), (":", "^", 0.5), ("-.", "D", 0.35)]
    with plt.rc_context(THEME):
        figure, axes = plt.subplots(
            1, len(panels), figsize=(max(4.5, 3.6 * len(panels)), 3.2), squeeze=False, sharey=True, layout="constrained"
        )
        for ax, (kind, curves) in zip(axes[0], panels.items(), strict=True):
            for (name, points), (line, marker, shade) in zip(curves.items(), styles, strict=False):
                xs, found = list(points), list(points.values())
                color = sns.light_palette(KINDS[kind][0], as_cmap=True)(shade)
                ax.plot(xs, [e.value for e in found], line, marker=marker, ms=4, color=color, label=name)
                ax.fill_between(xs, [e.low for e in found], [e.high for e in found], color=color, alpha=0.18, lw=0)
            ax.set(xscale="log", xlabel=over, title=kind, xticks=xs)
            ax.set_xticks(xs, [f"{x:g}" for x in xs], fontsize=10)
            ax.minorticks_off()
        axes[0, 0].set_ylabel(quantity)
        handles, labels = axes[0, -1].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncol=len(labels), fontsize=10, frameon=False)
        sns.despine(figure)
        return finish(figure, path)


def share_curves(
    panels: Mapping[str, pd.DataFrame], marked: float | None = None, path: str | Path | None = None
) -> Figure:
    """Share of pairs above every cosine, one line a data set, panels side by side.

    Parameters
    ----------
    panels : mapping of str to DataFrame
        By title; cosines as the index, data sets as the columns, shares from 0 to 1.
    marked : float, optional
        A threshold to draw.
    """
    with plt.rc_context(THEME):
        figure, axes = plt.subplots(
            1, len(panels), figsize=(7.5, 3.4), sharey=True, squeeze=False, layout="constrained"
        )
        for ax, (title, shares) in zip(axes[0], panels.items(), strict=True):
            styles = itertools.cycle(["-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1))])
            for (name, curve), style, color in zip(
                shares.items(), styles, sns.color_palette(COLORS, shares.shape[1] + 1), strict=False
            ):
                ax.plot(shares.index, curve, ls=style, color=color, lw=1.6, label=name)
            if marked is not None:
                ax.axvline(marked, color="0.35", ls=":", lw=1)
                ax.annotate(f"{marked:g}", (marked, 1.01), xycoords=("data", "axes fraction"), fontsize=10, ha="center")
            ax.set(xlabel=f"cosine, {title}", xlim=(-0.5, 1), ylim=(0, 1.02), xticks=(-0.5, 0, 0.5, 1))
            sns.despine(ax=ax)
        axes[0, 0].set_ylabel("share of pairs above")
        handles, names = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside upper center", ncol=len(names), fontsize=10, frameon=False)
        return finish(figure, path)


def times_figure(rows: pd.DataFrame, ways: Sequence[str], path: str | Path | None = None) -> Figure:
    """Milliseconds an instance, one bar a way of doing it, in float32 and bf16.

    Parameters
    ----------
    rows : DataFrame
        Of the performance record: ``model``, ``precision``, ``rank``, ``steps`` and ``<way> ms``. MiniLM at rank 1 and
        one step is drawn.
    ways : sequence of str
        From the slowest to the fastest.
    """
    chosen = rows.query("model == 'minilm' and rank == 1 and steps == 1").set_index("precision")
    with plt.rc_context(THEME):
        figure, ax = plt.subplots(figsize=(7, 3), layout="constrained")
        for k, (precision, hatch) in enumerate((("float32", ""), ("bf16", "//"))):
            times = [chosen.loc[precision, f"{way} ms"] for way in ways]
            places = [i + (k - 0.5) * 0.4 for i in range(len(ways))]
            bars = ax.barh(
                places, times, 0.38, color=RECORDED, alpha=1 - 0.45 * k, hatch=hatch, edgecolor="white", label=precision
            )
            ax.bar_label(bars, [f"{t:.3g}" for t in times], padding=3, fontsize=10)
        ax.set_yticks(range(len(ways)), ways)
        ax.invert_yaxis()
        ax.set(xscale="log", xlabel="milliseconds an instance")
        ax.margins(x=0.12)
        ax.legend(fontsize=10, frameon=False)
        sns.despine(ax=ax)
        return finish(figure, path)


def finish(figure: Figure, path: str | Path | None, metadata: Mapping[str, str] | None = None) -> Figure:
    """Write a figure where a path is given, and close it: a notebook shows it once, as the value of its cell."""
    if path is not None:
        figure.savefig(path, metadata=metadata, bbox_inches="tight")
    plt.close(figure)
    return figure


def wrapped(name: str) -> str:
    """An encoder's name, one line a step."""
    return name.replace(":", ":\n")
