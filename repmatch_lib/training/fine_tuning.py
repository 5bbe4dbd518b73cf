"""Fine-tuning an encoder with a new head on a corpus, and its evaluation on another (section 5.3)."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from repmatch_lib.data.corpora import Corpus
from repmatch_lib.settings import Method
from repmatch_lib.store import write_atomically
from repmatch_lib.training.encoders import Encoder
from repmatch_lib.training.heads import frozen_model, lora_model
from repmatch_lib.training.loop import Training, train

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of a fine-tuning.

    Attributes
    ----------
    metric : str
        ``accuracy``, ``f1`` or ``spearman``.
    value : float
        On the development set.
    instances : list
        Their ids, in the order of choice.
    labels : dict of str to int
        Instances of each class; empty for other tasks.
    provenance : dict
    """

    metric: str
    value: float
    instances: list[Any]
    labels: dict[str, int]
    provenance: dict[str, Any]

    def save(self, folder: Path) -> None:
        """Write ``outcome.json`` into a folder."""
        write_atomically(folder / "outcome.json", json.dumps(dataclasses.asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Outcome:
        """Read what `save` wrote."""
        return cls(**json.loads((folder / "outcome.json").read_text()))


def fine_tune(
    encoder: Encoder,
    data: Corpus,
    dev: Corpus,
    *,
    method: Method = "full",
    rank: int | None = None,
    progress: bool = True,
    **settings: Any,
) -> Outcome:
    """Fine-tune an encoder with a new head on a corpus, and evaluate it on another.

    Parameters
    ----------
    encoder : Encoder
    data, dev : Corpus
        Of one task.
    method : {"full", "lora"}
        Train every parameter, or LoRA's factors and the head.
    rank : int, optional
        LoRA's; 4 if not given.
    progress : bool
        Show a progress bar.
    **settings
        See `Training`; ten epochs in batches of ten, of at most 128 tokens, if not given. The seed is the head's too.

    Returns
    -------
    Outcome

    Raises
    ------
    FloatingPointError
        If the loss is not finite.
    """
    how = Training(**{"epochs": 10, "batch_size": 10, "max_length": 128} | settings).resolved()
    model = _trainable(frozen_model(encoder, data.task.kind, data.task.outputs, how.seed), method, rank, how.seed)
    provenance = train(model, encoder, data, how, progress, dev=dev, method=method, rank=rank)
    counts = Counter(data.table["label"].to_pylist() if data.task.kind == "classification" else ())
    labels = {name: counts.get(k, 0) for k, name in enumerate(data.task.labels)}
    return Outcome(data.task.metric, provenance["learned"]["value"], data.table["id"].to_pylist(), labels, provenance)


def _trainable(model: PreTrainedModel, method: Method, rank: int | None, seed: int) -> torch.nn.Module:
    """The model with what the method trains set to be trained; the head always is."""
    if method == "full":
        return model.requires_grad_(True)
    encoder = f"{model.base_model_prefix}."
    adapted = lora_model(model, rank or 4, seed=seed)
    for name, parameter in model.named_parameters():
        if not name.startswith(encoder):
            parameter.requires_grad_(True)
    return adapted
