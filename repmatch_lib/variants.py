"""Encoders that differ from another in one respect: fewer layers, fine-tuned, or never trained; each in a folder."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from repmatch_lib import store as stores
from repmatch_lib.adapters import Adapter
from repmatch_lib.batching import encode
from repmatch_lib.corpora import Corpus, load
from repmatch_lib.encoders import Encoder, base_encoder, parted
from repmatch_lib.models import frozen_model, longest_text
from repmatch_lib.store import one_thread
from repmatch_lib.tasks import task as find_task
from repmatch_lib.training import fit, resolve_device, resolve_precision

CODE = ("batching", "models", "training", "variants")
CHECKSUM = "weights.sha256"
TUNED_ON = 1000  # rows at most, drawn otherwise than those that runs are trained on


def encoder(name: str | Path) -> Encoder:
    """Find an encoder and verify its weights.

    Parameters
    ----------
    name : str or Path
        ``"minilm"`` (no download), ``"bert-base"``, ``"electra-base"``, ``"llama2-7b"``; a folder with
        ``config.json`` and safetensors; or any hub id, such as ``"distilbert/distilbert-base-uncased"``. After a
        colon, a variant of it (see `variant`), made once and kept in the store: ``"minilm:layers-3"``.

    Raises
    ------
    ValueError
        If the name is unknown, the folder is no model, or the weights' hash is not the published one.
    """
    return variant(str(name)) if parted(str(name))[1] else base_encoder(name)


def variant(name: str, store: stores.Store | None = None) -> Encoder:
    """An encoder made of another: from the store, or made and put there; its weights are verified.

    Parameters
    ----------
    name : str
        An encoder's name and one of these steps after a colon, or several, each taken from what stands before it:
        ``layers-N``, its first N layers (`shallow_encoder`); ``random-SEED``, its shape with weights drawn and never
        trained (`random_encoder`); ``tuned-TASK-SOURCE``, fine-tuned on up to 1,000 rows of a task from ``mini``,
        ``local``, ``hub`` or ``auto`` (`fine_tuned_encoder`).
    store : Store, optional

    Returns
    -------
    Encoder

    Raises
    ------
    ValueError
        If the name is unknown, or the stored weights were changed.
    """
    base, step = parted(name)
    origin, (kind, _, argument) = encoder(base), step.partition("-")
    decisive, make = STEPS[kind](origin, argument)
    key = stores.key(code=stores.code_version(CODE), encoder=origin.fingerprint, step=step, **decisive)

    def write(folder: Path) -> None:
        with one_thread():
            made = make(folder=folder)
        (folder / CHECKSUM).write_text(made.sha256)

    folder = (store or stores.Store()).make("encoders", key, write)
    found = base_encoder(folder)
    if found.sha256 != (folder / CHECKSUM).read_text():
        raise ValueError(f"the weights of {name!r} in {folder} were changed: delete the folder, and they are made anew")
    named = {field: f"{getattr(origin, field)}:{step}" for field in ("title", "base_model")}
    return dataclasses.replace(found, name=name, **named)


def shallow_encoder(encoder: Encoder, folder: str | Path, layers: int) -> Encoder:
    """An encoder's lower layers, its embeddings, and whatever it has on top.

    Parameters
    ----------
    encoder : Encoder
    folder : path
        Where the model is written; remove it when done.
    layers : int
        How many of its layers are kept.

    Returns
    -------
    Encoder

    Raises
    ------
    ValueError
        If it has fewer layers.
    """
    model = frozen_model(encoder, "classification", 2).base_model
    depth = model.config.num_hidden_layers
    if not 0 < layers <= depth:
        raise ValueError(f"layers = {layers}: {encoder.name} has {depth} layers, so give 1 to {depth}")
    stack = next(m for m in model.modules() if isinstance(m, torch.nn.ModuleList) and len(m) == depth)
    del stack[layers:]
    model.config.num_hidden_layers = layers
    return _write(model, encoder, folder)


def fine_tuned_encoder(
    encoder: Encoder,
    data: Corpus,
    folder: str | Path,
    *,
    lr: float = 1e-4,
    epochs: int = 2,
    batch_size: int = 40,
    max_length: int = 128,
    seed: int = 0,
    precision: str = "auto",
) -> Encoder:
    """An encoder after every weight of it was trained on a corpus, with a head that is left behind.

    Parameters
    ----------
    encoder : Encoder
    data : Corpus
    folder : path
        Where the model is written; remove it when done.
    lr, epochs, batch_size, max_length
        AdamW's constant rate, passes, rows a step, longest text in tokens; no longer than the encoder reads.
    seed : int
        Of the head, the order of the rows and dropout.
    precision : {"auto", "float32", "bf16"}

    Returns
    -------
    Encoder

    Raises
    ------
    FloatingPointError
        If the loss is not finite.
    """
    device = resolve_device("auto")
    tokens = 65536 if device.startswith("cuda") else 2048
    model = frozen_model(encoder, data.task.kind, data.task.outputs, seed).requires_grad_(True).to(device).train()
    encoded = encode(encoder.tokenizer(), data, min(max_length, longest_text(model) or max_length))
    with torch.random.fork_rng():
        torch.manual_seed(seed)  # dropout
        fit(
            model, encoded, lr, epochs, batch_size, seed, tokens, resolve_precision(precision, device), False,
            data.title,
        )  # fmt: skip
    return _write(model.base_model.cpu(), encoder, folder)


def tuned_encoder(encoder: Encoder, adapter: Adapter, folder: str | Path) -> Encoder:
    """An encoder with an adapter's update added to its weights.

    Parameters
    ----------
    encoder : Encoder
        That the adapter was trained on.
    adapter : Adapter
    folder : path
        Where the model is written; remove it when done.

    Returns
    -------
    Encoder

    Raises
    ------
    ValueError
        If the adapter belongs to other weights.
    """
    from peft import PeftModel

    weights = adapter.weights
    if weights and weights != encoder.sha256:
        raise ValueError(f"{adapter.name} was trained on other weights than {encoder.name}'s: give its own encoder")
    adapted = {key.partition(".lora_")[0].removeprefix("base_model.model.") for key in adapter.tensors}
    # The head is frozen, and left behind; but some classes name the encoder within them by it.
    heads = (frozen_model(encoder, kind, 2) for kind in ("classification", "span"))
    base = next((model for model in heads if adapted <= {name for name, _ in model.named_modules()}), None)
    if base is None:
        raise ValueError(f"{adapter.name} adapts matrices that {encoder.name} does not have: give its own encoder")
    with tempfile.TemporaryDirectory() as saved:
        model = PeftModel.from_pretrained(base, adapter.save(saved))
    return _write(model.merge_and_unload().base_model, encoder, folder)


def random_encoder(encoder: Encoder, folder: str | Path, seed: int = 0) -> Encoder:
    """An encoder of the same shape and tokenizer whose weights were drawn and never trained.

    Parameters
    ----------
    encoder : Encoder
    folder : path
        Where the model is written; remove it when done.
    seed : int

    Returns
    -------
    Encoder
    """
    from transformers import AutoModel

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModel.from_config(encoder.config(), trust_remote_code=False)
    return _write(model, encoder, folder)


def _write(model: torch.nn.Module, encoder: Encoder, folder: str | Path) -> Encoder:
    model.save_pretrained(folder)
    encoder.tokenizer().save_pretrained(folder)
    return base_encoder(folder)


Step = tuple[dict[str, Any], Callable[..., Encoder]]  # what decides it beside its name, and what makes it in a folder


def _tuned(encoder: Encoder, argument: str) -> Step:
    task, _, source = argument.rpartition("-")
    whole = load(find_task(task), source=source)
    data = whole.take(np.random.default_rng(1).permutation(len(whole))[:TUNED_ON])
    how = {"precision": resolve_precision("auto", resolve_device("auto"))}
    return {"rows": data.fingerprint, **how}, partial(fine_tuned_encoder, encoder, data, **how)


STEPS: dict[str, Callable[[Encoder, str], Step]] = {
    "layers": lambda encoder, argument: ({}, partial(shallow_encoder, encoder, layers=int(argument))),
    "random": lambda encoder, argument: ({}, partial(random_encoder, encoder, seed=int(argument))),
    "tuned": _tuned,
}
