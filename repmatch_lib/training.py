"""LoRA training on a corpus: the update that RepMatch reads (section 5.1)."""

from __future__ import annotations

import math
import time
import warnings
from typing import Literal

import torch
from tqdm.auto import tqdm

from repmatch_lib.adapters import Adapter
from repmatch_lib.batching import Encoded, encode, shuffled_batches, within_budget
from repmatch_lib.corpora import Corpus
from repmatch_lib.encoders import Encoder
from repmatch_lib.models import check_length, frozen_model, lora_model

Precision = Literal["auto", "float32", "bf16"]


def train_adapter(
    encoder: Encoder,
    data: Corpus,
    *,
    rank: int = 4,
    modules: tuple[str, ...] = ("value",),
    seed: int = 0,
    start_seed: int | None = None,
    order_seed: int | None = None,
    head_seed: int = 0,
    lr: float = 1e-4,
    epochs: int = 2,
    batch_size: int = 40,
    max_length: int = 256,
    dropout: bool = True,
    precision: Precision = "auto",
    tokens: int | None = None,
    device: str = "auto",
    progress: bool = True,
) -> Adapter:
    """Fine-tune an encoder with LoRA on a corpus; everything else, the head included, stays frozen.

    AdamW at a constant rate, on batches of ``batch_size`` rows of similar length. The LoRA scale is 1.

    Parameters
    ----------
    encoder : Encoder
    data : Corpus
    rank : int
        Of the update; 4 for the paper's heat maps, 1 elsewhere.
    modules : tuple of str
        Attention matrices to adapt: ``"query"``, ``"key"``, ``"value"``, ``"output"``.
    seed : int
        Of the LoRA start, the order of the rows and dropout.
    start_seed, order_seed : int, optional
        Of the LoRA start and of the order of the rows, instead of ``seed``, which then is dropout's.
    head_seed : int
        Of the frozen head. Adapters trained under different heads cannot be compared: they begin at chance.
    lr, epochs, batch_size : float, int, int
    max_length : int
        Longest sequence in tokens.
    dropout : bool
        Train with the encoder's own dropout.
    precision : {"auto", "float32", "bf16"}
        ``"auto"``: bf16 autocast where the processor computes in it, else float32.
    tokens : int, optional
        Padded tokens in one pass; a larger batch is passed in pieces and its gradients added up. 2,048 on a CPU,
        where more falls out of its cache, and 65,536 on CUDA, if not given.
    device : str
        ``"auto"``: CUDA if there is any.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Adapter
        The same, bit for bit, for the same arguments on the same machine.

    Raises
    ------
    FloatingPointError
        If the loss is not finite.
    ValueError
        If a number is too small, the model lacks an asked matrix, or the rank does not fit it.
    """
    for name, value, least in (("epochs", epochs, 1), ("batch_size", batch_size, 1), ("max_length", max_length, 8)):
        if value < least:
            raise ValueError(f"{name} = {value}: give {least} or more")
    device = resolve_device(device)
    precision = resolve_precision(precision, device)
    tokens = tokens or (65536 if device.startswith("cuda") else 2048)
    start_seed = seed if start_seed is None else start_seed
    order_seed = seed if order_seed is None else order_seed
    encoded = encode(encoder.tokenizer(), data, max_length)
    started = time.perf_counter()
    model = lora_model(frozen_model(encoder, data.task.kind, data.task.outputs, head_seed), rank, modules, start_seed)
    check_length(model, max_length, encoder.name)
    model.to(device).train(dropout)
    with torch.random.fork_rng():
        torch.manual_seed(seed)  # dropout
        losses = fit(model, encoded, lr, epochs, batch_size, order_seed, tokens, precision, progress, data.title)
    adapter = Adapter.from_model(model)
    if not all(tensor.isfinite().all() for tensor in adapter.tensors.values()):
        raise FloatingPointError(f"{data.title}: the update is not finite after training; lower lr (now {lr})")
    adapter.config["base_model_name_or_path"] = encoder.base_model
    provenance = {
        "name": f"{data.title} (seed {seed})",
        "encoder": {"name": encoder.name, "weights_sha256": encoder.sha256},
        "corpus": {"task": data.task.name, "rows": len(data), "source": data.source, "fingerprint": data.fingerprint},
        "training": {
            "rank": rank, "modules": list(modules), "seed": seed, "start_seed": start_seed, "order_seed": order_seed,
            "head_seed": head_seed, "lr": lr, "epochs": epochs, "batch_size": batch_size, "max_length": max_length,
            "dropout": dropout, "precision": precision, "device": device, "threads": torch.get_num_threads(),
        },
        "loss": {"first_epoch": losses[0], "last_epoch": losses[-1]},
        "measured": {"seconds": round(time.perf_counter() - started, 2), "tokens": int(encoded.lengths.sum()) * epochs},
    }  # fmt: skip
    return Adapter(adapter.tensors, adapter.config, provenance, provenance["name"])


def resolve_device(device: str) -> str:
    """``"auto"`` as ``"cuda"`` or ``"cpu"``.

    Raises
    ------
    ValueError
        If CUDA is asked for and there is none.
    """
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"device {device!r}: PyTorch finds no CUDA device here; give 'cpu' or 'auto'")
    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"


def resolve_precision(precision: Precision, device: str) -> str:
    """``"auto"`` as ``"bf16"`` where the device multiplies in it natively, else ``"float32"``."""
    if precision not in ("auto", "float32", "bf16"):
        raise ValueError(f"unknown precision {precision!r}: give 'auto', 'float32' or 'bf16'")
    if precision != "auto":
        return precision
    if device.startswith("cuda"):
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    native = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    return "bf16" if native else "float32"


def fit(
    model: torch.nn.Module, encoded: Encoded, lr: float, epochs: int, batch_size: int, seed: int, tokens: int,
    precision: str, progress: bool, title: str,
) -> list[float]:  # fmt: skip
    """Train in place whatever of the model can be trained; returns the mean loss of each epoch.

    See `train_adapter` for the settings.
    """
    device = next(model.parameters()).device
    # One pass over memory a step: a seventh of the time that the default takes for the whole of MiniLM.
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=lr, fused=True)
    lengths, losses = encoded.lengths, []
    steps = epochs * math.ceil(len(encoded) / batch_size)
    with tqdm(total=steps, desc=title, unit="step", disable=not progress, leave=False, dynamic_ncols=True) as bar:
        for epoch in range(epochs):
            total = 0.0
            for rows in shuffled_batches(lengths, batch_size, seed, epoch):
                optimizer.zero_grad(set_to_none=True)
                batch_loss = 0.0
                for piece in within_budget(rows, lengths, tokens):
                    batch = encoded.collate(piece, device)
                    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
                        loss = model(**batch).loss * (len(piece) / len(rows))
                    with warnings.catch_warnings():
                        warnings.simplefilter("ignore")
                        loss.backward()
                    batch_loss += float(loss.detach())
                if not math.isfinite(batch_loss):
                    raise FloatingPointError(
                        f"{title}: the loss is {batch_loss} in epoch {epoch + 1}; lower lr (now {lr}), or use "
                        "precision='float32'"
                    )
                optimizer.step()
                total += batch_loss * len(rows)
                bar.update()
                bar.set_postfix(loss=f"{batch_loss:.3f}")
            losses.append(total / len(encoded))
    return losses
