"""Which instances to keep: the best by RepMatch, as the paper does (section 5.3), and the controls beside them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Annotated, Literal

import numpy as np
import pandas as pd
from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from repmatch_lib import store as stores
from repmatch_lib.corpora import Corpus, load
from repmatch_lib.encoders import encoder
from repmatch_lib.runs import Count, Run, Seed, one_thread
from repmatch_lib.scores import GATHERED, Scores
from repmatch_lib.tasks import task as find_task

# A rule's value for each instance; the highest are kept. `table` holds the corpus' columns, and loss and score.
RULES: dict[str, Callable[[pd.DataFrame, np.random.Generator], pd.Series]] = {
    "top": lambda table, random: table.score,
    "lowest": lambda table, random: -table.score,
    "highest loss": lambda table, random: table.loss,
    "longest": lambda table, random: table.words,
    "random": lambda table, random: pd.Series(random.random(len(table)), table.index),
}
SCORED = ("top", "lowest", "highest loss")


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Ranking:
    """A request for the scores of a pool of instances against the adapter of a run on the same task.

    Attributes
    ----------
    target : Run
        Gives task, encoder, corpora, head and longest text.
    rows, sample_seed : int
        The pool, drawn from the training set; all of it if ``rows`` is not given, or there are no more.
    steps, lr, rank : int, float, int
        Of each instance's own training; see `Scoring`. The rank is the target's if not given.
    seed : int
        Of the instances' LoRA start. One equal to the target's would give both the same start, and higher scores.
    """

    target: Run
    rows: Count | None = None
    sample_seed: Seed = 0
    steps: Count = 1
    lr: Annotated[float, Field(gt=0)] = 1e-3
    rank: Count | None = None
    seed: Seed = 1000

    @property
    def id(self) -> str:
        """Hash of the request."""
        return stores.key(**dataclasses.asdict(self))

    @property
    def needs(self) -> tuple[Run]:
        """Requests that come first."""
        return (self.target,)

    def to_json(self) -> str:
        """The request as the command line takes it."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    def pool(self) -> Corpus:
        """The instances."""
        task, source = find_task(self.target.task), self.target.source
        whole = load(task, source=source)
        few = self.rows is None or self.rows >= len(whole)
        return whole if few else load(task, source=source, rows=self.rows, seed=self.sample_seed)

    def make(self, store: stores.Store | None = None, progress: bool = True) -> Scores:
        """The scores: read from the store, or computed and put there block by block, so that nothing is done twice."""
        from repmatch_lib.checks import target_digest
        from repmatch_lib.instances import score_instances
        from repmatch_lib.scoring import CODE

        store = store or stores.Store()
        target, pool = self.target.make(store, progress), self.pool()
        settings = dict(steps=self.steps, lr=self.lr, rank=self.rank or self.target.rank, seed=self.seed)
        settings |= dict(max_length=self.target.max_length, precision=target.provenance["training"]["precision"])
        settings |= dict(modules=self.target.modules)
        key = stores.key(
            code=stores.code_version(CODE), encoder=encoder(self.target.encoder).fingerprint, pool=pool.fingerprint,
            target=target_digest(target, self.target.modules), ids=pool.table["id"].to_pylist(), **settings,
        )  # fmt: skip
        folder = store.path("scores", key)
        if (folder / GATHERED).is_file():
            return Scores.load(folder / GATHERED)
        with one_thread():
            return score_instances(
                encoder(self.target.encoder), pool, target, out=folder, progress=progress, **settings
            )


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Selection:
    """So many instances of a ranked pool.

    Attributes
    ----------
    ranking : Ranking
        Its pool is chosen from, whether the rule looks at the scores or not.
    rule : {"top", "lowest", "highest loss", "longest", "random"}
        The highest and lowest scores, the highest losses before training, the most words, or a random draw.
    k : int
    balance : {None, "label", "top"}
        As many of each class as the rule has it, the same number of each (as far as there are), or as many as there
        are among the k best by RepMatch; by the rule within each class.
    draw : int
        Seed of a random draw.
    """

    ranking: Ranking
    rule: Literal["top", "lowest", "highest loss", "longest", "random"] = "top"
    k: Count = 100
    balance: Literal["label", "top"] | None = None
    draw: Seed = 0

    @model_validator(mode="after")
    def _has_classes(self) -> Selection:
        if self.balance and find_task(self.ranking.target.task).kind != "classification":
            raise ValueError(f"{self.ranking.target.task} has no classes to balance: give balance=None")
        return self

    @property
    def needs(self) -> tuple[Ranking, ...]:
        """Requests that come first."""
        return (self.ranking,) if self.rule in SCORED or self.balance == "top" else ()

    def make(self, store: stores.Store | None = None, progress: bool = True) -> Corpus:
        """The chosen instances, in the order of choice."""
        pool = self.ranking.pool()
        table = pool.table.to_pandas()
        table["words"] = sum(table[c].str.split().str.len() for c in ("text", "text_pair") if c in table)
        if self.needs:
            table[["loss", "score"]] = self.ranking.make(store, progress).to_pandas()[["loss", "score"]]
        return pool.take(select(table, self.k, self.balance, self.rule, self.draw))


def select(
    scores: Scores | pd.DataFrame, k: int = 100, balance: str | None = None, rule: str = "top", draw: int = 0
) -> np.ndarray:
    """Row numbers of the instances that a rule keeps, the first choice first; equal values in the table's order.

    Parameters
    ----------
    scores : Scores or DataFrame
        With the columns that the rule looks at: ``score``, ``loss``, ``words``, ``label``.
    k, balance, rule, draw
        See `Selection`.

    Raises
    ------
    ValueError
        If there are fewer than ``k`` instances, or the rule or balance is unknown.
    """
    if rule not in RULES or balance not in (None, "label", "top"):
        rules = ", ".join(RULES)
        raise ValueError(f"rule = {rule!r}, balance = {balance!r}: give one of {rules}; None, 'label' or 'top'")
    table = scores.to_pandas() if isinstance(scores, Scores) else scores.reset_index(drop=True)
    if k > len(table):
        raise ValueError(f"k = {k}, but the pool has {len(table)} instances: lower k, or enlarge the pool")
    value = RULES[rule](table, np.random.default_rng(draw))
    if balance is None:
        return np.argsort(-value.to_numpy(), kind="stable")[:k]
    place = value.groupby(table.label).rank(method="first", ascending=False)  # within its class, from 1
    if balance == "label":
        return np.lexsort((-value, place))[:k]
    quota = table.label.iloc[select(table, k)].value_counts()
    kept = table.index[place <= table.label.map(quota).fillna(0)]
    return kept[np.argsort(-value[kept].to_numpy(), kind="stable")].to_numpy()
