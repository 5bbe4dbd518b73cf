"""Which LoRA adapters are plain: their update is ``B @ A``, and training started from an update of zero.

Lists of what is known of PEFT's configuration. What is not on them, such as an option of a PEFT to come, is refused by
its name: an update that is more than ``B @ A`` would be compared in part, and the score would not show it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Options that may have any value, by what they settle. None of them changes what B @ A is, or from what it was learned.
COMPARED = {
    "the base model": ("base_model_name_or_path", "revision", "auto_mapping", "task_type", "layer_replication"),
    "the file": ("peft_type", "peft_version", "inference_mode", "fan_in_fan_out", "megatron_core"),
    "which matrices are adapted": (
        *("target_modules", "target_parameters", "exclude_modules", "layers_to_transform", "layers_pattern"),
    ),
    "ranks and scales": ("r", "rank_pattern", "lora_alpha", "alpha_pattern", "use_rslora"),
    "how training goes": ("lora_dropout", "velora_config", "runtime_config"),
    "what is trained beside the factors": (
        *("bias", "lora_bias", "modules_to_save", "trainable_token_indices", "ensure_weight_tying"),
    ),
    "a start or a form that is listed apart": (
        *("init_lora_weights", "loftq_config", "eva_config", "corda_config", "lora_ga_config", "qalora_group_size"),
    ),
}

# Options that change the update where they are on.
REFUSED = {
    "use_dora": "DoRA: the adapted weight is rescaled as well",
    "use_qalora": "QALoRA: inputs are averaged in groups ahead of A",
    "kasa_config": "KaSA: there is a trained diagonal between B and A, and the base weights are changed",
    "monteclora_config": "MonteCLoRA: the factors are drawn from a distribution",
    "use_bdlora": "BD-LoRA: a factor is block-diagonal",
    "arrow_config": "Arrow: several adapters are mixed, for each token in another way",
    "alora_invocation_tokens": "aLoRA: only some tokens are adapted",
    "megatron_config": "Megatron: matrices are split among devices",
}

# Starts whose B @ A is zero.
STARTS = {
    "true": "A at random, B zero (PEFT's default)",
    "gaussian": "A at random, B zero",
    "eva": "A from the inputs, B zero",
    "orthogonal": "A and B at random, with a product of zero",
}

# Starts whose B @ A is not zero, or of which a factor is not trained: the update is then not B @ A.
OTHER_STARTS = {
    "false": "random factors, whose product is not zero",
    "pissa": "factors of the pre-trained weights (PiSSA)",
    "olora": "factors of the pre-trained weights (OLoRA)",
    "corda": "factors of the pre-trained weights (CorDA)",
    "loftq": "the error of quantised weights (LoftQ)",
    "lora_ga": "a gradient (LoRA-GA)",
    "mica": "a B from the pre-trained weights that is never trained (MiCA)",
}
MENDS = {
    **dict.fromkeys(
        ("pissa", "olora", "corda", "lora_ga"),
        "convert it to plain LoRA with PEFT's path_initial_model_for_weight_conversion",
    ),
    "false": "if training started from zero all the same, say so: init_lora_weights: true in adapter_config.json",
}


def check_plain(config: Mapping[str, Any], name: str) -> None:
    """Refuse an adapter whose update is not ``B @ A`` from a zero start, or not known to be.

    Parameters
    ----------
    config : mapping
        PEFT's ``adapter_config.json``; what it does not name has PEFT's default.
    name : str
        Of the adapter, for the message.

    Raises
    ------
    ValueError
        Naming the option, its value, and what can be done.
    """
    _check_start(str(config.get("init_lora_weights", True) or False).lower(), name)
    known = {option for options in COMPARED.values() for option in options}
    for option, value in config.items():
        if option in known or not value:
            continue
        if option in REFUSED:
            kind, _, reason = REFUSED[option].partition(": ")
            raise ValueError(
                f"{name} is a {kind} adapter ({option}), whose update is not B @ A: {reason}. RepMatch compares plain "
                "LoRA: train it again without this option"
            )
        raise ValueError(
            f"{name} has an option that is not known here, {option} = {value!r}, so its update may not be B @ A. If it "
            "is plain LoRA all the same, delete the option from adapter_config.json"
        )


def _check_start(start: str, name: str) -> None:
    if start in STARTS:
        return
    kind = next((kind for kind in OTHER_STARTS if start.startswith(kind)), None)
    what = OTHER_STARTS[kind] if kind else "something that is not known here"
    mend = MENDS.get(kind or "", f"train it again from another start: {', '.join(STARTS)}")
    raise ValueError(
        f"{name} started from {what} (init_lora_weights={start!r}), so B @ A is not what was learned: {mend}"
    )
