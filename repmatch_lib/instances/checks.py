"""What must hold before instances are scored, and what the scores depend on."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from repmatch_lib.data.corpora import Corpus
from repmatch_lib.training.batching import Encoded, encode

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedTokenizerBase


def encode_checked(tokenizer: PreTrainedTokenizerBase, data: Corpus, max_length: int) -> Encoded:
    """Token sequences, none of them empty."""
    if tokenizer.pad_token is None:
        raise ValueError("the tokenizer has no padding token: give it one, tokenizer.pad_token = tokenizer.eos_token")
    encoded = encode(tokenizer, data, max_length)
    special = tokenizer.num_special_tokens_to_add(pair="text_pair" in data.table.column_names)
    if len(empty := np.flatnonzero(encoded.lengths <= special)):
        raise ValueError(
            f"{data.title}, row with id {data.table['id'][int(empty[0])].as_py()!r}: the text has no tokens for this "
            f"encoder, and {len(empty) - 1} more rows have none; fill them in or drop them"
        )
    return encoded


def check_head(model: PeftModel, data: Corpus) -> None:
    """Whether the head has an output for every class, and one for a score."""
    base: Any = model.get_base_model()
    outputs = base.config.num_labels
    if {"classification": outputs < data.task.outputs, "regression": outputs != 1, "span": False}[data.task.kind]:
        raise ValueError(
            f"the model's head has {outputs} outputs, the task {data.task.outputs}: give a model with num_labels="
            f"{data.task.outputs}"
        )


def check_dropout(model: nn.Module, wanted: bool) -> None:
    """Whether dropout is off, unless it is wanted."""
    active = [
        name
        for name, module in model.named_modules()
        # Some attention layers keep its probability as a number.
        if module.training
        and (getattr(module, "p", 0) if isinstance(module, nn.Dropout) else getattr(module, "attention_dropout", 0))
    ]
    if active and not wanted:
        raise ValueError(
            f"dropout is active in the model ({active[0]} and {len(active) - 1} more): call model.eval(), or say "
            "dropout=True if the instances are to be trained with it"
        )


def find_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """The tokenizer of a model, by the model's name."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise ValueError(f"the model's tokenizer cannot be loaded by its name {name!r}: give tokenizer=") from error
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    return tokenizer


def model_digest(model: nn.Module) -> str:
    """SHA-256 of all parameters and buffers."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(name.encode() + tensor.cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def token_digest(encoded: Encoded) -> str:
    """Of what the model reads, and so of the tokenizer too."""
    digest = hashlib.sha256(encoded.starts.tobytes())
    for name, flat in sorted(encoded.tokens.items()):
        digest.update(name.encode() + flat.tobytes())
    return digest.hexdigest()
