"""EL2N (Paul et al., 2021): how wrong a model is about an instance early in training."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

from repmatch_lib.data.corpora import Corpus
from repmatch_lib.similarity.adapters import Adapter, check_base
from repmatch_lib.training.batching import encode
from repmatch_lib.training.devices import resolve_device, token_budget
from repmatch_lib.training.encoders import Encoder
from repmatch_lib.training.evaluation import Forward
from repmatch_lib.training.heads import frozen_model, lora_model


@torch.no_grad()
def el2n(encoder: Encoder, data: Corpus, adapter: Adapter) -> np.ndarray:
    """Length of the error: the predicted probabilities less the label, one-hot.

    With two classes it is ``sqrt(2) * (1 - exp(-loss))``, and so in the order of the losses.

    Parameters
    ----------
    encoder : Encoder
    data : Corpus
        Of a task with classes.
    adapter : Adapter
        That `train_adapter` trained: the state in which the model predicts, without dropout.

    Returns
    -------
    ndarray, shape (n,), float64, from 0 to the root of 2

    Raises
    ------
    ValueError
        If the task has no classes, or the adapter is of another encoder or does not say how it was trained.
    """
    from peft import set_peft_model_state_dict

    if "training" not in adapter.provenance:
        raise ValueError(f"{adapter.name} does not say how it was trained: give an adapter from train_adapter")
    check_base(adapter, encoder.base_model, encoder.sha256)
    if data.task.kind != "classification":
        raise ValueError(f"{data.task.name} has no classes, and EL2N is of their probabilities: take another rule")
    trained, device = adapter.provenance["training"], resolve_device("auto")
    base = frozen_model(encoder, data.task.kind, data.task.outputs, trained["head_seed"])
    model = lora_model(base, trained["rank"], trained["modules"]).to(device).eval()
    set_peft_model_state_dict(model, adapter.tensors)
    encoded = encode(encoder.tokenizer(), data, trained["max_length"])
    forward = Forward(model, token_budget("evaluation", device), trained["precision"])
    errors = np.empty(len(encoded))
    for rows, (logits,) in forward(encoded.lengths, encoded.collate, ("logits",)):
        truth = F.one_hot(encoded.targets["labels"][torch.from_numpy(rows)], data.task.outputs)
        errors[rows] = (logits.double().softmax(1) - truth).norm(dim=1).numpy()
    return errors
