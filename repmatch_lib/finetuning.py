"""Fine-tuning on a few chosen instances as a value, and what came of it (section 5.3)."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from repmatch_lib import store as stores
from repmatch_lib.corpora import Corpus, load
from repmatch_lib.requests import Request
from repmatch_lib.runs import Count, Seed, resolve
from repmatch_lib.selection import Ranking, Selection
from repmatch_lib.store import one_thread
from repmatch_lib.variants import encoder

CODE = ("batching", "evaluation", "models", "training", "tuning")


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class FineTuning(Request):
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
        Rows of the development set, drawn once; all if not given. A task of one file is evaluated on its rows that
        are neither in the pool nor trained on by the target.
    """

    selection: Selection
    method: Literal["full", "lora"] = "full"
    seed: Seed = 0
    lr: Annotated[float, Field(gt=0, lt=1)] = 1e-4
    epochs: Count = 10
    batch_size: Count = 10
    max_length: Annotated[int, Field(ge=8)] = 128
    rank: Count = 4
    evaluated: Count | None = None

    @property
    def needs(self) -> tuple[Ranking, ...]:
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
            return load(pool.task, "validation", run.source, self.evaluated)
        whole = load(pool.task, source=run.source)
        known = {*pool.table["id"].to_pylist(), *resolve(run)[1].table["id"].to_pylist()}
        free = [row for row, number in enumerate(whole.table["id"].to_pylist()) if number not in known]
        if len(free) < (self.evaluated or 1):
            raise ValueError(
                f"{pool.title} is one file of {len(whole)} rows, and the pool and the target's training leave "
                f"{len(free)} of them to evaluate on: lower rows, pool or evaluated"
            )
        drawn = np.random.default_rng(0).permutation(free)
        return whole.take(drawn[: self.evaluated])

    def make(self, store: stores.Store | None = None, progress: bool = True) -> Outcome:
        """The outcome: read from the store, or computed and put there."""
        from repmatch_lib.training import resolve_device, resolve_precision
        from repmatch_lib.tuning import fine_tune

        store, run = store or stores.Store(), self.selection.ranking.target
        data = self.selection.make(store, progress)
        dev = self.development()
        model = encoder(run.encoder)
        settings = {
            name: getattr(self, name) for name in ("method", "seed", "lr", "epochs", "batch_size", "max_length")
        }
        settings |= {"rank": self.rank if self.method == "lora" else None}
        settings |= {"precision": resolve_precision("auto", resolve_device("auto"))}
        key = stores.key(
            code=stores.code_version(CODE), encoder=model.fingerprint, rows=data.fingerprint, dev=dev.fingerprint,
            answers=dev.table["answers"].to_pylist() if data.task.kind == "span" else None,
            ids=data.table["id"].to_pylist(), kind=data.task.kind, outputs=data.task.outputs, **settings,
        )  # fmt: skip

        def write(folder: Path) -> None:
            with one_thread():
                fine_tune(model, data, dev, progress=progress, **settings).save(folder)

        return Outcome.load(store.make("outcomes", key, write))


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of a fine-tuning.

    Attributes
    ----------
    metric : str
        ``accuracy``, ``f1`` or ``spearman``.
    value : float
        On the development set.
    instances : list
        Their ids, in the order of choice.
    labels : dict of str to int
        Instances of each class; empty for other tasks.
    provenance : dict
    """

    metric: str
    value: float
    instances: list[Any]
    labels: dict[str, int]
    provenance: dict[str, Any]

    def save(self, folder: Path) -> None:
        """Write ``outcome.json`` into a folder."""
        stores.write_atomically(folder / "outcome.json", json.dumps(dataclasses.asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Outcome:
        """Read what `save` wrote."""
        return cls(**json.loads((folder / "outcome.json").read_text()))
