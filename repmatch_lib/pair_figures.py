"""Scores of pairs of data sets by several encoders: maps side by side, and the order that each puts them in."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from repmatch_lib.figures import COLORS, THEME, wrapped

ORDER_LINES = ("-", "--", ":")


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
