"""A score as a curve over the rows of a sample: its points, its steps, and where it levels off.

For the book's chapter on batches: what else moves an adapter.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise

from repmatch_lib.experiments.seed_scores import Scores, other_seeds, over_seeds
from repmatch_lib.statistics import Estimate


def curve_estimates(name: str, scores: Mapping[int, Scores]) -> dict[str, Estimate]:
    """Points of a curve and its steps, over pairs of different seeds.

    Parameters
    ----------
    name : str
        The curve's.
    scores : mapping of int to array, shape (S, S)
        By the rows of a sample, in rising order.

    Returns
    -------
    dict of str to Estimate
        "name, n rows" for each size; "name, m rows less n" for each step from n to m, and from the first to the last.
    """
    sizes = list(scores)
    points = {f"{name}, {n} rows": over_seeds(other_seeds, scores[n]) for n in sizes}
    return points | {
        f"{name}, {many} rows less {few}": over_seeds(
            lambda more, less: other_seeds(more) - other_seeds(less), scores[many], scores[few]
        )
        for few, many in [*pairwise(sizes), (sizes[0], sizes[-1])]
    }


def curve_points(name: str, estimates: Mapping[str, Estimate]) -> dict[int, Estimate]:
    """The points of a curve among such estimates, by rows."""
    matches = {label: re.fullmatch(rf"{re.escape(name)}, (\d+) rows", label) for label in estimates}
    return {int(match[1]): estimates[label] for label, match in matches.items() if match}


def levels_off(name: str, estimates: Mapping[str, Estimate]) -> int | None:
    """The first size from which on no step to the next has an interval above zero; None if the last step has."""
    sizes = sorted(curve_points(name, estimates))
    rises = [estimates[f"{name}, {many} rows less {few}"].low > 0 for few, many in pairwise(sizes)]
    return next((n for k, n in enumerate(sizes[:-1]) if not any(rises[k:])), None)
