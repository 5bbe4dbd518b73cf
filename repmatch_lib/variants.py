"""Encoders that differ from a published one in one respect: after fine-tuning, or never trained; each in a folder."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

from repmatch_lib.adapters import Adapter
from repmatch_lib.encoders import Encoder
from repmatch_lib.encoders import encoder as find
from repmatch_lib.models import frozen_model


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

    weights = adapter.provenance.get("encoder", {}).get("weights_sha256")
    if weights and weights != encoder.sha256:
        raise ValueError(f"{adapter.name} was trained on other weights than {encoder.name}'s: give its own encoder")
    with tempfile.TemporaryDirectory() as saved:
        # The kind of head does not matter: it is frozen, and left behind.
        model = PeftModel.from_pretrained(frozen_model(encoder, "classification", 2), adapter.save(saved))
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
    from transformers import AutoConfig, AutoModel

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModel.from_config(AutoConfig.from_pretrained(encoder.folder))
    return _write(model, encoder, folder)


def _write(model: torch.nn.Module, encoder: Encoder, folder: str | Path) -> Encoder:
    model.save_pretrained(folder)
    encoder.tokenizer().save_pretrained(folder)
    return find(folder)
