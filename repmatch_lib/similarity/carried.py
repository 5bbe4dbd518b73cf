"""An update seen in another space: the left side of an adapter, carried on by a fixed matrix."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from repmatch_lib.similarity.adapters import Adapter


def carried(adapter: Adapter, W: Tensor, module: str = "value") -> Adapter:
    """The adapter with ``W @ B`` in place of ``B`` in every layer of one matrix, so that its update is ``W @ B @ A``.

    With a layer's frozen output matrix as ``W`` the value update, in the space of the heads, comes to lie in the
    residual stream; with its transpose the output update comes back to the heads. Used in the chapter on the four
    attention matrices.

    Parameters
    ----------
    adapter : Adapter
    W : Tensor, shape (L, out', out)
        One matrix a layer.
    module : str
        As for `repmatch`.

    Raises
    ------
    ValueError
        If ``W`` does not fit the layers.
    """
    layers, _, B = adapter.factors(module)
    if W.ndim != 3 or (len(W), W.shape[-1]) != (len(layers), B.shape[-2]):
        raise ValueError(
            f"W has shape {tuple(W.shape)}: {adapter.name} has {len(layers)} layers, {B.shape[-2]} wide on the left"
        )
    by_layer = dict(zip(layers, W @ B, strict=True))
    moved = {key: by_layer[layer] for key in adapter.tensors for layer in layers if key.startswith(f"{layer}.lora_B.")}
    return replace(adapter, tensors=adapter.tensors | moved)
