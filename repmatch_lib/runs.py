"""A training run as a value: what to train on what, and the adapter that comes of it, from the store or anew."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, ValidationError, field_validator
from pydantic.dataclasses import dataclass

from repmatch_lib import store as stores
from repmatch_lib.encoders import parted
from repmatch_lib.requests import Request
from repmatch_lib.tasks import task as find_task

# The modules whose code decides what an adapter is; the encoder, the rows and the settings have hashes of their own.
CODE = ("batching", "models", "training")
FULL_CODE = ("batching", "full", "models", "training")

Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0)]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Run(Request):
    """A request for one adapter; see `train_adapter` and `load` for what each setting does.

    With a ``group`` the rows are drawn from that group of the task's rows; see `overlap.draw`. ``start_seed`` and
    ``order_seed`` are as ``seed`` if not given.
    """

    task: str
    encoder: str = "minilm"
    source: Literal["mini", "local", "hub", "auto"] = "auto"
    rows: Count | None = None
    sample_seed: Seed = 0
    group: str | None = None
    rank: Count = 4
    modules: tuple[str, ...] = ("value",)
    seed: Seed = 0
    start_seed: Seed | None = None
    order_seed: Seed | None = None
    head_seed: Seed = 0
    lr: Annotated[float, Field(gt=0, lt=1)] = 1e-4
    epochs: Count | None = 2
    batch_size: Count = 40
    max_length: Annotated[int, Field(ge=8)] = 256
    dropout: bool = True
    precision: Literal["auto", "float32", "bf16"] = "auto"

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
            from repmatch_lib.overlap import find

            find(name)
        return name

    def make(self, store: stores.Store | None = None, progress: bool = True) -> Any:
        """The adapter: see `adapter`."""
        return adapter(self, store, progress)


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class FullRun(Request):
    """A request: a run with every weight of the encoder trained, its update cut to the run's rank.

    Attributes
    ----------
    run : Run
        Task, rows, head, seeds, matrices and rank; its learning rate is LoRA's and not used.
    full_lr : float
        AdamW's rate, above 0 and below 1.
    """

    run: Run
    full_lr: Annotated[float, Field(gt=0, lt=1)] = 1e-4

    @field_validator("run")
    @classmethod
    def _has_one_seed(cls, run: Run) -> Run:
        if (run.start_seed, run.order_seed) != (None, None):
            raise ValueError("full fine-tuning has no LoRA start: give a run without start_seed and order_seed")
        return run

    def make(self, store: stores.Store | None = None, progress: bool = True) -> Any:
        """The adapter: read from the store, or trained and put there."""
        from repmatch_lib.adapters import Adapter
        from repmatch_lib.full import full_adapter

        encoder, data, settings = resolve(self.run)
        settings |= {"lr": self.full_lr}
        key = stores.key(
            code=stores.code_version(FULL_CODE), encoder=encoder.fingerprint, corpus=data.fingerprint,
            kind=data.task.kind, outputs=data.task.outputs, **settings,
        )  # fmt: skip

        def write(folder: Path) -> None:
            with stores.one_thread():
                full_adapter(encoder, data, progress=progress, **settings).save(folder)

        return Adapter.load((store or stores.Store()).make("adapters", key, write))


def validation_message(error: ValidationError) -> str:
    """What pydantic found, one clause a setting, in plain words."""
    clauses = []
    for found in error.errors():
        text = found["msg"].removeprefix("Value error, ").replace("Input should", "it should")
        clauses.append(f"{'.'.join(map(str, found['loc']))} = {found['input']!r}: {text}")
    return "; ".join(clauses)


def grid(*, seed: list[int] = (0,), head_seed: list[int] = (0,), task: list[str], **settings: Any) -> list[Run]:
    """Runs over every combination of tasks, head seeds and training seeds, with common settings."""
    return [
        Run(task=t, head_seed=h, seed=s, **settings) for t, h, s in itertools.product(task, head_seed, seed)
    ]  # fmt: skip


def adapter(run: Run, store: stores.Store | None = None, progress: bool = True) -> Any:
    """The adapter of a run: read from the store, or trained and put there.

    ``rows`` not given means all of them; ``epochs`` not given means the paper's number for the task.

    Returns
    -------
    Adapter
    """
    from repmatch_lib.adapters import Adapter
    from repmatch_lib.training import train_adapter

    store = store or stores.Store()
    encoder, data, settings = resolve(run)

    def write(folder: Path) -> None:
        with stores.one_thread():
            trained = train_adapter(encoder, data, progress=progress, **settings)
        Adapter(trained.tensors, trained.config, trained.provenance | {"software": stores.provenance()}).save(folder)

    return Adapter.load(store.make("adapters", _key(encoder, data, settings), write))


def resolve(run: Run) -> tuple[Any, Any, dict[str, Any]]:
    """Encoder, rows and settings of a run, as `train_adapter` takes them."""
    from repmatch_lib.corpora import load
    from repmatch_lib.overlap import draw
    from repmatch_lib.training import resolve_device, resolve_precision
    from repmatch_lib.variants import encoder

    found = find_task(run.task)
    if run.group:
        data = draw(load(found, source=run.source), run.group, run.rows, run.sample_seed)
    else:
        data = load(found, source=run.source, rows=run.rows, seed=run.sample_seed)
    names = ("rank", "modules", "seed", "head_seed", "lr", "batch_size", "max_length", "dropout")
    settings = {name: getattr(run, name) for name in names}
    # Left out where they are as the seed, so that one adapter has one key.
    apart = {name: getattr(run, name) for name in ("start_seed", "order_seed")}
    settings |= {name: value for name, value in apart.items() if value not in (None, run.seed)}
    settings["epochs"] = run.epochs or found.epochs
    settings["precision"] = resolve_precision(run.precision, resolve_device("auto"))
    return encoder(run.encoder), data, settings


def _key(encoder: Any, data: Any, settings: dict[str, Any]) -> str:
    """Hash of what determines the adapter: code, weights, rows, the head's shape, settings."""
    from repmatch_lib.adapters import MODULES

    return stores.key(
        code=stores.code_version(CODE), encoder=encoder.fingerprint, corpus=data.fingerprint, kind=data.task.kind,
        outputs=data.task.outputs, matrices=[MODULES.get(name, name) for name in settings["modules"]], **settings,
    )  # fmt: skip
