"""Pictures of sets of vectors and of images: points in a plane, the size of directions, the images themselves."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from repmatch_lib.figures import COLORS, THEME

MARKERS = ("o", "^", "s", "x", "D", "v", "+")
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))


def scatter_panels(panels: Mapping[str, pd.DataFrame]) -> Figure:
    """Points in a plane, one panel a set, a colour and a marker a group; the axes have no unit.

    Parameters
    ----------
    panels : mapping of str to DataFrame
        By title; columns ``x``, ``y`` and ``group``, the same groups in all.
    """
    groups = list(dict.fromkeys(itertools.chain(*(points.group for points in panels.values()))))
    with plt.rc_context(THEME):
        figure, axes = plt.subplots(
            1, len(panels), figsize=(3.1 * len(panels), 3.5), squeeze=False, layout="constrained"
        )
        for ax, (title, points) in zip(axes[0], panels.items(), strict=True):
            for group, marker, color in zip(
                groups, itertools.cycle(MARKERS), sns.color_palette(COLORS, len(groups) + 1), strict=False
            ):
                chosen = points[points.group == group]
                ax.scatter(chosen.x, chosen.y, 18, color=color, marker=marker, alpha=0.75, lw=0.8, label=group)
            ax.set(title=title, xticks=[], yticks=[])
        handles, names = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside upper center", ncol=len(names), fontsize=10, frameon=False)
        plt.close(figure)
        return figure


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


def pictures(images: Mapping[str, ArrayLike]) -> Figure:
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
