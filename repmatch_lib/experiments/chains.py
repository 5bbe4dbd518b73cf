"""The chain of section 5.3 under common settings, target to fine-tuning, and what came of it."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from itertools import combinations
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from repmatch_lib.experiments.fine_tunings import FineTuning
from repmatch_lib.experiments.pools import Deduplicated
from repmatch_lib.experiments.rankings import Ranking
from repmatch_lib.experiments.runs import Run
from repmatch_lib.experiments.selections import Balance, Rule, Selection
from repmatch_lib.settings import Count, Length, Rate, Seed, Share, checked
from repmatch_lib.statistics import Estimate, jackknife, mean_over, paired

if TYPE_CHECKING:
    from repmatch_lib.training.fine_tuning import Outcome


@checked
class Chain:
    """Settings that all runs of a chapter on selection share.

    Attributes
    ----------
    encoder, source, rows, rank, lr, epochs, head_seed
        Of the target adapter; see `Run`.
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
    head_seed: Seed = 0
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
        names = ("encoder", "source", "rows", "rank", "lr", "epochs", "head_seed", "max_length")
        return Run(task, seed=seed, **{name: getattr(self, name) for name in names} | changes)

    def run(
        self,
        task: str,
        seed: int,
        rule: Rule = "top",
        balance: Balance | None = None,
        *,
        k: int | None = None,
        share: Share | None = None,
        pooling: Literal["mean", "cls"] = "mean",
        method: Literal["full", "lora"] = "full",
        **target: Any,
    ) -> FineTuning:
        """One seed through the whole chain.

        Parameters
        ----------
        task, seed : str, int
            The seed is the target's, the draw's and the fine-tuning's.
        rule, balance : str
            See `Selection`.
        k : int, optional
            Instances to keep, if not those of the chain.
        share : float, optional
            Of the pool that SemDeDup leaves to choose from; see `Deduplicated`.
        pooling : {"mean", "cls"}
            SemDeDup's vectors.
        method : {"full", "lora"}
        **target
            Settings of the target that differ from the chain's.
        """
        ranking = Ranking(self.target(task, seed, **target), rows=self.pool)
        left = ranking if share is None else Deduplicated(ranking, share, pooling)
        return FineTuning(
            Selection(left, rule, k or self.k, balance, draw=seed), method=method, seed=seed,
            lr=self.tuning_lr if method == "full" else self.lora_lr, epochs=self.tuning_epochs,
            batch_size=self.tuning_batch, max_length=self.max_length, evaluated=self.evaluated,
        )  # fmt: skip

    def runs(self, seeds: Iterable[int], task: str, *how: Any, **more: Any) -> dict[int, FineTuning]:
        """The same under several seeds."""
        return {seed: self.run(task, seed, *how, **more) for seed in seeds}


Key = tuple[Any, ...]  # what is compared, such as a task and a rule
Asked = Mapping[Key, Mapping[int, FineTuning]]


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

    def instances(self, *key: Hashable) -> dict[int, list[Any]]:
        """Ids of the kept instances in the order of choice, by seed."""
        return {seed: one.instances for seed, one in self.outcomes[key].items()}

    def mean(self, *key: Hashable) -> Estimate:
        """Accuracy or F1 in percent, mean over seeds."""
        return mean_over(self.percent[key], bounds=(0, 100))

    def less(self, a: tuple[Hashable, ...], b: tuple[Hashable, ...]) -> Estimate:
        """One selection less another in percentage points, seed by seed."""
        return paired(self.percent[a], self.percent[b])

    def largest_class(self, *key: Hashable) -> dict[int, float]:
        """Share of the commonest class among the kept instances, in percent, by seed."""
        return {seed: 100 * max(one.labels.values()) / len(one.instances) for seed, one in self.outcomes[key].items()}

    def shared(self, a: tuple[Hashable, ...], b: tuple[Hashable, ...]) -> dict[int, float]:
        """Share of instances that two selections have in common, in percent, by seed."""
        return {seed: _shared(one, self.outcomes[b][seed]) for seed, one in self.outcomes[a].items()}

    def shared_by_seeds(self, *key: Hashable) -> Estimate:
        """Share of instances that two seeds of one selection have in common, in percent, mean over pairs of seeds."""
        of_seeds = self.outcomes[key]

        def mean(kept: list[Any]) -> float:
            shares = [_shared(of_seeds[one], of_seeds[other]) for one, other in combinations(kept, 2)]
            return sum(shares) / len(shares) if shares else float("nan")

        return jackknife(list(of_seeds), mean, "run")

    def commonest_class(self, *key: Hashable) -> Estimate:
        """Accuracy of always naming the commonest class of the development rows, in percent."""
        dev = next(iter(self.asked[key].values())).development()
        share = dev.table["label"].to_pandas().value_counts(normalize=True).max()
        return Estimate(100 * float(share), float("nan"), float("nan"), len(dev), "row")

    def table(self, *names: str) -> pd.DataFrame:
        """One row a fine-tuning: its key under these names, ``seed``, ``value``, ``metric``, and its classes."""
        return pd.DataFrame(
            dict(zip(names, key if isinstance(key, tuple) else (key,), strict=True))
            | {"seed": seed, "value": one.value, "metric": one.metric}
            | {f"class {label}": count for label, count in one.labels.items()}
            for key, of_seeds in self.outcomes.items()
            for seed, one in of_seeds.items()
        )


def _shared(one: Any, other: Any) -> float:
    return 100 * len({*one.instances} & {*other.instances}) / len(one.instances)
