"""Estimates over seeds, with intervals that know that pairs share their runs.

The book's page on the ledger states the rules that rest on them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit, logit
from scipy.stats import binomtest, bootstrap as scipy_bootstrap, t

Unit = TypeVar("Unit", bound=Hashable)

ROUNDING = 1e-9


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % interval.

    Attributes
    ----------
    value : float
    low, high : float
        95 % interval; NaN where there are too few units to give one.
    n : int
        Units: the runs that are independent of each other, such as training seeds.
    unit : str
    """

    value: float
    low: float
    high: float
    n: int
    unit: str

    def __str__(self) -> str:
        """For pages: three decimals, from ten on one."""
        return f"{self:{'.1f' if abs(self.value) >= 10 else '.3f'}}"

    def __format__(self, spec: str) -> str:
        spec = re.sub(r"^([-+ ]?)(?=[\d.]*f$)", r"\1z", spec or ".2f")  # what rounds to nothing has no sign
        interval = "" if math.isnan(self.low) else f" [{self.low:{spec}}, {self.high:{spec}}]"
        return f"{self.value:{spec}}{interval}"


def jackknife(
    units: Sequence[Unit],
    statistic: Callable[[list[Unit]], float],
    unit: str = "seed",
    bounds: tuple[float, float] | None = None,
) -> Estimate:
    """Estimate a statistic of pairs, and its interval from leaving out one unit at a time.

    Scores of pairs of runs are not independent: n runs give n(n - 1)/2 pairs. The delete-one jackknife over the
    runs, with Student's t on n - 1 degrees of freedom, allows for that where a standard error over pairs would not.

    Parameters
    ----------
    units : sequence
        Such as training seeds.
    statistic : callable
        Of a list of units; NaN if they are too few.
    unit : str
        What a unit is called.
    bounds : (float, float), optional
        What the statistic cannot pass, such as 0 and 1 of an area, -1 and 1 of a correlation: the interval is then
        taken on the logit's scale between them (of a correlation that is Fisher's z), so that it cannot either.

    Returns
    -------
    Estimate
        With a 95 % interval.
    """
    units = list(units)
    n = len(units)
    value = float(statistic(units))
    left_out = np.array([statistic(units[:k] + units[k + 1 :]) for k in range(n)]) if n > 1 else np.array([math.nan])
    low, high = bounds or (-math.inf, math.inf)
    shares = (np.array([value, *left_out]) - low) / (high - low) if bounds else np.array([math.nan])
    if (shares > ROUNDING).all() and (shares < 1 - ROUNDING).all():
        middle, *others = logit(shares)
        half = _half(np.array(others))
        ends = low + (high - low) * expit(np.array([middle - half, middle + half]))
    else:  # without bounds, or at one of them, where there is no logit
        ends = np.clip([value - _half(left_out), value + _half(left_out)], low, high)
    return Estimate(value, float(ends[0]), float(ends[1]), n, unit)


def _half(left_out: NDArray[np.float64]) -> float:
    """Half of a 95 % interval from values that each leave out one unit."""
    n = len(left_out)
    error = math.sqrt((n - 1) / n * float(((left_out - left_out.mean()) ** 2).sum()))
    return float(t.ppf(0.975, max(n - 1, 1))) * error


def mean_over(values: Mapping[Unit, float], unit: str = "run", bounds: tuple[float, float] | None = None) -> Estimate:
    """The mean of independent runs with Student's interval.

    Parameters
    ----------
    values : mapping
        One value a run.
    unit : str
    bounds : (float, float), optional
        As for `jackknife`.

    Raises
    ------
    ValueError
        If there is none.
    """
    if not values:
        raise ValueError(f"no {unit} to take a mean over")
    return jackknife(list(values), lambda kept: float(np.mean([values[one] for one in kept])), unit, bounds)


def paired(a: Mapping[Unit, float], b: Mapping[Unit, float], unit: str = "run") -> Estimate:
    """The mean of ``a - b`` over runs that share what they can, such as a seed.

    Raises
    ------
    ValueError
        If the runs of the two differ.
    """
    if a.keys() != b.keys():
        raise ValueError(f"runs {list(a)} and {list(b)} cannot be paired: give both the same runs")
    return mean_over({one: a[one] - b[one] for one in a}, unit)


