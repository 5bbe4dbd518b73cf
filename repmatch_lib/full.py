"""Full fine-tuning as an adapter: what it does to the attention matrices, cut to the leading directions."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor

from repmatch_lib import store as stores
from repmatch_lib.adapters import Adapter
from repmatch_lib.batching import encode
from repmatch_lib.corpora import Corpus
from repmatch_lib.encoders import Encoder
from repmatch_lib.models import LAYER, frozen_model, target_modules
from repmatch_lib.training import fit, resolve_device


def full_adapter(
    encoder: Encoder,
    data: Corpus,
    *,
    rank: int = 4,
    modules: tuple[str, ...] = ("value",),
    seed: int = 0,
    head_seed: int = 0,
    lr: float = 1e-4,
    epochs: int = 2,
    batch_size: int = 40,
    max_length: int = 256,
    dropout: bool = True,
    precision: str = "float32",
    progress: bool = True,
) -> Adapter:
    """Fine-tune the whole encoder under a frozen head; the best approximation of the update at a rank.

    Parameters
    ----------
    encoder, data, rank, modules, seed, head_seed, lr, epochs, batch_size, max_length, dropout, precision, progress
        See `train_adapter`; the seed is of the order of the rows and of dropout.

    Returns
    -------
    Adapter
        In each layer ``B @ A`` is the update's truncated singular value decomposition (Eckart and Young, 1936).
        ``provenance["kept"]`` holds the share of its squared norm that the rank keeps, layer by layer.

    Raises
    ------
    FloatingPointError
        If the loss is not finite.
    """
    from peft import LoraConfig

    device = resolve_device("auto")
    tokens = 65536 if device.startswith("cuda") else 2048
    started = time.perf_counter()
    model = frozen_model(encoder, data.task.kind, data.task.outputs, head_seed).to(device).train(dropout)
    model.base_model.requires_grad_(True)
    targets = target_modules(model, modules)
    ends = tuple(f".{target}.weight" for target in targets)
    weights = {name: p for name, p in model.named_parameters() if name.endswith(ends) and LAYER.search(name)}
    before = {name: weight.detach().clone() for name, weight in weights.items()}
    with torch.random.fork_rng():
        torch.manual_seed(seed)  # dropout
        encoded = encode(encoder.tokenizer(), data, max_length)
        losses = fit(model, encoded, lr, epochs, batch_size, seed, tokens, precision, progress, data.title)
    tensors, kept = {}, {}
    for name, weight in weights.items():
        B, A, kept[name] = truncated(weight.detach() - before[name], rank)
        stem = f"base_model.model.{name.removesuffix('.weight')}"
        tensors |= {f"{stem}.lora_A.weight": A.cpu(), f"{stem}.lora_B.weight": B.cpu()}
    config = LoraConfig(r=rank, lora_alpha=rank, target_modules=targets).to_dict()
    provenance: dict[str, Any] = {
        "name": f"{data.title} (full, seed {seed})",
        "encoder": {"name": encoder.name, "weights_sha256": encoder.sha256},
        "corpus": {"task": data.task.name, "rows": len(data), "source": data.source, "fingerprint": data.fingerprint},
        "training": {
            "method": "full", "rank": rank, "modules": list(modules), "seed": seed, "head_seed": head_seed, "lr": lr,
            "epochs": epochs, "batch_size": batch_size, "max_length": max_length, "dropout": dropout,
            "precision": precision, "device": device, "threads": torch.get_num_threads(),
        },
        "loss": {"first_epoch": losses[0], "last_epoch": losses[-1]},
        "kept": list(kept.values()),
        "software": stores.provenance(),
        "measured": {"seconds": round(time.perf_counter() - started, 2)},
    }  # fmt: skip
    return Adapter(tensors, config | {"base_model_name_or_path": encoder.base_model}, provenance, provenance["name"])


def truncated(update: Tensor, rank: int) -> tuple[Tensor, Tensor, float]:
    """Factors of the best approximation at a rank, and the share of the squared norm that it keeps.

    Parameters
    ----------
    update : Tensor, shape (out, in)
    rank : int

    Returns
    -------
    B : Tensor, shape (out, rank), float32
    A : Tensor, shape (rank, in), float32
    share : float, from 0 to 1
    """
    U, S, Vh = torch.linalg.svd(update.double(), full_matrices=False)
    root = S[:rank].sqrt()
    share = float((S[:rank] ** 2).sum() / (S**2).sum().clamp_min(torch.finfo(S.dtype).tiny))
    return (U[:, :rank] * root).float(), (root[:, None] * Vh[:rank]).float(), share
