"""The model that every instance is trained on by itself, and how: checked before anything is computed.

Section 5.1, instance level.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, field_validator

from repmatch_lib.data.corpora import Corpus
from repmatch_lib.instances.checks import check_dropout, check_head, find_tokenizer, model_digest
from repmatch_lib.settings import Count, Length, Measure, Names, Positive, Precision, Seed, checked
from repmatch_lib.similarity.adapters import Adapter
from repmatch_lib.similarity.subspaces import Side
from repmatch_lib.training.devices import resolve_device, resolve_precision
from repmatch_lib.training.encoders import Encoder
from repmatch_lib.training.heads import check_length, frozen_model, lora_model

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedTokenizerBase


@checked
class Scoring:
    """How instances are trained and compared.

    Attributes
    ----------
    steps : int
        AdamW steps of each instance alone, with a batch of one. The authors' released script takes one.
    lr, weight_decay, eps : float
        AdamW's.
    side : {"left", "right"}
        Which singular vectors to compare; see `lora_basis`.
    modules : tuple of str
        Attention matrices to adapt and compare; of a ready PEFT model, those to compare.
    rank, seed : int
        LoRA's, where an encoder is given; if not given, the rank is the target's, and the seed 0, or by cosine that of
        the target's start. On the right side, a seed equal to that of the target's start gives both the same ``A``,
        and scores near 1.
    measure : {"repmatch", "cosine"}
        ``"cosine"`` has a sign: that of each whole update with the target's, all layers and matrices as one vector,
        which LESS (Xia et al., 2024) selects by. It needs the target's own LoRA start; the scores hold RepMatch beside
        it, from the same pass.
    head_seed : int, optional
        Of the frozen head, where an encoder is given: the target's own if not given.
    max_length : int
        Longest sequence in tokens.
    dropout : bool
        Train with the encoder's dropout. Off at the instance level: it drowns what one step learns. What is dropped
        also depends on ``tokens``, the padded tokens in one pass.
    precision : {"auto", "float32", "bf16"}
        As for `train_adapter`, but float32 if not given: in bf16 the sign of a first step's small gradients, and so a
        row's score, depends on the processor.
    """

    steps: Count = 1
    lr: Positive = 1e-3
    side: Side = "left"
    modules: Names = ("value",)
    rank: Count | None = None
    seed: Seed | None = None
    measure: Measure = "repmatch"
    head_seed: Seed | None = None
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    eps: Positive = 1e-8
    max_length: Length = 256
    dropout: bool = False
    precision: Precision = "float32"

    @field_validator("modules")
    @classmethod
    def _each_once(cls, modules: tuple[str, ...]) -> tuple[str, ...]:
        if not modules or len(set(modules)) < len(modules):
            raise ValueError("give at least one matrix, and each once")
        return modules


@dataclass(frozen=True)
class Trainee:
    """A PEFT model in its initial state, and what is known of it.

    Attributes
    ----------
    model : PeftModel
    tokenizer : PreTrainedTokenizerBase
    scoring : Scoring
        With rank, head and precision settled.
    device : str
    base_model : str or None
        Its name, as adapters record it.
    name : str or None
        For provenance.
    weights : str
        SHA-256 of the encoder's weights; of the whole model where a ready one was given.
    fingerprint : str
        SHA-256 of everything that decides what it computes.
    """

    model: PeftModel
    tokenizer: PreTrainedTokenizerBase
    scoring: Scoring
    device: str
    base_model: str | None
    name: str | None
    weights: str
    fingerprint: str


def trainee(
    model: Encoder | PeftModel,
    data: Corpus,
    scoring: Scoring,
    device: str = "auto",
    tokenizer: PreTrainedTokenizerBase | None = None,
    targets: Sequence[Adapter] = (),
) -> Trainee:
    """Put LoRA on an encoder under the targets' head, or take a ready PEFT model as it is.

    Raises
    ------
    TypeError
        If it is neither.
    ValueError
        If head, dropout or longest text do not fit the model, or targets ask for different heads, ranks or starts.
    """
    if isinstance(model, Encoder):
        ready = _of_encoder(model, data, scoring, device, tokenizer, targets)
    elif hasattr(model, "peft_config"):
        ready = _ready(model, scoring, tokenizer)
    else:
        raise TypeError(
            f"cannot score on {type(model).__name__}: give an encoder (rm.encoder(name)), or a PeftModel in its "
            "initial state (peft.get_peft_model)"
        )
    check_dropout(ready.model, ready.scoring.dropout)
    check_head(ready.model, data)
    check_length(ready.model, ready.scoring.max_length)
    return ready


def _of_encoder(
    encoder: Encoder,
    data: Corpus,
    scoring: Scoring,
    device: str,
    tokenizer: PreTrainedTokenizerBase | None,
    targets: Sequence[Adapter],
) -> Trainee:
    device = resolve_device(device)
    scoring = _settled(scoring, targets, resolve_precision(scoring.precision, device))
    assert scoring.rank is not None and scoring.seed is not None and scoring.head_seed is not None
    base = frozen_model(encoder, data.task.kind, data.task.outputs, scoring.head_seed)
    model = lora_model(base, scoring.rank, scoring.modules, scoring.seed).to(device).train(scoring.dropout)
    return Trainee(
        model, tokenizer or encoder.tokenizer(), scoring, device, encoder.base_model, encoder.name, encoder.sha256,
        encoder.fingerprint,
    )  # fmt: skip


def _settled(scoring: Scoring, targets: Sequence[Adapter], precision: Precision) -> Scoring:
    """The settings that the targets decide where they are not given."""
    asked = [_asked_by(target, scoring) for target in targets] or [_asked_by(None, scoring)]
    for target, other in zip(targets[1:], asked[1:], strict=True):
        for name, value in other.items():
            if value != asked[0][name]:
                raise ValueError(
                    f"targets that share a pass share one {name}: {targets[0].name} asks for {asked[0][name]}, "
                    f"{target.name} for {value}. Give {name}=, or score them one by one"
                )
    settled: dict[str, Any] = asked[0]
    return dataclasses.replace(scoring, precision=precision, **settled)


def _asked_by(target: Adapter | None, scoring: Scoring) -> dict[str, int]:
    trained = target.provenance.get("training", {}) if target else {}
    head_seed = trained.get("head_seed", 0) if scoring.head_seed is None else scoring.head_seed
    rank = scoring.rank or trained.get("rank") or (target.config.get("r") if target else None) or 1
    return {"rank": rank, "head_seed": head_seed, "seed": _start_seed(scoring, rank, target)}


def _start_seed(scoring: Scoring, rank: int, target: Adapter | None) -> int:
    """The seed of the instances' LoRA start; by cosine that of the target's, or the sign would be chance."""
    if scoring.measure == "repmatch" or target is None or scoring.seed is not None:
        return scoring.seed or 0
    seed, of_target = target.provenance.get("training", {}).get("start_seed"), target.config.get("r")
    if seed is None or rank != of_target:
        raise ValueError(
            f"the cosine compares updates from one LoRA start: the target {target.name} has rank {of_target} and start "
            f"seed {seed}, the instances rank {rank}. Leave out rank, and give seed= where the target does not say it"
        )
    return seed


def _ready(model: PeftModel, scoring: Scoring, tokenizer: PreTrainedTokenizerBase | None) -> Trainee:
    base: Any = model.get_base_model()
    device, name, digest = str(model.device), base.name_or_path, model_digest(model)
    precision = resolve_precision(scoring.precision, device)
    scoring = dataclasses.replace(scoring, seed=scoring.seed or 0, precision=precision)
    return Trainee(model, tokenizer or find_tokenizer(name), scoring, device, name, name, digest, digest)
