"""The model that is trained: a pre-trained encoder under a frozen, nested head, with LoRA on its attention."""

from __future__ import annotations

import re
import warnings
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from safetensors import SafetensorError
from torch import nn

from repmatch_lib.similarity.matrices import MODULES
from repmatch_lib.training.encoders import Encoder

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

    from repmatch_lib.data.tasks import Kind

LAYER = re.compile(r"\.\d+\.")  # in the name of a parameter that belongs to a layer of the encoder

HEADS = {
    "classification": "AutoModelForSequenceClassification",
    "regression": "AutoModelForSequenceClassification",
    "span": "AutoModelForQuestionAnswering",
}


def frozen_model(encoder: Encoder, kind: Kind, outputs: int, head_seed: int = 0) -> PreTrainedModel:
    """An encoder under a new head, all of it frozen; a head that its checkpoint holds is left behind.

    Parameters
    ----------
    encoder : Encoder
    kind : {"classification", "regression", "span"}
    outputs : int
        Rows of the head: classes, 1 for regression, 2 for a span.
    head_seed : int
        Seed of the head alone. Row k of the head is the same whatever the number of rows, so that tasks with
        different label counts share what they can.

    Raises
    ------
    ValueError
        If the weights are damaged, or the seed is below 0.
    """
    if head_seed < 0:
        raise ValueError(f"head_seed = {head_seed}: give 0 or more")
    model, new = _load(encoder, kind, outputs)
    if any(LAYER.search(name) for name in new):
        # A few classes name the encoder within them otherwise than its checkpoint does.
        model, new = _load(encoder, kind, outputs, {r"^model\.": f"{model.base_model_prefix}."})
    if lacking := sorted(filter(LAYER.search, new)):
        raise ValueError(
            f"{encoder.folder} does not hold {lacking[0]} and {len(lacking) - 1} more: another architecture"
        )
    body = {id(parameter) for parameter in model.base_model.parameters()}
    draw_head(model, new | {name for name, p in model.named_parameters() if id(p) not in body}, head_seed)
    if model.config.pad_token_id is None:
        model.config.pad_token_id = encoder.tokenizer().pad_token_id
    return model.requires_grad_(False)


def _load(
    encoder: Encoder, kind: Kind, outputs: int, renamed: dict[str, str] | None = None
) -> tuple[PreTrainedModel, set[str]]:
    """The pre-trained model, and the names of the parameters that its checkpoint lacks."""
    import transformers

    verbosity = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()  # the report of new weights: they are drawn on purpose
    transformers.logging.disable_progress_bar()
    config = encoder.config()
    config.num_labels, config.problem_type = outputs, None  # a checkpoint's own type would choose the loss
    try:
        model, loaded = getattr(transformers, HEADS[kind]).from_pretrained(
            encoder.folder,
            config=config,
            attn_implementation="eager",  # the fused kernel's backward pass is twice as slow on a CPU
            use_safetensors=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            dtype=torch.float32,
            key_mapping=renamed,
        )
    except SafetensorError as error:
        raise ValueError(f"the weights in {encoder.folder} are damaged ({error}); fetch them again") from error
    finally:
        transformers.logging.set_verbosity(verbosity)
    return model, set(loaded["missing_keys"]) | {key for key, *_ in loaded["mismatched_keys"]}


def without_head(model: PreTrainedModel) -> PreTrainedModel:
    """The encoder within a model, which is a model of its own."""
    return cast("PreTrainedModel", model.base_model)


def lora_model(model: PreTrainedModel, rank: int, modules: Sequence[str] = ("value",), seed: int = 0) -> PeftModel:
    """Put LoRA of scale 1 on attention matrices; only its factors can be trained.

    Parameters
    ----------
    model : PreTrainedModel
        From `frozen_model`; changed in place.
    rank : int
    modules : sequence of str
        See `target_modules`.
    seed : int
        Of the random start of ``A``; ``B`` starts at zero.

    Raises
    ------
    ValueError
        If the rank does not fit the model or it lacks a matrix.
    """
    from peft import LoraConfig, get_peft_model

    if not 0 < rank <= model.config.hidden_size:
        raise ValueError(f"rank {rank} does not fit this encoder: give 1 to {model.config.hidden_size}, its width")
    targets = target_modules(model, modules)
    ends = tuple(f".{target}" for target in targets)
    outside = [n for n, _ in model.named_modules() if f".{n}".endswith(ends) and not LAYER.search(n)]
    # No task_type: with one, PEFT would wrap the head in modules_to_save and train it.
    config = LoraConfig(
        r=rank, lora_alpha=rank, lora_dropout=0.0, target_modules=targets, exclude_modules=outside or None
    )
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        torch.manual_seed(seed)
        adapted = get_peft_model(model, config)
    if stray := [name for name, p in adapted.named_parameters() if p.requires_grad and "lora_" not in name]:
        raise RuntimeError(f"only the LoRA factors may be trained, but {stray} would be too")
    return adapted


def target_modules(model: nn.Module, modules: Sequence[str]) -> list[str]:
    """The model's own suffixes of the asked matrices of its layers, for PEFT's ``target_modules``.

    Raises
    ------
    ValueError
        If the model has no such matrix; the message lists its linear layers.
    """
    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    names = [name for name in linear if LAYER.search(name)]
    if not modules or isinstance(modules, str):
        raise ValueError(f"modules = {modules!r}: give at least one attention matrix in a tuple, such as ('value',)")
    targets = []
    for module in modules:
        suffixes = MODULES.get(module, (module,))
        matching = [s for s in suffixes if any(n == s or n.endswith("." + s) for n in names)]
        if not matching:
            known = sorted({n.split(".", 3)[-1] if n.count(".") > 3 else n for n in linear})
            raise ValueError(f"the model has no {module!r} matrix ({' or '.join(suffixes)}); it has {', '.join(known)}")
        targets += matching
    return targets


def check_length(model: nn.Module, max_length: int, name: str = "the model") -> None:
    """Whether a model reads sequences so long.

    Raises
    ------
    ValueError
        If not; the message has the longest.
    """
    if max_length > (longest := longest_text(model) or max_length):
        raise ValueError(f"max_length {max_length} is above what {name} reads: give at most {longest}")


def longest_text(model: nn.Module) -> int | None:
    """Tokens that a model has positions for, or None where it does not say."""
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None:
            return module.num_embeddings - module.padding_idx - 1  # RoBERTa counts positions from its padding on
    return getattr(model.config, "max_position_embeddings", None)


def draw_head(model: nn.Module, names: set[str], seed: int) -> None:
    """Draw the parameters that no checkpoint holds, row by row: normal weights, zero biases.

    Each row has a generator of its own, so that a head of two labels is the first two rows of a head of five.
    """
    scale = getattr(model.config, "initializer_range", 0.02)
    output_layer = list(model.named_parameters())[-1][0].rpartition(".")[0]
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name not in names:
                continue
            # The output layer goes by one name in every model and task; hidden layers of a head by their own.
            role = 0 if name.rpartition(".")[0] == output_layer else zlib.crc32(name.encode())
            if parameter.ndim < 2:
                if name.endswith("bias"):
                    parameter.zero_()
                continue
            for k, row in enumerate(parameter):
                draw = np.random.default_rng([seed, role, k]).normal(0.0, scale, size=tuple(row.shape))
                row.copy_(torch.from_numpy(draw))
