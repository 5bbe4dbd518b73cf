"""Full fine-tuning as an adapter: what it does to the attention matrices, cut to the leading directions.

The book's chapter on full fine-tuning introduces it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from repmatch_lib.data.corpora import Corpus
from repmatch_lib.similarity.adapters import Adapter
from repmatch_lib.training.encoders import Encoder
from repmatch_lib.training.heads import LAYER, frozen_model, target_modules
from repmatch_lib.training.loop import Training, train


def full_adapter(
    encoder: Encoder,
    data: Corpus,
    *,
    rank: int = 4,
    modules: tuple[str, ...] = ("value",),
    head_seed: int = 0,
    dev: Corpus | None = None,
    progress: bool = True,
    **settings: Any,
) -> Adapter:
    """Fine-tune the whole encoder under a frozen head; the best approximation of the update at a rank.

    Parameters
    ----------
    encoder, data, rank, modules, head_seed, dev, progress
        See `train_adapter`.
    **settings
        See `Training`.

    Returns
    -------
    Adapter
        In each layer ``B @ A`` is the update's truncated singular value decomposition (Eckart and Young, 1936).
        ``provenance["kept"]`` holds the share of its squared norm that the rank keeps, layer by layer.

    Raises
    ------
    FloatingPointError
        If the loss is not finite.
    """
    from peft import LoraConfig

    how = Training(**settings).resolved()
    model = frozen_model(encoder, data.task.kind, data.task.outputs, head_seed)
    model.base_model.requires_grad_(True)
    targets = target_modules(model, modules)
    ends = tuple(f".{target}.weight" for target in targets)
    weights = {name: p for name, p in model.named_parameters() if name.endswith(ends) and LAYER.search(name)}
    before = {name: weight.detach().clone() for name, weight in weights.items()}
    more: dict[str, Any] = {"method": "full", "rank": rank, "modules": list(modules), "head_seed": head_seed}
    provenance = train(model, encoder, data, how, progress, dev=dev, **more)
    tensors: dict[str, Tensor] = {}
    kept = []
    for name, weight in weights.items():
        B, A, share = truncated(weight.detach().cpu() - before[name], rank)
        stem = f"base_model.model.{name.removesuffix('.weight')}"
        tensors |= {f"{stem}.lora_A.weight": A, f"{stem}.lora_B.weight": B}
        kept.append(share)
    config = LoraConfig(r=rank, lora_alpha=rank, target_modules=targets).to_dict()
    config |= {"base_model_name_or_path": encoder.base_model}
    name = f"{data.title} (full, seed {how.seed})"
    return Adapter(tensors, config, {"name": name} | provenance | {"kept": kept}, name)


def truncated(update: Tensor, rank: int) -> tuple[Tensor, Tensor, float]:
    """Factors of the best approximation at a rank, and the share of the squared norm that it keeps.

    Parameters
    ----------
    update : Tensor, shape (out, in)
    rank : int

    Returns
    -------
    B : Tensor, shape (out, rank), float32
    A : Tensor, shape (rank, in), float32
    share : float, from 0 to 1
    """
    U, S, Vh = torch.linalg.svd(update.double(), full_matrices=False)
    root = S[:rank].sqrt()
    share = float((S[:rank] ** 2).sum() / (S**2).sum().clamp_min(torch.finfo(S.dtype).tiny))
    return (U[:, :rank] * root).float(), (root[:, None] * Vh[:rank]).float(), share
