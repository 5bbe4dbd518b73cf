"""Lines: over layers, over a setting, over cosines, over directions."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from repmatch_lib.figures.style import COLORS, KINDS, THEME, finish, span, wrapped
from repmatch_lib.statistics import Estimate


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
            ax.plot(range(1, len(values) + 1), values, style, color="0.25", ms=5, label=name)
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
                xs = sorted(points)
                found = [points[x] for x in xs]
                color = sns.light_palette(KINDS[kind][0], as_cmap=True)(shade)
                ax.plot(xs, [e.value for e in found], line, marker=marker, ms=4, color=color, label=name)
                ax.fill_between(xs, [e.low for e in found], [e.high for e in found], color=color, alpha=0.18, lw=0)
            ax.set(xscale="log", xlabel=over, title=kind, xticks=xs)
            ax.set_xticks(xs, [f"{x:g}" for x in xs], fontsize=10)
            ax.minorticks_off()
        axes[0, 0].set_ylabel(quantity)
        axes[0, 0].set_ylim(
            *span((kind, e) for kind, curves in panels.items() for points in curves.values() for e in points.values())
        )
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


ORDER_LINES = ("-", "--", ":")


def order_figure(panels: Mapping[str, pd.DataFrame], groups: Mapping[str, str]) -> Figure:
    """Places of pairs in each encoder's order, the highest score on top; lines that cross are pairs that change places.

    Parameters
    ----------
    panels : mapping of kind to DataFrame
        Scores: pairs as the index, encoders as the columns; a kind without any is left out.
    groups : mapping of pair to str
        Up to three groups, one line style each.
    """
    panels = {kind: scores for kind, scores in panels.items() if len(scores)}
    names = list(dict.fromkeys(groups.values()))
    styles = dict(zip(names, zip(ORDER_LINES, sns.color_palette(COLORS, len(names) + 1), strict=False), strict=False))
    heights = [0.24 * len(scores) + 1 for scores in panels.values()]
    with plt.rc_context(THEME):
        figure, axes = plt.subplots(
            len(panels), figsize=(7, sum(heights) + 0.5), squeeze=False, layout="constrained", height_ratios=heights
        )
        for ax, (kind, scores) in zip(axes[:, 0], panels.items(), strict=True):
            places = scores.rank(ascending=False)
            for pair, line in places.iterrows():
                style, color = styles[groups[pair]]
                ax.plot(range(len(line)), line, ls=style, marker="o", ms=4, color=color, label=groups[pair])
            ax.set_yticks(places.iloc[:, 0], places.index, fontsize=9)
            ax.set_xticks(range(places.shape[1]), map(wrapped, places.columns), fontsize=9)
            ax.set(title=kind, xlim=(-0.3, places.shape[1] - 0.7))
            ax.invert_yaxis()
            ax.tick_params(length=0)
            sns.despine(ax=ax, left=True, bottom=True)
        handles = {name: ax.plot([], [], ls=styles[name][0], color=styles[name][1])[0] for name in names}
        figure.legend(
            handles.values(), handles, loc="outside upper center", ncol=len(names), fontsize=10, frameon=False
        )
        plt.close(figure)
        return figure


LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))


def spectrum_figure(spectra: Mapping[str, Mapping[str, ArrayLike]]) -> Figure:
    """Share of the variance in the first directions, one panel a kind of vector, one line a set.

    Parameters
    ----------
    spectra : mapping of str to mapping of str to array
        By panel and name: singular values, the largest first.
    """
    with plt.rc_context(THEME):
        figure, axes = plt.subplots(
            1, len(spectra), figsize=(3.75 * len(spectra), 3.4), sharey=True, squeeze=False, layout="constrained"
        )
        for ax, (title, lines) in zip(axes[0], spectra.items(), strict=True):
            for (name, values), style, color in zip(
                lines.items(), itertools.cycle(LINES), sns.color_palette(COLORS, len(lines) + 1), strict=False
            ):
                shares = np.cumsum(np.square(values)) / np.sum(np.square(values))
                ax.plot(range(1, len(shares) + 1), shares, ls=style, color=color, lw=1.6, label=name)
            ax.set(xscale="log", xlabel=f"directions, {title}", ylim=(0, 1.02))
            sns.despine(ax=ax)
        axes[0, 0].set_ylabel("share of the variance")
        handles, names = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside upper center", ncol=len(names), fontsize=10, frameon=False)
        plt.close(figure)
        return figure
