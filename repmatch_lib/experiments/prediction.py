"""Does a likeness of tasks predict what one gains from another? Gains, measures, and questions with their intervals.

The book's chapter on transfer introduces the questions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import spearmanr

from repmatch_lib.experiments.runs import Run
from repmatch_lib.experiments.seed_scores import other_seeds
from repmatch_lib.statistics import Estimate, jackknife

Array = NDArray[np.float64]


def gains(
    accuracy: Mapping[Run, Mapping[str, float]], before: Mapping[str, float], tasks: Sequence[str], seeds: Sequence[int]
) -> Array:
    """What a new head gains in accuracy from an encoder that was adapted to another task.

    Parameters
    ----------
    accuracy : mapping of Run to mapping of str to float
        By the run that adapted the encoder and by the head's task, from 0 to 1; see `Transferred`.
    before : mapping of str to float
        By task, that of a head on the encoder as published, from 0 to 1; see `published_head`.
    tasks, seeds : sequence
        T and S of them.

    Returns
    -------
    array, shape (S, T, T)
        In points, from the row's task to the column's; NaN where there is none, as on the diagonal.
    """
    points = np.full((len(seeds), len(tasks), len(tasks)), np.nan)
    for run, of_heads in accuracy.items():
        for task, value in of_heads.items():
            place = seeds.index(run.seed), tasks.index(run.task), tasks.index(task)
            points[place] = 100 * (value - before[task])
    return points


def one_way_share(gains: Array) -> Estimate:
    """Share of the variance of gains over ordered pairs that turns its sign when source and target change places.

    No measure that gives both directions one value can explain it.

    Parameters
    ----------
    gains : array, shape (S, T, T)
        From `gains`; the mean over seeds counts.

    Returns
    -------
    Estimate
        From 0 to 1, with its interval over seeds.
    """

    def share(kept: list[int]) -> float:
        mean = gains[kept].mean(0)
        return float(((mean - mean.T) / 2)[off_diagonal(mean)].var() / mean[off_diagonal(mean)].var())

    return jackknife(range(len(gains)), share)


def of_ordered_pairs(tasks: Sequence[str], measure: Callable[[str, str], float]) -> Array:
    """A measure of every ordered pair of T tasks, shape (T, T), NaN on the diagonal."""
    return np.array([[measure(a, b) if a != b else np.nan for b in tasks] for a in tasks])


def rank_correlation(x: Array, y: Array) -> float:
    """Spearman's, from -1 to 1; 0 where all of one side come out equal, to six decimals: nothing is ordered then."""
    x, y = np.round(x, 6), np.round(y, 6)
    return float(spearmanr(x, y).statistic) if np.ptp(x) > 0 and np.ptp(y) > 0 else 0.0


def off_diagonal(square: Array) -> NDArray[np.bool_]:
    """Which entries of a square are not on its diagonal."""
    return ~np.eye(len(square), dtype=bool)


def within_a_target(likeness: Array, gains: Array) -> float:
    """Rank correlation between likeness and gain among the sources of a target (a column), mean over targets."""
    columns = off_diagonal(gains).T
    return float(np.mean([rank_correlation(likeness[rest, b], gains[rest, b]) for b, rest in enumerate(columns)]))


def all_pairs(likeness: Array, gains: Array) -> float:
    """Rank correlation over all ordered pairs; targets that gain more from everything count here."""
    return rank_correlation(likeness[off_diagonal(gains)], gains[off_diagonal(gains)])


def both_directions(likeness: Array, gains: Array) -> float:
    """Rank correlation over unordered pairs, the mean of either direction taken on both sides."""
    upper = np.triu_indices(len(gains), 1)
    return rank_correlation((likeness + likeness.T)[upper], (gains + gains.T)[upper])


def its_choice(likeness: Array, gains: Array) -> float:
    """Gain from the likest source less the mean gain of all sources, in points, mean over targets."""
    columns = [(likeness[rest, b], gains[rest, b]) for b, rest in enumerate(off_diagonal(gains).T)]
    return float(np.mean([gain[like.argmax()] - gain.mean() for like, gain in columns]))


QUESTIONS: Mapping[str, Callable[[Array, Array], float]] = {
    "within a target": within_a_target,
    "all pairs": all_pairs,
    "both directions": both_directions,
    "its choice": its_choice,
}


