"""LoRA adapters as factors: read from PEFT's saved format or from a live PEFT model, without the base model.

The book's page on how RepMatch works begins with them.
"""

from __future__ import annotations

import errno
import hashlib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from repmatch_lib.store import whole

if TYPE_CHECKING:
    from peft import PeftModel

WEIGHTS, CONFIG, PROVENANCE = "adapter_model.safetensors", "adapter_config.json", "provenance.json"

# One attention matrix, as the model families name it. PEFT matches the same names by suffix.
MODULES = {
    "query": ("query", "q_proj", "q_lin"),
    "key": ("key", "k_proj", "k_lin"),
    "value": ("value", "v_proj", "v_lin"),
    "output": ("attention.output.dense", "o_proj", "out_lin", "out_proj"),
}

# Starts that take a part of the pre-trained weight into the factors: B @ A is then not what was learned.
NOT_FROM_ZERO = ("pissa", "olora", "corda", "loftq", "lora_ga")

_FACTOR = re.compile(r"(?P<layer>.*\.\d+\.(?P<name>.+))\.lora_(?P<factor>[AB])(\.[^.]+)?\.weight")


@dataclass(frozen=True)
class Adapter:
    """The LoRA factors of one fine-tuned model.

    Attributes
    ----------
    tensors : dict of str to Tensor
        PEFT's state dict: ``....lora_A.weight`` of shape (r, in), ``....lora_B.weight`` of shape (out, r).
    config : dict
        PEFT's ``adapter_config.json``.
    provenance : dict
        What made it; empty for an adapter that this library did not train.
    name : str
        For messages and figures.
    """

    tensors: dict[str, Tensor]
    config: dict[str, Any]
    provenance: dict[str, Any] = field(default_factory=dict)
    name: str = "adapter"

    def __post_init__(self) -> None:
        start = str(self.config.get("init_lora_weights", "")).lower()
        if start.startswith(NOT_FROM_ZERO):
            raise ValueError(
                f"{self.name} started from factors of the pre-trained weights (init_lora_weights={start!r}), so B @ A "
                "is not its update: convert it to plain LoRA with PEFT's path_initial_model_for_weight_conversion"
            )
        if self.config.get("use_dora"):
            raise ValueError(f"{self.name} is a DoRA adapter, whose update is not B @ A; RepMatch compares plain LoRA")

    @classmethod
    def load(cls, folder: str | Path) -> Adapter:
        """Read a folder that PEFT or this library saved.

        Raises
        ------
        FileNotFoundError
            If the folder, its safetensors or its configuration is missing.
        ValueError
            If a file is damaged, or the adapter is not plain LoRA.
        """
        folder = Path(folder)
        for file in (WEIGHTS, CONFIG):
            if not (folder / file).is_file():
                raise FileNotFoundError(
                    f"{folder} holds no {file}; give a folder written by PEFT's save_pretrained with safetensors"
                )
        try:
            tensors = load_file(folder / WEIGHTS)
        except SafetensorError as error:
            raise ValueError(f"{folder / WEIGHTS} is damaged ({error}); copy or train the adapter again") from error
        try:
            config = json.loads((folder / CONFIG).read_text())
            provenance_file = folder / PROVENANCE
            provenance = json.loads(provenance_file.read_text()) if provenance_file.is_file() else {}
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"{folder} holds a damaged JSON file ({error}); copy the adapter again") from error
        if not isinstance(config, dict) or not isinstance(provenance, dict):
            raise ValueError(f"{folder / CONFIG} is not an adapter's configuration; copy the adapter again")
        if config.get("peft_type") != "LORA":
            raise ValueError(f"{folder} is a {config.get('peft_type')} adapter; RepMatch compares LoRA adapters")
        return cls(tensors, config, provenance, name=provenance.get("name", folder.resolve().name))

    @classmethod
    def from_model(cls, model: PeftModel) -> Adapter:
        """Take the active adapter of a live ``PeftModel``."""
        from peft import get_peft_model_state_dict

        name = model.active_adapter
        tensors = {k: v.detach().cpu().clone() for k, v in get_peft_model_state_dict(model, adapter_name=name).items()}
        return cls(tensors, model.peft_config[name].to_dict(), name=name)

    def save(self, folder: str | Path) -> Path:
        """Write the folder in PEFT's own format, with the provenance beside it.

        A folder that holds an adapter already has none while it is written anew, so that no stop mixes two.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for file in (WEIGHTS, CONFIG, PROVENANCE):
            (folder / file).unlink(missing_ok=True)
        config = {k: sorted(v) if isinstance(v, set) else v for k, v in self.config.items()}
        (folder / PROVENANCE).write_text(json.dumps(self.provenance, indent=1, sort_keys=True) + "\n")
        (folder / CONFIG).write_text(json.dumps(config, indent=1, sort_keys=True, default=str) + "\n")
        try:
            with whole(folder / WEIGHTS) as temporary:
                save_file({k: v.contiguous() for k, v in self.tensors.items()}, temporary, {"format": "pt"})
        except SafetensorError as error:
            full = "os error 28" in str(error)
            raise OSError(errno.ENOSPC if full else errno.EIO, f"{error}", str(folder / WEIGHTS)) from error
        return folder

    @property
    def base_model(self) -> str | None:
        """The name or folder of the base model, as PEFT recorded it."""
        return self.config.get("base_model_name_or_path")

    @property
    def weights(self) -> str | None:
        """SHA-256 of the weights that it was trained on, where it says."""
        return (self.provenance.get("encoder") or {}).get("weights_sha256")

    @property
    def head_seed(self) -> int | None:
        """Seed of the frozen head that it was trained under, where it says."""
        return (self.provenance.get("training") or {}).get("head_seed")

    @property
    def modules(self) -> list[str]:
        """Names of the adapted matrices within a layer, such as ``attention.self.value``."""
        return sorted({match["name"] for match in map(_FACTOR.fullmatch, self.tensors) if match})

    def factors(self, module: str = "value") -> tuple[list[str], Tensor, Tensor]:
        """LoRA factors of one attention matrix in every layer.

        Parameters
        ----------
        module : str
            ``"query"``, ``"key"``, ``"value"``, ``"output"``, or the model's own name of a matrix.

        Returns
        -------
        layers : list of str, in the model's order
        A : Tensor, shape (layers, r, in)
        B : Tensor, shape (layers, out, r)

        Raises
        ------
        ValueError
            If the adapter does not hold this matrix, in every layer and at one rank and width.
        """
        suffixes = MODULES.get(module, (module,))
        factors: dict[str, dict[str, Tensor]] = {}
        for key, tensor in self.tensors.items():
            match = _FACTOR.fullmatch(key)
            if match and any(f".{match['name']}".endswith(f".{suffix}") for suffix in suffixes):
                factors.setdefault(match["layer"], {})[match["factor"]] = tensor
        if not factors:
            raise ValueError(f"{self.name} adapts no {module!r} matrix; it adapts {', '.join(self.modules) or 'none'}")
        layers = sorted(factors, key=in_order)
        if incomplete := [layer for layer in layers if factors[layer].keys() != {"A", "B"}]:
            raise ValueError(f"{self.name}: {incomplete[0]} lacks one of its two factors; save the adapter again")
        shapes = {layer: (tuple(factors[layer]["A"].shape), tuple(factors[layer]["B"].shape)) for layer in layers}
        if len(set(shapes.values())) > 1:
            raise ValueError(f"{self.name}: {module!r} differs in rank or width between layers: {shapes}")
        A, B = (torch.stack([factors[layer][factor] for layer in layers]) for factor in "AB")
        return layers, A, B


def check_base(target: Adapter, name: str | None, sha256: str | None = None) -> None:
    """Refuse a target of other weights: by their hash where both are known, else by the base models' names."""
    weights = target.weights
    differs = weights != sha256 if weights and sha256 else target.base_model and name and target.base_model != name
    if differs:
        raise ValueError(
            f"the target {target.name} adapts {target.base_model!r}{f' ({weights[:12]}…)' if weights else ''}, but the "
            f"instances are to be trained on {name!r}: train the target on this encoder, or say same_base=True "
            "(--same-base) if these are two copies of one model"
        )


def target_digest(target: Adapter, modules: tuple[str, ...]) -> str:
    """Of the factors and not of their bases, which differ in the last digit between processors."""
    digest = hashlib.sha256()
    for module in modules:
        _, A, B = target.factors(module)
        digest.update(module.encode() + A.float().numpy().tobytes() + B.float().numpy().tobytes())
    return digest.hexdigest()


def in_order(name: str) -> list[tuple[int, str]]:
    """A key that sorts names of layers by their numbers as numbers."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in name.split(".")]


def place(layer: str) -> tuple[str, ...]:
    """Where a matrix is in its encoder, whatever head the encoder was loaded under."""
    parts = layer.split(".")
    first = next((k for k, part in enumerate(parts) if part.isdigit()), 0)
    return ("decoder" if "decoder" in parts[:first] else "", *parts[first:])
