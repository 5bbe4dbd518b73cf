"""Passes that cost less and give the same gradients: plain attention, and the last block for the rows that are read.

Nothing of it is taken on trust: a few rows are passed with and without, and a shortcut that changes a gradient is left.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from repmatch_lib.training.last_block import Read, has_known_names, places, rows_read

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Gradients = Callable[[Read], list[Tensor]]


@contextmanager
def shortcuts(
    model: PreTrainedModel, block: nn.Module, probe: dict[str, Tensor], gradients: Gradients
) -> Iterator[Read]:
    """Within this context a model takes what shortcuts it can.

    Parameters
    ----------
    model : PreTrainedModel
    block : Module
        Its last one; see `last_block`.
    probe : dict of str to Tensor
        A batch of rows of different lengths: padding, and texts of one token, are where shortcuts go wrong.
    gradients : callable
        What must not change: the probe's gradients in float32, the last block computed by `lean` for the rows it is
        given the name of.

    Yields
    ------
    {"first", "last", "all"}
        The rows that the last block may be computed for.
    """
    own = model.config._attn_implementation
    try:
        with at_rest(model), torch.enable_grad():
            expected, read = _plain(model, block, probe, gradients)
            model.set_attn_implementation("repmatch")
            # Given up one by one: the last block's rows, then the plain attention.
            if not _agrees(gradients, read, expected):
                read = "all"
                if not _agrees(gradients, read, expected):
                    model.set_attn_implementation(own)
        yield read
    finally:
        model.set_attn_implementation(own)


def last_block(model: nn.Module, names: list[str]) -> nn.Module:
    """The last of the blocks that layers of these names are in; the model itself where they are in none."""
    blocks = next(filter(None, (re.match(r"(.*?)\.\d+\.", name) for name in names)), None)
    return cast("nn.ModuleList", model.get_submodule(blocks[1]))[-1] if blocks else model


def places_of(model: PreTrainedModel, batch: dict[str, Tensor], read: Read) -> Tensor | None:
    """The row of each instance that is read, shape (n,); None for all of them."""
    return None if read == "all" else places(batch["input_ids"], model.config.pad_token_id)[read]


def close(gradients: list[Tensor], expected: list[Tensor]) -> bool:
    """Whether two passes gave the same, but for their rounding."""
    rounding = 1e-6 * max(b.norm() for b in expected)  # where a gradient is zero, two passes may round it differently
    return all((a - b).norm() <= 1e-3 * b.norm() + rounding for a, b in zip(gradients, expected, strict=True))


@contextmanager
def at_rest(model: nn.Module) -> Iterator[None]:
    """Dropout off for as long as passes are compared."""
    training = [module for module in model.modules() if module.training]
    try:
        model.eval()
        yield
    finally:
        for module in training:
            module.training = True


def _plain(
    model: PreTrainedModel, block: nn.Module, probe: dict[str, Tensor], gradients: Gradients
) -> tuple[list[Tensor], Read]:
    """Gradients of the model as it is, and which rows of the last block's output its head reads."""
    flows: list[Tensor] = []

    def watch(module: nn.Module, inputs: tuple[Tensor, ...], out: Tensor | tuple[Tensor, ...]) -> None:
        hidden = out[0] if isinstance(out, tuple) else out
        if isinstance(hidden, Tensor) and hidden.requires_grad:
            hidden.register_hook(flows.append)

    watched = block.register_forward_hook(watch)
    try:
        expected = gradients("all")
    finally:
        watched.remove()
    if len(flows) != 1 or flows[0].ndim != 3 or not has_known_names(block):
        return expected, "all"
    return expected, rows_read(flows[0], places(probe["input_ids"], model.config.pad_token_id))


def _agrees(gradients: Gradients, read: Read, expected: list[Tensor]) -> bool:
    try:
        return close(gradients(read), expected)
    except (RuntimeError, TypeError):  # a block of another shape than the shortcut supposes
        return False