def nested(
    values: Mapping[tuple[Hashable, ...], float], levels: Sequence[str], bounds: tuple[float, float] | None = None
) -> tuple[Estimate, dict[str, float]]:
    """The mean of a nested design, such as samples of rows within heads, and the variance that each level adds.

    Units of the first level are independent of each other, so the interval is over their means. The components are
    those of the analysis of variance: a level's mean square, less that of the level below, over the values in a unit.

    Parameters
    ----------
    values : mapping
        One value by its units, the outermost first: ``(head, sample, seed)``.
    levels : sequence of str
        Names of these levels, the last being that of single values.
    bounds : (float, float), optional
        As for `jackknife`.

    Returns
    -------
    mean : Estimate
        Over the first level, whose name is its unit.
    components : dict of str to float
        Variance of each level, at least 0; NaN where every unit holds a single one: the level above then has both.

    Raises
    ------
    ValueError
        If keys and levels do not fit, or units do not all hold as many.
    """
    if not values or {len(key) for key in values} != {len(levels)}:
        raise ValueError(f"levels = {list(levels)}: give one name for each part of the values' keys")
    means = pd.Series(values, dtype=float)
    components, below = {}, 0.0  # below: what the levels within add to the variance of a unit's mean
    for depth, level in reversed(list(enumerate(levels))):
        units = means.groupby(level=list(range(depth)), sort=False) if depth else means.groupby(lambda _: 0)
        if (sizes := units.size()).nunique() > 1:
            raise ValueError(f"some units hold {sizes.min()} of {level!r}, some {sizes.max()}: give each as many")
        variance = float(units.var(ddof=1).mean())
        alone = math.isnan(variance)
        components[level], below = (variance, 0.0) if alone else (max(variance - below, 0.0), variance / sizes.iloc[0])
        means = units.mean() if depth else means
    outermost = {unit: float(mean) for unit, mean in means.items()}
    return mean_over(outermost, levels[0], bounds), {level: components[level] for level in levels}


def bootstrap(values: Mapping[Unit, float], unit: str = "run", level: float = 0.95) -> Estimate:
    """The mean of independent runs with the bootstrap's percentile interval (Efron, 1979).

    With few runs it is too narrow: of five, the mean of a resample never leaves the range of the five. Verdicts
    therefore go by `mean_over`, and this interval stands beside it, free of an assumption on the runs' distribution.

    Parameters
    ----------
    values : mapping
        One value a run.
    unit : str
    level : float
    """
    sample = np.array(list(values.values()), dtype=float)
    if len(sample) < 3:
        return Estimate(float(sample.mean()), math.nan, math.nan, len(sample), unit)
    resampled = scipy_bootstrap((sample,), np.mean, confidence_level=level, method="percentile", rng=0)
    interval = resampled.confidence_interval
    return Estimate(float(sample.mean()), float(interval.low), float(interval.high), len(sample), unit)


def summary(groups: Mapping[str, Mapping[Unit, float]]) -> pd.DataFrame:
    """What runs came to: one row a group, indexed by its name.

    Parameters
    ----------
    groups : mapping
        By name, one value a run.

    Returns
    -------
    DataFrame
        ``runs``, ``mean``, ``SD`` (over runs, with n - 1), and two 95 % intervals of the mean: ``low`` and ``high``
        are Student's (`mean_over`), ``bootstrap low`` and ``bootstrap high`` those of `bootstrap`.
    """
    rows = {}
    for name, values in groups.items():
        student, resampled = mean_over(values), bootstrap(values)
        rows[name] = {
            "runs": student.n,
            "mean": student.value,
            "SD": pd.Series(values).std(),
            "low": student.low,
            "high": student.high,
            "bootstrap low": resampled.low,
            "bootstrap high": resampled.high,
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def percentage(count: int, of: int, unit: str = "row", level: float = 0.95) -> Estimate:
    """A count as a percentage of all, with Clopper and Pearson's interval, for rows drawn independently.

    Parameters
    ----------
    count, of : int
        ``0 <= count <= of``; of none it is NaN.
    unit : str
        What is counted.
    level : float

    Returns
    -------
    Estimate
        From 0 to 100.
    """
    if not of:
        return Estimate(math.nan, math.nan, math.nan, 0, unit)
    interval = binomtest(count, of).proportion_ci(level, "exact")
    return Estimate(100 * count / of, 100 * float(interval.low), 100 * float(interval.high), of, unit)
