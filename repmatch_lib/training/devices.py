"""Where and in which arithmetic a model computes, and how much of a batch it takes at once."""

from __future__ import annotations

from typing import get_args

import torch

from repmatch_lib.settings import Precision

# Padded tokens in one pass: on a processor, more falls out of its cache. Training keeps activations, scoring gradients
# of every instance, evaluation neither.
TOKENS = {
    "training": {"cpu": 2048, "cuda": 65536},
    "scoring": {"cpu": 1024, "cuda": 65536},
    "evaluation": {"cpu": 4096, "cuda": 131072},
    "vectors": {"cpu": 2048, "cuda": 65536},
}


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


def resolve_precision(precision: Precision, device: str) -> Precision:
    """``"auto"`` as ``"bf16"`` where the device multiplies in it natively, else ``"float32"``."""
    if precision not in get_args(Precision):
        raise ValueError(f"unknown precision {precision!r}: give 'auto', 'float32' or 'bf16'")
    if precision != "auto":
        return precision
    if device.startswith("cuda"):
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    native = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    return "bf16" if native else "float32"


def token_budget(work: str, device: str) -> int:
    """Padded tokens that a device takes in one pass of such work, a key of `TOKENS`."""
    return TOKENS[work][torch.device(device).type]
