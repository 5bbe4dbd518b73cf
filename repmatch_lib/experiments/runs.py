"""A training run as a value: what to train on what, and the adapter that comes of it, from the store or anew.

Section 5.1; every chapter of the book begins with runs.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import field_validator

from repmatch_lib.data.corpora import SourceName
from repmatch_lib.data.overlap_groups import find
from repmatch_lib.data.tasks import task as find_task
from repmatch_lib.experiments.requests import Request
from repmatch_lib.settings import Count, Length, Names, Precision, Rate, Seed, checked
from repmatch_lib.store import Store, stored, unfinished
from repmatch_lib.training.encoder_variants import encoder, parted

if TYPE_CHECKING:
    from repmatch_lib.data.corpora import Corpus
    from repmatch_lib.similarity.adapters import Adapter


@checked
class Run(Request["Adapter"]):
    """A request for one adapter; see `train_adapter` and `load` for what each setting does.

    With a ``group`` the rows are drawn from that group of the task's rows; see `draw`. ``start_seed`` and
    ``order_seed`` are as ``seed`` if not given. ``rows`` not given means all of them; ``epochs`` not given means the
    paper's number for the task. With a ``step`` it is the adapter that the training had after so many steps: 1, 2, 5,
    10, 20, 50 and so on are kept of each.
    """

    kind: ClassVar[str] = "run"
    task: str
    encoder: str = "minilm"
    source: SourceName = "auto"
    rows: Count | None = None
    sample_seed: Seed = 0
    group: str | None = None
    rank: Count = 4
    modules: Names = ("value",)
    seed: Seed = 0
    start_seed: Seed | None = None
    order_seed: Seed | None = None
    head_seed: Seed = 0
    lr: Rate = 1e-4
    epochs: Count | None = 2
    batch_size: Count = 40
    max_length: Length = 256
    dropout: bool = True
    precision: Precision = "float32"
    step: Count | None = None

    @field_validator("task")
    @classmethod
    def _known(cls, name: str) -> str:
        find_task(name)
        return name

    @field_validator("encoder")
    @classmethod
    def _can_be_made(cls, name: str) -> str:
        parted(name)
        return name

    @field_validator("group")
    @classmethod
    def _is_a_group(cls, name: str | None) -> str | None:
        if name is not None:
            find(name)
        return name

    def rows_of(self) -> Corpus:
        """The rows that it is trained on."""
        from repmatch_lib.data.corpora import load
        from repmatch_lib.data.overlap_groups import draw

        task = find_task(self.task)
        if self.group:
            return draw(load(task, source=self.source), self.group, self.rows, self.sample_seed)
        return load(task, source=self.source, rows=self.rows, seed=self.sample_seed)

    def development(self) -> Corpus | None:
        """Rows to say what the adapter learned: of the development set, or what is left of a task's only file.

        As many as it was trained on, between 100 and 2,000, where there are so many.
        """
        from repmatch_lib.data.samples import load_at_most, rest_of

        task, trained = find_task(self.task), self.rows_of()
        most = min(max(len(trained), 100), 2000)
        if task.one_file:
            return rest_of(trained, self.source, most)
        try:
            return load_at_most(task, "validation", self.source, most)
        except FileNotFoundError:  # a folder may hold training rows only
            return None

    def settings(self) -> dict[str, Any]:
        """What `train_adapter` is given; seeds that are as ``seed`` are left out, so that one adapter has one key."""
        from repmatch_lib.training.devices import resolve_device, resolve_precision

        names = ("rank", "modules", "seed", "head_seed", "lr", "batch_size", "max_length", "dropout")
        seeds = {name: getattr(self, name) for name in ("start_seed", "order_seed")}
        return {
            **{name: getattr(self, name) for name in names},
            **{name: seed for name, seed in seeds.items() if seed not in (None, self.seed)},
            "epochs": self.epochs or find_task(self.task).epochs,
            "precision": resolve_precision(self.precision, resolve_device("auto")),
        }

    def folder(self, store: Store, progress: bool) -> Path:
        """The adapter's folder; a training that was killed goes on."""
        from repmatch_lib.training.lora import train_adapter

        def write(folder: Path) -> None:
            work = unfinished(folder)
            model, data = encoder(self.encoder), self.rows_of()
            train_adapter(model, data, dev=dev, work=work, progress=progress, **settings).save(folder)
            for snapshot in work.glob("step-*"):
                snapshot.rename(folder / snapshot.name)

        settings, dev = self.settings(), self.development()
        folder = _kept(self, self, settings, dev, write, store)
        return folder if self.step is None else self._snapshot(self.step, folder, settings, dev, store)

    def _snapshot(self, step: int, trained: Path, settings: dict[str, Any], dev: Corpus | None, store: Store) -> Path:
        """The folder of the adapter at a step, which says what it knows as the last one does."""
        from repmatch_lib.similarity.adapters import Adapter
        from repmatch_lib.training.lora import judged

        steps = {int(place.name.removeprefix("step-")): place for place in trained.glob("step-*")}
        if step not in steps:
            known = ", ".join(map(str, sorted(steps))) or "none"
            raise ValueError(f"step = {step}: this training left snapshots at {known}; step=None is its end")

        def write(folder: Path) -> None:
            snapshot = Adapter.load(steps[step])
            judged(snapshot, encoder(self.encoder), self.rows_of(), dev).save(folder)

        return _kept(self, self, settings | {"step": step}, dev, write, store)

    def read(self, folder: Path) -> Adapter:
        """The adapter."""
        from repmatch_lib.similarity.adapters import Adapter

        return Adapter.load(folder)


