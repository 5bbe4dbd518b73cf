"""Only what the loss depends on: the last block computed for the rows that the head reads, and for no others.

A classifier reads one token of the last block's output: the first (BERT, ELECTRA) or the last (LLaMA). The block's keys
and values need every token; its query, output projection and feed-forward layers need that one. This is done with hooks
and transformers' interface for attention, for any model whose block has linear layers of the known names. `shortcuts`
says when.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask

from repmatch_lib.similarity.matrices import MODULES
from repmatch_lib.training.dropout import dropout as thinned

Read = Literal["first", "last", "all"]

# Blocks that are being computed for some rows only: each of their modules, and the row of each instance.
_rows: dict[nn.Module, Tensor] = {}


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention as plain matrix products: on a CPU, the fused kernel's backward pass takes twice as long.

    Parameters
    ----------
    query, key, value : Tensor, shape (n, heads, T, d)
        Keys and values may have fewer heads, each shared by a group.
    attention_mask : Tensor, broadcastable to (n, heads, T, T), or None
        Added to the scores.
    """
    n, heads, tokens, width = query.shape
    if key.shape[1] != heads:
        key, value = (x.repeat_interleave(heads // x.shape[1], 1) for x in (key, value))
    if (rows := _rows.get(module)) is not None:
        query = _take(query, rows, 2)
        attention_mask = None if attention_mask is None else _take(attention_mask, rows, 2)
    scores = (query * (width**-0.5 if scaling is None else scaling)) @ key.mT
    if attention_mask is not None:
        scores = scores + attention_mask
    weights = thinned(scores.softmax(-1), dropout, module.training)
    # Where one row was computed, the others repeat it: they are not read.
    return (weights.to(value.dtype) @ value).transpose(1, 2).expand(n, tokens, heads, width), None


AttentionInterface.register("repmatch", attention)

AttentionMaskInterface.register("repmatch", eager_mask)


@contextmanager
def lean(block: nn.Module, rows: Tensor | None, tokens: int) -> Iterator[None]:
    """Compute the last block for the rows that are read, within this context.

    Parameters
    ----------
    block : Module
        The last one of a model that uses the attention above.
    rows : Tensor, shape (n,), or None
        The row of each instance that is read; None for all of them.
    tokens : int
        Length of the batch.
    """
    if rows is None:
        yield
        return
    with ExitStack() as stack:
        for role, linear in _linears(block):
            if role in ("key", "value"):
                continue
            stack.callback(linear.register_forward_pre_hook(_take_input(rows)).remove)
            if role == "query":  # the model reshapes it by the number of tokens
                stack.callback(linear.register_forward_hook(_expand_output(tokens)).remove)
        _rows.update(dict.fromkeys(block.modules(), rows))
        stack.callback(lambda: [_rows.pop(module) for module in block.modules()])
        yield


def places(input_ids: Tensor, padding: int | None) -> dict[Read, Tensor]:
    """The row that a head may read, shape (n,): the first, or the last that is no padding token."""
    n, tokens = input_ids.shape
    numbers = torch.arange(tokens, device=input_ids.device)
    real = torch.ones_like(input_ids, dtype=torch.bool) if padding is None else input_ids != padding
    return {"first": numbers.new_zeros(n), "last": (real * numbers).argmax(1)}


def rows_read(gradient: Tensor, candidates: dict[Read, Tensor]) -> Read:
    """Which rows of the last block's output the loss depends on.

    Parameters
    ----------
    gradient : Tensor, shape (n, T, d)
        Of the loss with respect to that output.
    candidates : dict of str to Tensor, shape (n,)
        See `places`.

    Returns
    -------
    {"first", "last", "all"}
        ``"all"`` too where the rows cannot tell: in texts of one token the first is the last.
    """
    read = gradient.abs().sum(-1) > 0  # (n, T)
    matching = [
        name for name, rows in candidates.items() if torch.equal(read, nn.functional.one_hot(rows, read.shape[1]) > 0)
    ]
    return matching[0] if len(matching) == 1 else "all"


def has_known_names(block: nn.Module) -> bool:
    """Whether the block's query, key and value can be told apart."""
    return {"query", "key", "value"} <= {role for role, _ in _linears(block)}


def _linears(block: nn.Module) -> Iterator[tuple[str, nn.Linear]]:
    """The block's own linear layers and their roles; LoRA's factors are not among them."""
    for name, module in block.named_modules():
        if isinstance(module, nn.Linear) and ".lora_" not in name:
            plain = f".{name.removesuffix('.base_layer')}"
            yield next((r for r, ends in MODULES.items() if plain.endswith(tuple(f".{e}" for e in ends))), ""), module


def _take(x: Tensor, rows: Tensor, dim: int) -> Tensor:
    """One row of each instance along a dimension, which stays, of size 1.

    Contiguous: a linear layer on anything else becomes a batch of products, with a copy of its weights for each.
    """
    if not rows.any():
        return x.narrow(dim, 0, 1).contiguous()
    return x.take_along_dim(rows.view(-1, *[1] * (x.ndim - 1)), dim)


def _take_input(rows: Tensor) -> Callable[..., tuple[Any, ...]]:
    return lambda module, inputs: (_take(inputs[0], rows, 1) if inputs[0].shape[1] > 1 else inputs[0], *inputs[1:])


def _expand_output(tokens: int) -> Callable[..., Tensor]:
    return lambda module, inputs, out: out.expand(-1, tokens, -1)
