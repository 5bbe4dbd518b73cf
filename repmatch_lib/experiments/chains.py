"""The chain of section 5.3 under common settings, target to fine-tuning, and what came of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Mapping
from itertools import combinations
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from repmatch_lib.experiments.fine_tunings import FineTuning
from repmatch_lib.experiments.pools import Deduplicated
from repmatch_lib.experiments.rankings import Ranking
from repmatch_lib.experiments.runs import Run
from repmatch_lib.experiments.selections import Balance, Rule, Selection
from repmatch_lib.settings import Count, Length, Rate, Share, checked
from repmatch_lib.statistics import Estimate, jackknife

if TYPE_CHECKING:
    from repmatch_lib.training.fine_tuning import Outcome


@checked
class Chain:
    """Settings that all runs of a chapter on selection share.

    Attributes
    ----------
    encoder, source, rows, rank, lr, epochs
        Of the target adapter; see `Run`.
    targets : int
        Of a task, each under a head and on a draw of rows of its own. The runs take turns: one has the target of its
        seed modulo their number.
    pool : int, optional
        Rows that are scored and chosen from; all if not given.
    k : int
        Instances to keep.
    max_length : int
        Longest text in tokens, of target, instances and fine-tuning.
    tuning_lr, lora_lr : float
        AdamW's rate for full fine-tuning, and with LoRA.
    tuning_epochs, tuning_batch : int
        Passes over the kept instances, and instances a step.
    evaluated : int, optional
        Rows of the development set; all if not given.
    """

    encoder: str = "minilm"
    source: Literal["mini", "local", "hub", "auto"] = "auto"
    rows: Count | None = None
    rank: Count = 1
    lr: Rate = 1e-4
    epochs: Count | None = None
    targets: Count = 3
    pool: Count | None = None
    k: Count = 100
    max_length: Length = 128
    tuning_lr: Rate = 1e-4
    lora_lr: Rate = 1e-3
    tuning_epochs: Count = 10
    tuning_batch: Count = 10
    evaluated: Count | None = None

    def target(self, task: str, seed: int, **changes: Any) -> Run:
        """The run whose adapter instances are compared with."""
        names = ("encoder", "source", "rows", "rank", "lr", "epochs", "max_length")
        settings = {name: getattr(self, name) for name in names}
        settings |= dict.fromkeys(("seed", "head_seed", "sample_seed"), seed % self.targets)
        return Run(task, **settings | changes)

    def run(
        self,
        task: str,
        seed: int,
        rule: Rule = "top",
        balance: Balance | None = None,
        *,
        k: int | None = None,
        pool: int | None = None,
        among: int | None = None,
        share: Share | None = None,
        pooling: Literal["mean", "cls"] = "mean",
        method: Literal["full", "lora"] = "full",
        **target: Any,
    ) -> FineTuning:
        """One seed through the whole chain.

        Parameters
        ----------
        task, seed : str, int
            The seed is the draws' and the fine-tuning's.
        rule, balance : str
            See `Selection`.
        k : int, optional
            Instances to keep, if not those of the chain.
        pool : int, optional
            Rows of the pool, if not those of the chain.
        among : int, optional
            See `Selection`.
        share : float, optional
            Of the pool that SemDeDup leaves to choose from; see `Deduplicated`.
        pooling : {"mean", "cls"}
            SemDeDup's vectors.
        method : {"full", "lora"}
        **target
            Settings of the target that differ from the chain's.
        """
        ranking = Ranking(self.target(task, seed, **target), rows=pool or self.pool)
        left = ranking if share is None else Deduplicated(ranking, share, pooling)
        return FineTuning(
            Selection(left, rule, k or self.k, balance, seed, among), method=method, seed=seed,
            lr=self.tuning_lr if method == "full" else self.lora_lr, epochs=self.tuning_epochs,
            batch_size=self.tuning_batch, max_length=self.max_length, evaluated=self.evaluated,
        )  # fmt: skip

    def runs(self, seeds: Iterable[int], task: str, *how: Any, **more: Any) -> dict[int, FineTuning]:
        """The same under several seeds."""
        return {seed: self.run(task, seed, *how, **more) for seed in seeds}


Key = tuple[Any, ...]  # what is compared, such as a task and a rule
Asked = Mapping[Key, Mapping[int, FineTuning]]
Bounds = tuple[float, float]


def every_request(asked: Asked) -> list[FineTuning]:
    """All fine-tunings that were asked for."""
    return [request for of_seeds in asked.values() for request in of_seeds.values()]


class Outcomes:
    """What came of fine-tunings, by what is compared and by seed: made, or found in the store.

    Parameters
    ----------
    asked : mapping of key to mapping of seed to FineTuning
        Keys are what the chapter compares, such as ``("sst2", "top")``.
    """

    def __init__(self, asked: Asked, progress: bool = True) -> None:
        self.asked = asked
        self.outcomes = {
            key: {seed: request.make(progress=progress) for seed, request in of_seeds.items()}
            for key, of_seeds in asked.items()
        }
        # In percent, as the paper prints them.
        self.percent = {
            key: {seed: 100 * one.value for seed, one in of_seeds.items()} for key, of_seeds in self.outcomes.items()
        }

    def __getitem__(self, key: Key) -> dict[int, Outcome]:
        """By seed."""
        return self.outcomes[key]

    @property
    def made(self) -> dict[FineTuning, Any]:
        """By request, as a record takes them."""
        return {
            request: self.outcomes[key][seed]
            for key, of_seeds in self.asked.items()
            for seed, request in of_seeds.items()
        }

    @property
    def targets(self) -> dict[int, list[int]]:
        """Seeds of the runs that share a target, by the first of them."""
        shared: dict[Run, list[int]] = {}
        for seed, request in next(iter(self.asked.values())).items():
            shared.setdefault(request.selection.ranking.target, []).append(seed)
        return {seeds[0]: seeds for seeds in shared.values()}

    def estimate(self, statistic: Callable[[list[int]], float], bounds: Bounds | None = None) -> Estimate:
        """A statistic of seeds, and its interval from leaving out one target with all its runs at a time."""
        runs = self.targets
        return jackknife(
            list(runs), lambda kept: statistic([seed for first in kept for seed in runs[first]]), "target", bounds
        )

    def over(
        self, values: Mapping[int, float], less: Mapping[int, float] | None = None, bounds: Bounds | None = None
    ) -> Estimate:
        """The mean over runs of one value a seed, or of its difference from another, with `estimate`'s interval."""
        differences = {seed: value - (less[seed] if less else 0.0) for seed, value in values.items()}
        return self.estimate(lambda seeds: _mean(differences[seed] for seed in seeds), bounds)

    def instances(self, *key: Hashable) -> dict[int, list[Any]]:
        """Ids of the kept instances in the order of choice, by seed."""
        return {seed: one.instances for seed, one in self.outcomes[key].items()}

    def mean(self, *key: Hashable) -> Estimate:
        """Accuracy or F1 in percent, mean over runs."""
        return self.over(self.percent[key], bounds=(0, 100))

    def less(self, a: tuple[Hashable, ...], b: tuple[Hashable, ...]) -> Estimate:
        """One selection less another in percentage points, seed by seed."""
        return self.over(self.percent[a], self.percent[b])

    def largest_class(self, *key: Hashable) -> dict[int, float]:
        """Share of the commonest class among the kept instances, in percent, by seed."""
        return {seed: 100 * max(one.labels.values()) / len(one.instances) for seed, one in self.outcomes[key].items()}

    def shared(self, a: tuple[Hashable, ...], b: tuple[Hashable, ...]) -> dict[int, float]:
        """Share of instances that two selections have in common, in percent, by seed."""
        return {seed: _shared(one, self.outcomes[b][seed]) for seed, one in self.outcomes[a].items()}

    def shared_by_targets(self, *key: Hashable) -> Estimate:
        """Share of instances that the selections of two targets have in common, in percent, mean over pairs."""

        def mean(kept: list[int]) -> float:
            pairs = combinations([self.outcomes[key][seed] for seed in kept], 2)
            return _mean(_shared(one, other) for one, other in pairs)

        return jackknife(list(self.targets), mean, "target")

    def commonest_class(self, *key: Hashable) -> Estimate:
        """Accuracy of always naming the commonest class of the development rows, in percent."""
        learned = next(iter(self.outcomes[key].values())).provenance["learned"]
        return Estimate(100 * learned["constant"], math.nan, math.nan, learned["rows"], "row")

    def table(self, *names: str) -> pd.DataFrame:
        """One row a fine-tuning: its key under these names, seeds, ``value``, the ``constant`` answer's, classes."""
        return pd.DataFrame(
            dict(zip(names, key if isinstance(key, tuple) else (key,), strict=True))
            | {"seed": seed, "target": self.asked[key][seed].selection.ranking.target.seed}
            | {"value": one.value, "constant": one.provenance["learned"]["constant"], "metric": one.metric}
            | {f"class {label}": count for label, count in one.labels.items()}
            for key, of_seeds in self.outcomes.items()
            for seed, one in of_seeds.items()
        )


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(known)) if (known := list(values)) else math.nan


def _shared(one: Any, other: Any) -> float:
    return 100 * len({*one.instances} & {*other.instances}) / len(one.instances)
