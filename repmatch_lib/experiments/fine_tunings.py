"""Fine-tuning on a few chosen instances as a value, and what came of it (section 5.3)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from repmatch_lib.data.corpora import Corpus, load
from repmatch_lib.data.samples import load_at_most
from repmatch_lib.experiments.requests import Request
from repmatch_lib.experiments.selections import Selection
from repmatch_lib.settings import Count, Length, Method, Rate, Seed, checked
from repmatch_lib.store import Store, stored
from repmatch_lib.training.encoder_variants import encoder

if TYPE_CHECKING:
    from repmatch_lib.training.fine_tuning import Outcome


@checked
class FineTuning(Request["Outcome"]):
    """A request: fine-tune an encoder on a selection, and evaluate it.

    Attributes
    ----------
    selection : Selection
        Its ranking's target names task, encoder and corpora.
    method : {"full", "lora"}
        Train every parameter, or LoRA's factors and the head.
    seed : int
        Of the head, the order of the instances and dropout.
    lr, epochs, batch_size, max_length : float, int, int, int
        AdamW's constant rate, passes, rows a step, longest text in tokens.
    rank : int
        LoRA's.
    evaluated : int, optional
        Rows of the development set at most, drawn once; all if not given. A task of one file is evaluated on its rows
        that are neither in the pool nor trained on by the target.
    """

    kind: ClassVar[str] = "fine-tuning"
    selection: Selection
    method: Method = "full"
    seed: Seed = 0
    lr: Rate = 1e-4
    epochs: Count = 10
    batch_size: Count = 10
    max_length: Length = 128
    rank: Count = 4
    evaluated: Count | None = None

    @property
    def needs(self) -> tuple[Request[Any], ...]:
        """Requests that come first."""
        return self.selection.needs

    def development(self) -> Corpus:
        """The rows that the fine-tuned model is evaluated on.

        Raises
        ------
        ValueError
            If pool and target leave none of a task's only file.
        """
        pool, run = self.selection.pool(), self.selection.ranking.target
        if not pool.task.one_file:
            return load_at_most(pool.task, "validation", run.source, self.evaluated)
        whole = load(pool.task, source=run.source)
        known = {*pool.table["id"].to_pylist(), *run.rows_of().table["id"].to_pylist()}
        free = [row for row, number in enumerate(whole.table["id"].to_pylist()) if number not in known]
        if len(free) < (self.evaluated or 1):
            raise ValueError(
                f"{pool.title} is one file of {len(whole)} rows, and the pool and the target's training leave "
                f"{len(free)} of them to evaluate on: lower rows, pool or evaluated"
            )
        drawn = np.random.default_rng(0).permutation(free)
        return whole.take(drawn[: self.evaluated])

    def folder(self, store: Store, progress: bool) -> Path:
        """The outcome's folder."""
        from repmatch_lib.training.fine_tuning import fine_tune

        data, dev = self.selection.make(store, progress), self.development()
        model = encoder(self.selection.ranking.target.encoder)
        names = ("method", "seed", "lr", "epochs", "batch_size", "max_length")
        settings: dict[str, Any] = {name: getattr(self, name) for name in names}
        settings["rank"] = self.rank if self.method == "lora" else None

        def write(folder: Path) -> None:
            fine_tune(model, data, dev, progress=progress, **settings).save(folder)

        return stored(
            "outcomes", __name__, write, store, encoder=model.fingerprint, rows=data.fingerprint, dev=dev.fingerprint,
            answers=dev.table["answers"].to_pylist() if data.task.kind == "span" else None,
            ids=data.table["id"].to_pylist(), head=(data.task.kind, data.task.outputs), **settings,
        )  # fmt: skip

    def read(self, folder: Path) -> Outcome:
        """The outcome."""
        from repmatch_lib.training.fine_tuning import Outcome

        return Outcome.load(folder)
