"""What else can be known of a ranked pool: its duplicates, its cover, its early errors.

The book's chapter on better selection introduces them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import pandas as pd

from repmatch_lib.experiments.rankings import Ranking
from repmatch_lib.experiments.requests import Request
from repmatch_lib.experiments.runs import Run
from repmatch_lib.instances.scores import GATHERED
from repmatch_lib.settings import Count, Seed, Share, checked
from repmatch_lib.store import Store, key, one_thread, stored
from repmatch_lib.training.encoder_variants import encoder

if TYPE_CHECKING:
    from repmatch_lib.selection.duplicates import Duplicates

VALUES = "values.parquet"


@checked
class Deduplicated(Request["Duplicates"]):
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

    kind: ClassVar[str] = "deduplicated"
    ranking: Ranking
    share: Share
    pooling: Literal["mean", "cls"] = "mean"
    clusters: Count | None = None
    seed: Seed = 0

    @property
    def target(self) -> Run:
        """The ranking's."""
        return self.ranking.target

    def folder(self, store: Store, progress: bool) -> Path:
        """The folder of the pool's duplicates, one result for all shares, found cluster by cluster."""
        from repmatch_lib.embeddings.vectors import vectors
        from repmatch_lib.selection.duplicates import near_duplicates

        pool, model = self.ranking.pool(), encoder(self.target.encoder)
        length = self.target.max_length
        folder = store.path(
            "duplicates",
            key(
                code=self.code, encoder=model.fingerprint, pool=pool.fingerprint, pooling=self.pooling,
                clusters=self.clusters, seed=self.seed, max_length=length,
            ),
        )  # fmt: skip
        if not (folder / GATHERED).is_file():
            with one_thread():
                rows = vectors(model, pool, self.pooling, max_length=length, progress=progress)
                near_duplicates(rows, self.clusters, seed=self.seed, out=folder, progress=progress)
        return folder

    def read(self, folder: Path) -> Duplicates:
        """The duplicates."""
        from repmatch_lib.selection.duplicates import Duplicates

        return Duplicates.load(folder)

    def rows(self, store: Store | None = None, progress: bool = True) -> np.ndarray:
        """Numbers of the pool's rows that stay, rising."""
        duplicates = self.make(store, progress)
        return duplicates.kept(duplicates.eps_for(self.share))


@checked
class Coverage(Request[pd.DataFrame]):
    """A request for the orders in which a pool's instances cover their own updates; see `facility_location`.

    Attributes
    ----------
    covered : Ranking
        Gives the pool and how its instances are trained; of its target only the settings are looked at.
    """

    kind: ClassVar[str] = "coverage"
    covered: Ranking

    def folder(self, store: Store, progress: bool) -> Path:
        """The orders' folder."""
        from repmatch_lib.instances.scoring import instance_updates
        from repmatch_lib.selection.coverage import facility_location, k_centre, update_similarity

        target = self.covered.target
        model, pool = encoder(target.encoder), self.covered.pool()
        settings = self.covered.settings() | {"head_seed": target.head_seed}

        def write(folder: Path) -> None:
            similarity = update_similarity(instance_updates(model, pool, progress=progress, **settings))
            orders = {"facility location": facility_location(similarity), "k-centre": k_centre(similarity)}
            pd.DataFrame({name: np.argsort(order) for name, order in orders.items()}).to_parquet(folder / VALUES)

        return stored("coverage", __name__, write, store, encoder=model.fingerprint, pool=pool.fingerprint, **settings)

    def read(self, folder: Path) -> pd.DataFrame:
        """Each row's place in the two orders, from 0: ``facility location`` and ``k-centre``."""
        return pd.read_parquet(folder / VALUES)


@checked
class Quoted(Request[pd.DataFrame]):
    """A request for the first and the last instances of a ranking, with their texts, to be read.

    Attributes
    ----------
    quoted : Ranking
    first, last : int
        So many of either end.
    """

    kind: ClassVar[str] = "quoted"
    quoted: Ranking
    first: Count = 8
    last: Count = 4

    @property
    def needs(self) -> tuple[Ranking]:
        """Requests that come first."""
        return (self.quoted,)

    def folder(self, store: Store, progress: bool) -> Path:
        """The instances' folder."""
        scores, pool = self.quoted.make(store, progress), self.quoted.pool()

        def write(folder: Path) -> None:
            order = np.argsort(-scores.to_pandas()["score"].to_numpy(), kind="stable")
            chosen = order[np.r_[: self.first, -self.last : 0]]
            pool.named().iloc[chosen].assign(score=scores.to_pandas()["score"].iloc[chosen]).to_parquet(folder / VALUES)

        return stored(
            "quoted", __name__, write, store, pool=pool.fingerprint, scores=scores.made_of, ends=(self.first, self.last)
        )

    def read(self, folder: Path) -> pd.DataFrame:
        """Columns of the corpus, ``class`` and ``score``, the highest score first."""
        return pd.read_parquet(folder / VALUES)


@checked
class EarlyErrors(Request[pd.DataFrame]):
    """A request for a pool's errors under the model that a ranking's target has made of the encoder; see `el2n`.

    Attributes
    ----------
    early : Ranking
        Gives target and pool; the scores are not looked at.
    """

    kind: ClassVar[str] = "early errors"
    early: Ranking

    @property
    def needs(self) -> tuple[Run]:
        """Requests that come first."""
        return (self.early.target,)

    def folder(self, store: Store, progress: bool) -> Path:
        """The errors' folder."""
        from repmatch_lib.selection.el2n import el2n
        from repmatch_lib.similarity.adapters import target_digest

        target, pool = self.early.target.make(store, progress), self.early.pool()
        model = encoder(self.early.target.encoder)
        trained = target.provenance["training"]

        def write(folder: Path) -> None:
            pd.DataFrame({"EL2N": el2n(model, pool, target)}).to_parquet(folder / VALUES)

        return stored(
            "early", __name__, write, store, encoder=model.fingerprint, pool=pool.fingerprint,
            target=target_digest(target, self.early.target.modules),
            **{name: trained[name] for name in ("head_seed", "max_length", "precision")},
        )  # fmt: skip

    def read(self, folder: Path) -> pd.DataFrame:
        """Each row's ``EL2N``."""
        return pd.read_parquet(folder / VALUES)