@checked
class FullRun(Request["Adapter"]):
    """A request: a run with every weight of the encoder trained, its update cut to the run's rank.

    Attributes
    ----------
    run : Run
        Task, rows, head, seeds, matrices and rank; its learning rate is LoRA's and not used.
    full_lr : float
        AdamW's rate, above 0 and below 1.
    """

    kind: ClassVar[str] = "full run"
    run: Run
    full_lr: Rate = 1e-4

    @field_validator("run")
    @classmethod
    def _has_one_seed(cls, run: Run) -> Run:
        if (run.start_seed, run.order_seed) != (None, None):
            raise ValueError("full fine-tuning has no LoRA start: give a run without start_seed and order_seed")
        return run

    def folder(self, store: Store, progress: bool) -> Path:
        """The adapter's folder."""
        from repmatch_lib.training.full import full_adapter

        def write(folder: Path) -> None:
            full_adapter(encoder(run.encoder), run.rows_of(), dev=dev, progress=progress, **settings).save(folder)

        run, dev = self.run, self.run.development()
        settings = run.settings() | {"lr": self.full_lr}
        return _kept(self, run, settings, dev, write, store)

    def read(self, folder: Path) -> Adapter:
        """The adapter."""
        return self.run.read(folder)


def grid(
    *, task: Iterable[str], head_seed: Iterable[int] = (0,), seed: Iterable[int] = (0,), **settings: Any
) -> list[Run]:
    """Runs over every combination of tasks, head seeds and training seeds, with common settings."""
    return [Run(t, head_seed=h, seed=s, **settings) for t, h, s in itertools.product(task, head_seed, seed)]


def adapter(run: Run, store: Store | None = None, progress: bool = True) -> Adapter:
    """The adapter of a run: read from the store, or trained and put there."""
    return run.make(store, progress)


def _kept(
    request: Request[Adapter],
    run: Run,
    settings: dict[str, Any],
    dev: Corpus | None,
    write: Callable[[Path], None],
    store: Store,
) -> Path:
    """The folder of what a request's way of training makes of a run's encoder and rows."""
    from repmatch_lib.similarity.matrices import MODULES

    model, data = encoder(run.encoder), run.rows_of()
    return stored(
        "adapters", __name__, write, store, way=request.kind, encoder=model.fingerprint, corpus=data.fingerprint,
        dev=dev.fingerprint if dev else None, head=(data.task.kind, data.task.outputs),
        matrices=[MODULES.get(name, name) for name in run.modules], **settings,
    )  # fmt: skip
