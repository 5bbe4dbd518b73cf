"""Transfer: how well new heads on other tasks read off the encoder that one task has adapted.

The book's chapter on transfer introduces it.
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import pyarrow as pa
from pydantic import Field, field_validator

from repmatch_lib.data.corpora import Corpus, SourceName, load
from repmatch_lib.data.tasks import task as find_task
from repmatch_lib.experiments.requests import Request
from repmatch_lib.experiments.runs import Run
from repmatch_lib.settings import Count, Pooling, checked
from repmatch_lib.store import Store, stored, write_atomically
from repmatch_lib.training.encoder_variants import encoder
from repmatch_lib.training.encoders import Encoder
from repmatch_lib.versions import provenance

if TYPE_CHECKING:
    from torch import Tensor


@checked
class Transfer(Request["Transferred"]):
    """A request: adapt an encoder by a run, then refit a linear head on each of some tasks, and evaluate it.

    Attributes
    ----------
    run : Run
        Adapts the encoder; gives corpora, the seed of samples and the longest text too.
    to : tuple of str
        Tasks with classes and with development rows of their own; one pass over the adapted encoder serves all.
    rows : int, optional
        Training rows of each head, drawn from the task's; all if not given.
    evaluated : int, optional
        Development rows, drawn once; all if not given.
    pooling : {"cls", "mean"}
        Of the vectors that a head reads; see `vectors`.
    """

    kind: ClassVar[str] = "transfer"
    run: Run
    to: Annotated[tuple[str, ...], Field(min_length=1)]
    rows: Count | None = None
    evaluated: Count | None = None
    pooling: Pooling = "cls"

    @field_validator("to")
    @classmethod
    def _can_be_read_off(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            task = find_task(name)
            if task.kind != "classification":
                raise ValueError(f"{name} has no classes for a linear head: give tasks with classes")
            if task.one_file:
                raise ValueError(f"{name} has one file for training and development: give tasks with two")
        return names

    @property
    def needs(self) -> tuple[Run]:
        """Requests that come first."""
        return (self.run,)

    def folder(self, store: Store, progress: bool) -> Path:
        """The accuracies' folder."""
        from repmatch_lib.similarity.adapters import target_digest
        from repmatch_lib.training.devices import resolve_device, resolve_precision
        from repmatch_lib.training.encoder_makers import tuned_encoder

        run, device = self.run, resolve_device("auto")
        adapter, model = run.make(store, progress), encoder(run.encoder)
        parts = {name: head_rows(name, run.source, self.rows, self.evaluated, run.sample_seed) for name in self.to}
        settings: dict[str, Any] = {"pooling": self.pooling, "max_length": run.max_length}
        settings["precision"] = resolve_precision(run.precision, device)

        def write(folder: Path) -> None:
            started = time.perf_counter()
            with tempfile.TemporaryDirectory() as place:
                tuned = tuned_encoder(model, adapter, place)
                accuracy = {
                    task: refit_head(tuned, *both, progress=progress, **settings) for task, both in parts.items()
                }
            origin = {name: adapter.provenance[name] for name in ("encoder", "corpus")} | {
                "heads": {
                    name: [{"rows": len(p), "source": p.source, "fingerprint": p.fingerprint} for p in both]
                    for name, both in parts.items()
                },
                "training": settings | {"head": "logistic regression", "device": device, "threads": 1},
                "software": provenance(),
                "measured": {"seconds": round(time.perf_counter() - started, 2)},
            }
            Transferred(accuracy, origin).save(folder)

        return stored(
            "transfers", __name__, write, store,
            encoder=model.fingerprint, adapter=target_digest(adapter, run.modules),
            rows={name: [part.fingerprint for part in both] for name, both in parts.items()}, **settings,
        )  # fmt: skip

    def read(self, folder: Path) -> Transferred:
        """The accuracies."""
        return Transferred.load(folder)


@dataclasses.dataclass(frozen=True)
class Transferred:
    """What new heads read off an adapted encoder.

    Attributes
    ----------
    accuracy : dict of str to float
        By task, on its development rows, from 0 to 1.
    provenance : dict
        ``corpus`` is what the encoder was adapted to, ``heads`` the training and development rows of each head.
    """

    accuracy: dict[str, float]
    provenance: dict[str, Any]

    def save(self, folder: Path) -> None:
        """Write ``transfer.json`` into a folder."""
        write_atomically(folder / "transfer.json", json.dumps(dataclasses.asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Transferred:
        """Read what `save` wrote."""
        return cls(**json.loads((folder / "transfer.json").read_text()))


def head_rows(
    task: str, source: SourceName = "auto", rows: int | None = None, evaluated: int | None = None, seed: int = 0
) -> tuple[Corpus, Corpus]:
    """Training and development rows of a head; fewer are a prefix of more, as in `load`.

    Parameters
    ----------
    task, source : str
    rows, evaluated : int, optional
        All if not given.
    seed : int
        Of the training rows' sample; that of the development rows is 0, so that they are the same for all.
    """
    of_task = find_task(task)
    return load(of_task, "train", source, rows, seed), load(of_task, "validation", source, evaluated)


def head_vectors(
    encoder: Encoder, train: Corpus, dev: Corpus, pooling: Pooling | Sequence[Pooling] = "cls", **how: Any
) -> tuple[Tensor, Tensor]:
    """Vectors of a head's training and development rows, by one loading of the encoder.

    Parameters
    ----------
    encoder, pooling, how
        See `vectors`.
    train, dev : Corpus
        Of one task.

    Returns
    -------
    tuple of Tensor, float32, each of shape (rows, width), or (poolings, rows, width) if several were asked for
    """
    from repmatch_lib.embeddings.vectors import vectors

    tables = [
        part.table.select([c for c in ("text", "text_pair", "label") if c in part.table.column_names])
        for part in (train, dev)
    ]
    rows = vectors(encoder, dataclasses.replace(train, table=pa.concat_tables(tables)), pooling, **how)
    return rows[..., : len(train), :], rows[..., len(train) :, :]


def refit_head(encoder: Encoder, train: Corpus, dev: Corpus, **how: Any) -> float:
    """Accuracy on ``dev``, from 0 to 1, of logistic regression on ``train``'s vectors; see `head_vectors`, `probe`."""
    from repmatch_lib.embeddings.probes import probe

    found, held_out = head_vectors(encoder, train, dev, **how)
    guessed = probe(found, train.table["label"].to_numpy(), held_out)
    return float((guessed == dev.table["label"].to_numpy()).mean())