@dataclass(frozen=True)
class Prediction:
    """Gains of T tasks from each other under S seeds, and measures that should predict them.

    The questions are those of ``QUESTIONS``; see the book's page on transfer.

    Attributes
    ----------
    tasks : sequence of str
    seeds : sequence of int
    gains : array, shape (S, T, T)
        From `gains`.
    measures : mapping of str to array
        By name, shape (T, T) where no seed comes in, or (S, S, T, T) of runs under every two seeds, as from
        `seed_scores`: then the mean over different seeds counts.
    """

    tasks: Sequence[str]
    seeds: Sequence[int]
    gains: Array
    measures: Mapping[str, Array]

    def measure(self, name: str, kept: Sequence[int] | None = None) -> Array:
        """A measure, shape (T, T); from some of the seeds, by their places, where it depends on them."""
        values = self.measures[name]
        if values.ndim == 2:
            return values
        kept = range(len(self.seeds)) if kept is None else kept
        mean = other_seeds(values[np.ix_(kept, kept)])
        return (mean + mean.T) / 2  # equal but for rounding, which must not decide an order

    def answer(self, question: str, name: str, kept: Sequence[int] | None = None) -> float:
        """A measure's answer, from all seeds or from some, by their places."""
        kept = range(len(self.seeds)) if kept is None else kept
        return QUESTIONS[question](self.measure(name, kept), self.gains[list(kept)].mean(0))

    def among(self, tasks: Iterable[str]) -> Prediction:
        """The same of some of the tasks, as sources and as targets."""
        kept = [self.tasks.index(task) for task in tasks]
        cut = {name: values[..., kept, :][..., kept] for name, values in self.measures.items()}
        names = [self.tasks[k] for k in kept]
        return dataclasses.replace(self, tasks=names, gains=self.gains[:, kept][..., kept], measures=cut)

    def without(self, task: str) -> Prediction:
        """The same of all tasks but one."""
        return self.among(other for other in self.tasks if other != task)

    def over_seeds(self, question: str, name: str, less: str | None = None) -> Estimate:
        """A measure's answer, or that less another measure's, with its interval from leaving out one seed at a time."""
        return self._jackknife(lambda kept: self._less(question, name, less, kept))

    def over_tasks(self, question: str, name: str, less: str | None = None) -> Estimate:
        """The same with the interval from leaving out one task at a time, as source and as target."""
        return jackknife(self.tasks, lambda kept: self.among(kept)._less(question, name, less), "task")

    def estimates(self, question: str, name: str, less: str | None = None) -> dict[str, Estimate]:
        """Both, as "name: question", where ``less`` is given "name - less: question", and the same ", over tasks"."""
        label = f"{name} - {less}: {question}" if less else f"{name}: {question}"
        return {
            label: self.over_seeds(question, name, less),
            f"{label}, over tasks": self.over_tasks(question, name, less),
        }

    def change_without(self, task: str, question: str, name: str) -> Estimate:
        """A measure's answer without a task less its answer with it, over seeds."""
        rest = self.without(task)
        return self._jackknife(lambda kept: rest.answer(question, name, kept) - self.answer(question, name, kept))

    def by_relabelling(self, question: str, name: str) -> Estimate:
        """Share of the ways to deal out the tasks' names anew, to the measure alone, that answer at least as high.

        All ways up to six tasks, 720 of them; of more tasks the names as they are and 719 drawn at random.
        """
        likeness, mean = self.measure(name), self.gains.mean(0)
        answers = np.array([QUESTIONS[question](likeness[np.ix_(way, way)], mean) for way in self._relabellings()])
        share = float((answers >= answers[0] - 1e-9).mean())
        return Estimate(share, float("nan"), float("nan"), len(answers), "relabelling")

    def table(self) -> pd.DataFrame:
        """One row an ordered pair and seed: ``from``, ``to``, ``seed``, ``gain``, and each measure by its name."""
        of_all_seeds = {name: self.measure(name) for name in self.measures}
        return pd.DataFrame(
            {"from": self.tasks[a], "to": self.tasks[b], "seed": seed, "gain": self.gains[s, a, b]}
            | {name: float(values[a, b]) for name, values in of_all_seeds.items()}
            for a, b in permutations(range(len(self.tasks)), 2)
            for s, seed in enumerate(self.seeds)
        )

    def _less(self, question: str, name: str, less: str | None, kept: Sequence[int] | None = None) -> float:
        return self.answer(question, name, kept) - (self.answer(question, less, kept) if less else 0)

    def _jackknife(self, statistic: Callable[[list[int]], float]) -> Estimate:
        return jackknife(range(len(self.seeds)), statistic)

    def _relabellings(self) -> list[tuple[int, ...]]:
        """Each as a reordering of places, once; the first changes nothing."""
        size = len(self.tasks)
        if size < 7:
            return list(permutations(range(size)))
        generator = np.random.default_rng(0)
        drawn = [tuple(generator.permutation(size).tolist()) for _ in range(719)]
        return list(dict.fromkeys([tuple(range(size)), *drawn]))
