"""Points with intervals, bars, clouds."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from repmatch_lib.figures.style import COLORS, KINDS, RECORDED, THEME, finish, span
from repmatch_lib.statistics import Estimate


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
    estimates = [(label, kind, value if isinstance(value, Estimate) else _exact(value)) for label, kind, value in rows]
    with plt.rc_context(THEME):
        figure, ax = plt.subplots(figsize=(7, 0.5 * len(labels) + 1.1), layout="constrained")
        known = [
            (kind, value if isinstance(value, Estimate) else Estimate(value, value, value, 0, ""))
            for _, kind, value in rows
        ]
        for (label, kind, _), (_, estimate) in zip(rows, known, strict=True):
            color, marker = KINDS[kind]
            y = labels.index(label) + (kinds.index(kind) - (len(kinds) - 1) / 2) * 0.22
            error = [[estimate.value - estimate.low], [estimate.high - estimate.value]]
            ax.errorbar(estimate.value, y, xerr=error, fmt=marker, color=color, ms=5, lw=1.4, capsize=3)
        for kind in kinds:
            ax.plot([], [], KINDS[kind][1], color=KINDS[kind][0], label=kind)
        if chance is not None:
            ax.axvline(chance, color="0.35", ls=":", lw=1, label="chance" if chance else "no difference")
        ax.set_yticks(range(len(labels)), labels)
        ax.set_ylim(len(labels) - 0.5, -0.5)
        ax.set_xlabel(quantity)
        bounds = [] if chance is None else [("chance", _exact(chance))]
        low, high = span([*((kind, estimate) for _, kind, estimate in estimates), *bounds])
        ax.set_xlim(*((min(0, low), max(1, high)) if quantity == "RepMatch" else (low, high)))
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, 1.0 + 0.5 / len(labels)), ncol=4, fontsize=10, frameon=False)
        sns.despine(ax=ax, left=True)
        return finish(figure, path)


def _exact(value: float) -> Estimate:
    """A number without an interval."""
    return Estimate(value, value, value, 0, "")


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


MARKERS = ("o", "^", "s", "x", "D", "v", "+")


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


FILLABLE = ("o", "^", "s", "D", "v", "P")  # each can be filled or hollow


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
