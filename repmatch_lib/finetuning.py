"""Fine-tuning on a few chosen instances, and how well the model then does (section 5.3)."""

from __future__ import annotations

import dataclasses
import json
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from repmatch_lib import store as stores
from repmatch_lib.batching import encode
from repmatch_lib.corpora import Corpus, load
from repmatch_lib.encoders import Encoder, encoder
from repmatch_lib.evaluation import evaluate
from repmatch_lib.models import frozen_model, lora_model
from repmatch_lib.requests import Request
from repmatch_lib.runs import Count, Seed, one_thread
from repmatch_lib.selection import Ranking, Selection
from repmatch_lib.training import fit, resolve_device, resolve_precision

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CODE = ("batching", "evaluation", "finetuning", "models", "training")


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
        Rows of the development set, drawn once; all if not given.
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

    def make(self, store: stores.Store | None = None, progress: bool = True) -> Outcome:
        """The outcome: read from the store, or computed and put there."""
        store, run = store or stores.Store(), self.selection.ranking.target
        data = self.selection.make(store, progress)
        dev = load(data.task, "validation", run.source, self.evaluated)
        model = encoder(run.encoder)
        settings = {
            name: getattr(self, name) for name in ("method", "seed", "lr", "epochs", "batch_size", "max_length")
        }
        settings |= {"rank": self.rank if self.method == "lora" else None}
        settings |= {"precision": resolve_precision("auto", resolve_device("auto"))}
        key = stores.key(
            code=stores.code_version(CODE), encoder=model.fingerprint, rows=data.fingerprint, dev=dev.fingerprint,
            kind=data.task.kind, outputs=data.task.outputs, **settings,
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


def fine_tune(
    encoder: Encoder,
    data: Corpus,
    dev: Corpus,
    *,
    method: Literal["full", "lora"] = "full",
    seed: int = 0,
    lr: float = 1e-4,
    epochs: int = 10,
    batch_size: int = 10,
    max_length: int = 128,
    rank: int | None = None,
    precision: str = "auto",
    progress: bool = True,
) -> Outcome:
    """Fine-tune an encoder with a new head on a corpus, and evaluate it on another.

    Parameters
    ----------
    encoder : Encoder
    data, dev : Corpus
        Of one task.
    method, seed, lr, epochs, batch_size, max_length, rank
        See `FineTuning`.
    precision : {"auto", "float32", "bf16"}
    progress : bool

    Returns
    -------
    Outcome

    Raises
    ------
    FloatingPointError
        If the loss is not finite.
    """
    device = resolve_device("auto")
    precision = resolve_precision(precision, device)
    tokens = 65536 if device.startswith("cuda") else 2048
    started, task, tokenizer = time.perf_counter(), data.task, encoder.tokenizer()
    model = _trainable(frozen_model(encoder, task.kind, task.outputs, seed), method, rank, seed).to(device).train()
    with torch.random.fork_rng():
        torch.manual_seed(seed)  # dropout
        encoded = encode(tokenizer, data, max_length)
        losses = fit(model, encoded, lr, epochs, batch_size, seed, tokens, precision, progress, data.title)
    value = evaluate(model, tokenizer, dev, max_length=max_length, tokens=2 * tokens, precision=precision)
    counts = Counter(data.table["label"].to_pylist()) if task.kind == "classification" else {}
    provenance = {
        "encoder": {"name": encoder.name, "weights_sha256": encoder.sha256},
        "corpus": {"task": task.name, "rows": len(data), "source": data.source, "fingerprint": data.fingerprint},
        "evaluated_on": {"rows": len(dev), "source": dev.source, "fingerprint": dev.fingerprint},
        "training": {
            "method": method, "seed": seed, "lr": lr, "epochs": epochs, "batch_size": batch_size, "rank": rank,
            "max_length": max_length, "precision": precision, "device": device, "threads": torch.get_num_threads(),
        },
        "loss": {"first_epoch": losses[0], "last_epoch": losses[-1]},
        "software": stores.provenance(),
        "measured": {"seconds": round(time.perf_counter() - started, 2)},
    }  # fmt: skip
    labels = {name: counts.get(k, 0) for k, name in enumerate(task.labels)}
    return Outcome(task.metric, value, data.table["id"].to_pylist(), labels, provenance)


def _trainable(model: PreTrainedModel, method: str, rank: int | None, seed: int) -> torch.nn.Module:
    """The model with what the method trains set to be trained; the head always is."""
    if method == "full":
        return model.requires_grad_(True)
    encoder = f"{model.base_model_prefix}."
    adapted = lora_model(model, rank or 4, seed=seed)
    for name, parameter in model.named_parameters():
        if not name.startswith(encoder):
            parameter.requires_grad_(True)
    return adapted
