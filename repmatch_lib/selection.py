"""Which instances to keep: the best by RepMatch, as the paper does (section 5.3), and what it is compared with."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import pandas as pd
from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from repmatch_lib import store as stores
from repmatch_lib.corpora import Corpus, load
from repmatch_lib.requests import Request
from repmatch_lib.runs import Count, Run, Seed
from repmatch_lib.scores import GATHERED, Scores
from repmatch_lib.store import one_thread
from repmatch_lib.tasks import task as find_task
from repmatch_lib.variants import encoder

if TYPE_CHECKING:
    from repmatch_lib.semdedup import Duplicates

# A rule's value for each instance; the highest are kept. `table` holds the corpus' columns, and what the rule needs.
RULES: dict[str, Callable[[pd.DataFrame, np.random.Generator], pd.Series]] = {
    "top": lambda table, random: table.score,
    "lowest": lambda table, random: -table.score,
    "highest loss": lambda table, random: table.loss,
    "longest": lambda table, random: table.words,
    "highest EL2N": lambda table, random: table["EL2N"],
    "facility location": lambda table, random: -table["facility location"],
    "k-centre": lambda table, random: -table["k-centre"],
    "random": lambda table, random: pd.Series(random.random(len(table)), table.index),
}
SCORED = ("top", "lowest", "highest loss")
# Rules that look at something else that is made for the pool: the request for it, in `measures`.
MEASURED = {"highest EL2N": "EarlyErrors", "facility location": "Coverage", "k-centre": "Coverage"}


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Ranking(Request):
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
        Of the instances' LoRA start, other than the target's: with one start the right sides would be the same.
    """

    target: Run
    rows: Count | None = None
    sample_seed: Seed = 0
    steps: Count = 1
    lr: Annotated[float, Field(gt=0)] = 1e-3
    rank: Count | None = None
    seed: Seed = 1000

    @property
    def needs(self) -> tuple[Run]:
        """Requests that come first."""
        return (self.target,)

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
class Deduplicated(Request):
    """A request for a ranking's pool without the rows that others say already, by SemDeDup; see `near_duplicates`.

    Attributes
    ----------
    ranking : Ranking
        Its pool, and its target's encoder and longest text; the scores are not looked at.
    share : float
        Of the pool's rows to keep, above 0 and at most 1; ε follows from it.
    pooling : {"mean", "cls"}
        Of the vectors; see `vectors`.
    clusters : int, optional
        Of k-means; one for each 1,000 rows if not given.
    seed : int
        Of k-means.
    """

    ranking: Ranking
    share: Annotated[float, Field(gt=0, le=1)]
    pooling: Literal["mean", "cls"] = "mean"
    clusters: Count | None = None
    seed: Seed = 0

    @property
    def target(self) -> Run:
        """The ranking's."""
        return self.ranking.target

    def make(self, store: stores.Store | None = None, progress: bool = True) -> Duplicates:
        """The pool's duplicates, one result for all shares: read from the store, or found cluster by cluster."""
        from repmatch_lib.cls_baseline import vectors
        from repmatch_lib.semdedup import CODE, Duplicates, near_duplicates
        from repmatch_lib.training import resolve_device, resolve_precision

        pool, model = self.ranking.pool(), encoder(self.target.encoder)
        how = dict(max_length=self.target.max_length, precision=resolve_precision("auto", resolve_device("auto")))
        key = stores.key(
            code=stores.code_version(CODE), encoder=model.fingerprint, pool=pool.fingerprint, pooling=self.pooling,
            clusters=self.clusters, seed=self.seed, **how,
        )  # fmt: skip
        folder = (store or stores.Store()).path("duplicates", key)
        if (folder / GATHERED).is_file():
            return Duplicates.load(folder)
        with one_thread():
            found = vectors(model, pool, self.pooling, progress=progress, **how)
            return near_duplicates(found, self.clusters, seed=self.seed, out=folder, progress=progress)

    def rows(self, store: stores.Store | None = None, progress: bool = True) -> np.ndarray:
        """Numbers of the pool's rows that stay, rising."""
        found = self.make(store, progress)
        return found.kept(found.eps_for(self.share))


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Selection:
    """So many instances of a ranked pool.

    Attributes
    ----------
    ranking : Ranking or Deduplicated
        Its pool is chosen from, whether the rule looks at the scores or not.
    rule : {"top", "lowest", "highest loss", "longest", "highest EL2N", "facility location", "k-centre", "random"}
        The highest and lowest scores, the highest losses before training, the most words, the largest errors under the
        target's model (`el2n`), a cover of the instances' own updates (`facility_location`, `k_centre`), or a random
        draw.
    k : int
    balance : {None, "label", "top"}
        As many of each class as the rule has it, the same number of each (as far as there are), or as many as there
        are among the k best by RepMatch; by the rule within each class.
    draw : int
        Seed of a random draw; added to the ranking's seed where instances are to be covered, so that each draw has
        updates of its own.
    """

    ranking: Ranking | Deduplicated
    rule: Literal[
        "top", "lowest", "highest loss", "longest", "highest EL2N", "facility location", "k-centre", "random"
    ] = "top"
    k: Count = 100
    balance: Literal["label", "top"] | None = None
    draw: Seed = 0

    @model_validator(mode="after")
    def _has_classes(self) -> Selection:
        if self.balance and find_task(self.ranking.target.task).kind != "classification":
            raise ValueError(f"{self.ranking.target.task} has no classes to balance: give balance=None")
        return self

    @property
    def needs(self) -> tuple[Request, ...]:
        """Requests that come first."""
        scored = (self._scores,) if self.rule in SCORED or self.balance == "top" else ()
        left = () if self.ranking is self._scores else (self.ranking,)
        return (*scored, *self._measured, *left)

    @property
    def _measured(self) -> tuple[Request, ...]:
        if self.rule not in MEASURED:
            return ()
        request = getattr(import_module("repmatch_lib.measures"), MEASURED[self.rule])
        return (request(dataclasses.replace(self._scores, seed=self._scores.seed + self.draw)),)

    @property
    def _scores(self) -> Ranking:
        return self.ranking.ranking if isinstance(self.ranking, Deduplicated) else self.ranking

    def pool(self) -> Corpus:
        """The instances that are ranked, those that SemDeDup drops among them."""
        return self._scores.pool()

    def make(self, store: stores.Store | None = None, progress: bool = True) -> Corpus:
        """The chosen instances, in the order of choice."""
        pool = self.pool()
        table = pool.table.to_pandas()
        table["words"] = sum(table[c].str.split().str.len() for c in ("text", "text_pair") if c in table)
        if self._scores in self.needs:
            table[["loss", "score"]] = self._scores.make(store, progress).to_pandas()[["loss", "score"]]
        for request in self._measured:
            table = table.join(request.make(store, progress))
        if isinstance(self.ranking, Deduplicated):
            rows = self.ranking.rows(store, progress)
            pool, table = pool.take(rows), table.iloc[rows]
        return pool.take(select(table, self.k, self.balance, self.rule, self.draw))


