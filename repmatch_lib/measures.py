"""What a rule of selection looks at beside the scores of a ranking: the pool's coverage, and its early errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from repmatch_lib import store as stores
from repmatch_lib.requests import Request
from repmatch_lib.runs import Run
from repmatch_lib.selection import Ranking
from repmatch_lib.store import one_thread
from repmatch_lib.variants import encoder

VALUES = "values.parquet"


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Coverage(Request):
    """A request for the orders in which a pool's instances cover their own updates; see `coverage`.

    Attributes
    ----------
    covered : Ranking
        Gives the pool and how its instances are trained; of its target only the settings are looked at.
    """

    covered: Ranking

    def make(self, store: stores.Store | None = None, progress: bool = True) -> pd.DataFrame:
        """Each row's place in the two orders, from 0: ``facility location`` and ``k-centre``; read or computed."""
        from repmatch_lib.coverage import facility_location, k_centre, update_similarity
        from repmatch_lib.instances import instance_updates
        from repmatch_lib.scoring import CODE
        from repmatch_lib.training import resolve_device, resolve_precision

        ranking, target = self.covered, self.covered.target
        model, pool = encoder(target.encoder), ranking.pool()
        settings = dict(steps=ranking.steps, lr=ranking.lr, rank=ranking.rank or target.rank, seed=ranking.seed)
        settings |= dict(head_seed=target.head_seed, max_length=target.max_length, modules=target.modules)
        settings |= dict(precision=resolve_precision(target.precision, resolve_device("auto")))
        key = stores.key(
            code=stores.code_version((*CODE, "coverage")), encoder=model.fingerprint, pool=pool.fingerprint, **settings
        )

        def write(folder: Path) -> None:
            with one_thread():
                similarity = update_similarity(instance_updates(model, pool, progress=progress, **settings))
                orders = {"facility location": facility_location(similarity), "k-centre": k_centre(similarity)}
            pd.DataFrame({name: np.argsort(order) for name, order in orders.items()}).to_parquet(folder / VALUES)

        return pd.read_parquet((store or stores.Store()).make("coverage", key, write) / VALUES)


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class EarlyErrors(Request):
    """A request for a pool's errors under the model that a ranking's target has made of the encoder; see `el2n`.

    Attributes
    ----------
    early : Ranking
        Gives target and pool; the scores are not looked at.
    """

    early: Ranking

    @property
    def needs(self) -> tuple[Run]:
        """Requests that come first."""
        return (self.early.target,)

    def make(self, store: stores.Store | None = None, progress: bool = True) -> pd.DataFrame:
        """Each row's ``EL2N``: read from the store, or computed and put there."""
        from repmatch_lib.checks import target_digest
        from repmatch_lib.early import el2n

        store = store or stores.Store()
        target, pool = self.early.target.make(store, progress), self.early.pool()
        model, trained = encoder(self.early.target.encoder), target.provenance["training"]
        key = stores.key(
            code=stores.code_version(("batching", "early", "evaluation", "models")), encoder=model.fingerprint,
            pool=pool.fingerprint, target=target_digest(target, self.early.target.modules),
            head_seed=trained["head_seed"], max_length=trained["max_length"], precision=trained["precision"],
        )  # fmt: skip

        def write(folder: Path) -> None:
            with one_thread():
                pd.DataFrame({"EL2N": el2n(model, pool, target)}).to_parquet(folder / VALUES)

        return pd.read_parquet(store.make("early", key, write) / VALUES)
