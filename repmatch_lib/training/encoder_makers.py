"""Encoders made of another: fewer layers, fine-tuned, never trained, or with an adapter added; each in a folder.

The book's chapters on other encoders and on spaces of vectors use them.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from repmatch_lib.data.corpora import Corpus, SourceName, load
from repmatch_lib.data.tasks import Kind, task as find_task
from repmatch_lib.similarity.adapters import Adapter
from repmatch_lib.training.encoders import Encoder, base_encoder
from repmatch_lib.training.heads import frozen_model, longest_text, without_head
from repmatch_lib.training.loop import Training, train

if TYPE_CHECKING:
    from transformers import PreTrainedModel

TUNED_ON = 1000  # rows at most, drawn otherwise than those that runs are trained on


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
    model = without_head(frozen_model(encoder, "classification", 2))
    depth = model.config.num_hidden_layers
    if not 0 < layers <= depth:
        raise ValueError(f"layers = {layers}: {encoder.name} has {depth} layers, so give 1 to {depth}")
    stack = next(m for m in model.modules() if isinstance(m, torch.nn.ModuleList) and len(m) == depth)
    del stack[layers:]
    model.config.num_hidden_layers = layers
    return _write(model, encoder, folder)


def fine_tuned_encoder(encoder: Encoder, data: Corpus, folder: str | Path, **settings: Any) -> Encoder:
    """An encoder after every weight of it was trained on a corpus, with a head that is left behind.

    Parameters
    ----------
    encoder : Encoder
    data : Corpus
    folder : path
        Where the model is written; remove it when done.
    **settings
        See `Training`; at most 128 tokens if not given, and never more than the encoder reads. The seed is the head's
        too.

    Returns
    -------
    Encoder

    Raises
    ------
    FloatingPointError
        If the loss is not finite.
    """
    how = Training(**{"max_length": 128} | settings).resolved()
    model = frozen_model(encoder, data.task.kind, data.task.outputs, how.seed).requires_grad_(True)
    longest = min(how.max_length, longest_text(model) or how.max_length)
    train(model, encoder, data, dataclasses.replace(how, max_length=longest), progress=False)
    return _write(without_head(model).cpu(), encoder, folder)


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
    kinds: tuple[Kind, ...] = ("classification", "span")
    heads = (frozen_model(encoder, kind, 2) for kind in kinds)
    base = next((model for model in heads if adapted <= {name for name, _ in model.named_modules()}), None)
    if base is None:
        raise ValueError(f"{adapter.name} adapts matrices that {encoder.name} does not have: give its own encoder")
    with tempfile.TemporaryDirectory() as saved:
        model: Any = PeftModel.from_pretrained(base, adapter.save(saved))
    return _write(without_head(model.merge_and_unload()), encoder, folder)


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


def _write(model: PreTrainedModel, encoder: Encoder, folder: str | Path) -> Encoder:
    model.save_pretrained(folder)
    encoder.tokenizer().save_pretrained(folder)
    return base_encoder(folder)


Step = tuple[dict[str, Any], Callable[..., Encoder]]  # what decides it beside its name, and what makes it in a folder


def _tuned(encoder: Encoder, argument: str) -> Step:
    task, _, source = argument.rpartition("-")
    whole = load(find_task(task), source=cast("SourceName", source))
    data = whole.take(np.random.default_rng(1).permutation(len(whole))[:TUNED_ON])
    return {"rows": data.fingerprint}, partial(fine_tuned_encoder, encoder, data)


STEPS: dict[str, Callable[[Encoder, str], Step]] = {
    "layers": lambda encoder, argument: ({}, partial(shallow_encoder, encoder, layers=int(argument))),
    "random": lambda encoder, argument: ({}, partial(random_encoder, encoder, seed=int(argument))),
    "tuned": _tuned,
}