def select(
    scores: Scores | pd.DataFrame, k: int = 100, balance: str | None = None, rule: str = "top", draw: int = 0
) -> np.ndarray:
    """Row numbers of the instances that a rule keeps, the first choice first; equal values in the table's order.

    Parameters
    ----------
    scores : Scores or DataFrame
        With the columns that the rule looks at: ``score``, ``loss``, ``words``, ``label``, ``EL2N``, or an order's
        name.
    k, balance, rule, draw
        See `Selection`.

    Raises
    ------
    ValueError
        If there are fewer than ``k`` instances, the rule or balance is unknown, or its column is missing.
    """
    if rule not in RULES or balance not in (None, "label", "top"):
        rules = ", ".join(RULES)
        raise ValueError(f"rule = {rule!r}, balance = {balance!r}: give one of {rules}; None, 'label' or 'top'")
    table = scores.to_pandas() if isinstance(scores, Scores) else scores.reset_index(drop=True)
    if not 0 < k <= len(table):
        raise ValueError(
            f"k = {k}, but the pool has {len(table)} instances: give 1 to {len(table)}, or enlarge the pool"
        )
    try:
        value = RULES[rule](table, np.random.default_rng(draw))
    except (AttributeError, KeyError) as error:
        raise ValueError(f"rule {rule!r} looks at a column that the table lacks; it has {', '.join(table)}") from error
    if balance is None:
        return np.argsort(-value.to_numpy(), kind="stable")[:k]
    place = value.groupby(table.label).rank(method="first", ascending=False)  # within its class, from 1
    if balance == "label":
        return np.lexsort((-value, place))[:k]
    quota = table.label.iloc[select(table, k)].value_counts()
    kept = table.index[place <= table.label.map(quota).fillna(0)]
    return kept[np.argsort(-value[kept].to_numpy(), kind="stable")].to_numpy()
