"""LoRA training on a corpus: the update that RepMatch reads (section 5.1)."""

from __future__ import annotations

import dataclasses
from typing import Any

from repmatch_lib.data.corpora import Corpus
from repmatch_lib.similarity.adapters import Adapter
from repmatch_lib.training.encoders import Encoder
from repmatch_lib.training.heads import frozen_model, lora_model
from repmatch_lib.training.loop import Training, train


def train_adapter(
    encoder: Encoder,
    data: Corpus,
    *,
    rank: int = 4,
    modules: tuple[str, ...] = ("value",),
    head_seed: int = 0,
    start_seed: int | None = None,
    progress: bool = True,
    **settings: Any,
) -> Adapter:
    """Fine-tune an encoder with LoRA on a corpus; everything else, the head included, stays frozen.

    The LoRA scale is 1.

    Parameters
    ----------
    encoder : Encoder
    data : Corpus
    rank : int
        Of the update; 4 for the paper's heat maps, 1 elsewhere.
    modules : tuple of str
        Attention matrices to adapt: ``"query"``, ``"key"``, ``"value"``, ``"output"``.
    head_seed : int
        Of the frozen head. Adapters trained under different heads cannot be compared: they begin at chance.
    start_seed : int, optional
        Of the LoRA start, instead of ``seed``.
    progress : bool
        Show a progress bar.
    **settings
        ``seed``, ``lr``, ``epochs``, ``batch_size``, ``max_length``, ``dropout``, ``precision``, ``device`` and so on:
        see `Training`.

    Returns
    -------
    Adapter
        The same, bit for bit, for the same arguments on the same machine.

    Raises
    ------
    FloatingPointError
        If the loss or the update is not finite.
    ValueError
        If a setting does not fit, the model lacks an asked matrix, or the rank does not fit it.
    """
    how = Training(**settings).resolved()
    start_seed = how.seed if start_seed is None else start_seed
    model = lora_model(frozen_model(encoder, data.task.kind, data.task.outputs, head_seed), rank, modules, start_seed)
    more = {"rank": rank, "modules": list(modules), "start_seed": start_seed, "head_seed": head_seed}
    provenance = train(model, encoder, data, how, progress, **more)
    trained = Adapter.from_model(model)
    if not all(tensor.isfinite().all() for tensor in trained.tensors.values()):
        raise FloatingPointError(f"{data.title}: the update is not finite after training; lower lr (now {how.lr})")
    name = f"{data.title} (seed {how.seed})"
    config = trained.config | {"base_model_name_or_path": encoder.base_model}
    return dataclasses.replace(trained, config=config, provenance={"name": name} | provenance, name=name)
