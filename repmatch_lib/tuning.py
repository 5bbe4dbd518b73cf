"""Fine-tuning an encoder with a new head on a corpus, and its evaluation on another (section 5.3)."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Literal

import torch

from repmatch_lib import store as stores
from repmatch_lib.batching import encode
from repmatch_lib.corpora import Corpus
from repmatch_lib.encoders import Encoder
from repmatch_lib.evaluation import evaluate
from repmatch_lib.finetuning import Outcome
from repmatch_lib.models import frozen_model, lora_model
from repmatch_lib.training import fit, resolve_device, resolve_precision

if TYPE_CHECKING:
    from transformers import PreTrainedModel


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
