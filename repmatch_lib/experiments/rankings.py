"""A pool of instances ranked by RepMatch against a target, as a value.

Section 5.3; the book's chapter on the best hundred.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from repmatch_lib.data.corpora import Corpus, load
from repmatch_lib.data.tasks import task as find_task
from repmatch_lib.experiments.requests import Request
from repmatch_lib.experiments.runs import Run
from repmatch_lib.instances.scores import GATHERED, Scores
from repmatch_lib.settings import Count, Measure, Positive, Seed, checked
from repmatch_lib.store import Store, stored, unfinished
from repmatch_lib.training.encoder_variants import encoder


@checked
class Ranking(Request[Scores]):
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
    measure : {"repmatch", "cosine"}
        See `Scoring`; by cosine the start is the target's own, and ``seed`` plays no part.
    """

    kind: ClassVar[str] = "ranking"
    target: Run
    rows: Count | None = None
    sample_seed: Seed = 0
    steps: Count = 1
    lr: Positive = 1e-3
    rank: Count | None = None
    seed: Seed = 1000
    measure: Measure = "repmatch"

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

    def settings(self) -> dict[str, Any]:
        """How the instances are trained, as `Scoring` takes it."""
        signed = self.measure == "cosine"
        return {
            "steps": self.steps, "lr": self.lr, "rank": self.rank or self.target.rank, "measure": self.measure,
            "seed": None if signed else self.seed, "max_length": self.target.max_length,
            "modules": self.target.modules,
        }  # fmt: skip

    def folder(self, store: Store, progress: bool) -> Path:
        """The scores' folder: computed block by block, so that nothing is done twice."""
        from repmatch_lib.instances.scoring import score_instances
        from repmatch_lib.similarity.adapters import target_digest

        target, pool, model = self.target.make(store, progress), self.pool(), encoder(self.target.encoder)
        settings = self.settings()

        def write(folder: Path) -> None:
            scores = score_instances(model, pool, target, out=unfinished(folder), progress=progress, **settings)
            if scores:
                scores.brief().save(folder / GATHERED)

        return stored(
            "rankings", __name__, write, store,
            encoder=model.fingerprint, pool=pool.fingerprint, ids=pool.table["id"].to_pylist(),
            target=target_digest(target, self.target.modules), **settings,
        )  # fmt: skip

    def read(self, folder: Path) -> Scores:
        """The scores, without those of single layers; see `Scores.brief`."""
        return Scores.load(folder / GATHERED)
