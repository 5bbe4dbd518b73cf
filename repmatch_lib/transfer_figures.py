"""Figures of transfer: what each task gains from each other, and against what."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from repmatch_lib.figures import COLORS, THEME

FILLABLE = ("o", "^", "s", "D", "v", "P")  # each can be filled or hollow


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


def gain_points(panels: Mapping[str, pd.DataFrame], quantity: str = "RepMatch") -> Figure:
    """Gains against a similarity, a colour and a marker a target, filled where the source is of its kind.

    Parameters
    ----------
    panels : mapping of str to DataFrame
        By title; columns ``x``, ``gain`` (points), ``target`` and ``same_kind``.
    quantity : str
        What ``x`` is.
    """
    targets = list(dict.fromkeys(itertools.chain(*(points.target for points in panels.values()))))
    colors = sns.color_palette(COLORS, len(targets) + 1)
    with plt.rc_context(THEME):
        figure, axes = plt.subplots(
            1, len(panels), figsize=(max(4.8, 3.8 * len(panels)), 3.8), squeeze=False, layout="constrained"
        )
        for ax, (title, points) in zip(axes[0], panels.items(), strict=True):
            for target, marker, color in zip(targets, itertools.cycle(FILLABLE), colors, strict=False):
                for same, chosen in points[points.target == target].groupby("same_kind"):
                    ax.scatter(
                        chosen.x, chosen.gain, 34, marker=marker, edgecolors=[color], lw=1.3,
                        facecolors=[color] if same else "none",
                    )  # fmt: skip
            ax.axhline(0, color="0.35", ls=":", lw=1)
            ax.set(xlabel=quantity, title=title)
            sns.despine(ax=ax)
        axes[0, 0].set_ylabel("gain, points")
        for target, marker, color in zip(targets, itertools.cycle(FILLABLE), colors, strict=False):
            axes[0, 0].scatter([], [], 34, marker=marker, color=color, label=f"to {target}")
        handles, names = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside upper center", ncol=3, fontsize=10, frameon=False)
        plt.close(figure)
        return figure
