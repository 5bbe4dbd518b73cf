"""The adapted matrices of a live PEFT model, and the hooks that read and replace LoRA's part in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    from peft import PeftModel

Hook = Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor | None]


@dataclass(frozen=True)
class Matrix:
    """One adapted linear layer: its place in the model, LoRA's start and scale."""

    name: str
    linear: nn.Linear
    A: Tensor
    scale: float
    dropout: nn.Module


def initial_matrices(model: PeftModel) -> list[Matrix]:
    """The adapted linear layers of a PEFT model whose active adapter is plain LoRA in its initial state.

    Raises
    ------
    ValueError
        If it is anything else.
    """
    from peft.tuners.lora import LoraLayer

    adapter = model.active_adapter
    adapted = []
    for name, layer in model.get_base_model().named_modules():
        if not isinstance(layer, LoraLayer) or not {adapter} & {*layer.lora_A, *layer.lora_embedding_A}:
            continue
        linear = layer.get_base_layer()
        variant = layer.lora_variant.get(adapter)
        if not isinstance(linear, nn.Linear) or variant or layer.lora_B[adapter].bias is not None:
            raise ValueError(f"{name} is not plain LoRA on a linear layer; only that can be scored")
        if layer.lora_B[adapter].get_parameter("weight").any():
            raise ValueError(
                f"B of {name} is not zero: the model was trained already. Give it in its initial state "
                "(get_peft_model with init_lora_weights=True), or give the encoder instead"
            )
        A = layer.lora_A[adapter].get_parameter("weight").detach().float()
        adapted.append(Matrix(name, linear, A, layer.scaling[adapter], layer.lora_dropout[adapter]))
    if not adapted:
        raise ValueError(
            "the model has no trainable LoRA layers: wrap it with peft.get_peft_model and a LoraConfig, or give the "
            "encoder instead"
        )
    return adapted


def recording(seen: dict[int, tuple[Tensor, Tensor]], k: int) -> Hook:
    """Remember a layer's input and output; the graph begins at the lowest output: nothing below is differentiated."""

    def hook(module: nn.Module, inputs: tuple[Tensor, ...], out: Tensor) -> None:
        if not out.requires_grad:
            out.requires_grad_()
        if k in seen:
            raise ValueError(
                "the model uses one adapted layer several times in a pass; its uses share one update, which is not "
                "supported: give an encoder with layers of their own"
            )
        seen[k] = inputs[0].detach(), out

    return hook


def adding(matrix: Matrix, A: Tensor, B: Tensor) -> Hook:
    """LoRA with factors of each instance's own."""

    def hook(module: nn.Module, inputs: tuple[Tensor, ...], out: Tensor) -> Tensor:
        x = by_token(matrix.dropout(inputs[0].to(A.dtype)))
        return (out + (matrix.scale * (x @ A.mT) @ B.mT).view_as(out)).to(out.dtype)

    return hook


def by_token(x: Tensor) -> Tensor:
    """(n, T, width), also of a layer that sees one row an instance, such as a pooler."""
    return x if x.ndim == 3 else x.unsqueeze(1)


@contextmanager
def without_lora(model: nn.Module) -> Iterator[None]:
    """LoRA's branch adds nothing while ``B = 0``; leave it out.

    PEFT's own ``disable_adapter`` would also take a merged adapter apart, put back a head that is trained beside LoRA,
    and set ``requires_grad``.
    """
    from peft.tuners.lora import LoraLayer

    layers = [m for m in model.modules() if isinstance(m, LoraLayer) and not m.merged and not m.disable_adapters]
    try:
        for layer in layers:
            layer._disable_adapters = True
        yield
    finally:
        for layer in layers:
            layer._disable_adapters = False
