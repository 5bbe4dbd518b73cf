"""A choice of instances from a ranked pool, as a value (section 5.3)."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import numpy as np
from pydantic import model_validator

from repmatch_lib.data.corpora import Corpus
from repmatch_lib.data.tasks import task as find_task
from repmatch_lib.experiments.pools import Coverage, Deduplicated, EarlyErrors
from repmatch_lib.experiments.rankings import Ranking
from repmatch_lib.experiments.requests import Request
from repmatch_lib.selection.rules import select
from repmatch_lib.settings import Count, Seed, checked
from repmatch_lib.store import Store

Rule = Literal[
    "top", "lowest", "highest loss", "longest", "highest EL2N", "facility location", "k-centre", "random"
]  # fmt: skip
Balance = Literal["label", "top"]

SCORED = ("top", "lowest", "highest loss")  # rules that look at the scores
# Rules that look at something else that is made for the pool, and the request for it.
LOOKED_UP: dict[str, type[EarlyErrors] | type[Coverage]] = {
    "highest EL2N": EarlyErrors,
    "facility location": Coverage,
    "k-centre": Coverage,
}


@checked
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
    among : int, optional
        Choose from so many of the pool's rows, drawn at random by ``draw``; the scores are those of the whole pool.
    """

    ranking: Ranking | Deduplicated
    rule: Rule = "top"
    k: Count = 100
    balance: Balance | None = None
    draw: Seed = 0
    among: Count | None = None

    @model_validator(mode="after")
    def _has_classes(self) -> Selection:
        if self.balance and find_task(self.ranking.target.task).kind != "classification":
            raise ValueError(f"{self.ranking.target.task} has no classes to balance: give balance=None")
        return self

    @property
    def needs(self) -> tuple[Request[Any], ...]:
        """Requests that come first."""
        scored = (self._scores,) if self.rule in SCORED or self.balance == "top" else ()
        left = () if self.ranking is self._scores else (self.ranking,)
        return (*scored, *self._looked_up, *left)

    @property
    def _looked_up(self) -> tuple[Request[Any], ...]:
        if self.rule not in LOOKED_UP:
            return ()
        return (LOOKED_UP[self.rule](dataclasses.replace(self._scores, seed=self._scores.seed + self.draw)),)

    @property
    def _scores(self) -> Ranking:
        return self.ranking.ranking if isinstance(self.ranking, Deduplicated) else self.ranking

    def pool(self) -> Corpus:
        """The instances that are ranked, those that SemDeDup drops among them."""
        return self._scores.pool()

    def make(self, store: Store | None = None, progress: bool = True) -> Corpus:
        """The chosen instances, in the order of choice."""
        pool = self.pool()
        table = pool.table.to_pandas()
        table["words"] = sum(table[c].str.split().str.len() for c in ("text", "text_pair") if c in table)
        if self._scores in self.needs:
            table[["loss", "score"]] = self._scores.make(store, progress).to_pandas()[["loss", "score"]]
        for request in self._looked_up:
            table = table.join(request.make(store, progress))
        rows = np.arange(len(pool))
        if isinstance(self.ranking, Deduplicated):
            rows = self.ranking.rows(store, progress)
        if self.among:
            rows = np.sort(np.random.default_rng(self.draw).permutation(rows)[: self.among])
        return pool.take(rows[select(table.iloc[rows], self.k, self.balance, self.rule, self.draw)])
