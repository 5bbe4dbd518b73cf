"""LoRA adapters as factors: read from PEFT's saved format or from a live PEFT model, without the base model.

The book's page on how RepMatch works begins with them.
"""

from __future__ import annotations

import errno
import hashlib
import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from repmatch_lib.similarity.adapter_files import CONFIG, PROVENANCE, WEIGHTS, read_config, read_tensors, the_folder
from repmatch_lib.similarity.matrices import Matrix, adapted_matrices, chosen, kind_of
from repmatch_lib.similarity.plain_lora import check_plain
from repmatch_lib.store import whole

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel


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
        check_plain(self.config, self.name)

    @classmethod
    def load(cls, folder: str | Path) -> Adapter:
        """Read a folder that PEFT or this library saved, or the file of factors in it.

        Raises
        ------
        FileNotFoundError
            If the folder, its safetensors or its configuration is missing.
        ValueError
            If a file is damaged, or the adapter is not plain LoRA.
        """
        folder = the_folder(Path(folder))
        tensors, config, provenance = read_tensors(folder), *read_config(folder)
        return cls(tensors, config, provenance, name=provenance.get("name", folder.resolve().name))

    @classmethod
    def from_model(cls, model: PeftModel | PreTrainedModel) -> Adapter:
        """Take the active adapter of a live ``PeftModel``, or of a model of transformers with one of its own.

        Raises
        ------
        ValueError
            If several adapters are active.
        """
        from peft import get_peft_model_state_dict

        active = model.active_adapters  # a property of PEFT's models, a method of transformers' own
        names = active() if callable(active) else active
        if len(names) != 1:
            raise ValueError(f"the model has {len(names)} active adapters, {', '.join(names)}: set_adapter one of them")
        (name,) = names
        tensors = {k: v.detach().cpu().clone() for k, v in get_peft_model_state_dict(model, adapter_name=name).items()}
        return cls(tensors, model.peft_config[name].to_dict(), name=name)  # type: ignore[union-attr]

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
    def adapts_some_layers(self) -> bool:
        """Whether its configuration may leave out layers of the model."""
        targets = self.config.get("target_modules")
        # A text is a pattern; names with a number are those of single layers.
        single = isinstance(targets, str) or any(part.isdigit() for t in targets or () for part in t.split("."))
        return single or any(self.config.get(name) for name in ("layers_to_transform", "exclude_modules"))

    @cached_property
    def matrices(self) -> list[Matrix]:
        """All adapted matrices, in the model's order.

        Raises
        ------
        ValueError
            If the tensors are no factors of one plain LoRA adapter.
        """
        return adapted_matrices(self.tensors, self.config, self.name)

    @property
    def modules(self) -> list[str]:
        """Names of the adapted matrices within a layer, such as ``attention.self.value``."""
        return sorted({kind_of(matrix.name) for matrix in self.matrices})

    def of(self, module: str = "value") -> list[Matrix]:
        """One attention matrix in every layer, in the model's order.

        Parameters
        ----------
        module : str
            ``"query"``, ``"key"``, ``"value"``, ``"output"``, or the model's own name of a matrix; after a tower and a
            colon where a model has two, as in ``"text_model:value"``.

        Raises
        ------
        ValueError
            If the adapter does not hold this matrix, or holds it in two towers, or at several widths.
        """
        found = chosen(self.matrices, module, self.name)
        if len(shapes := {matrix.shape: matrix.name for matrix in reversed(found)}) > 1:
            widths = ", ".join(f"{name} is {out}x{into}" for (out, into), name in sorted(shapes.items()))
            raise ValueError(f"{self.name}: {module!r} differs in width: {widths}. Give the full name of one of them")
        return found

    def factors(self, module: str = "value") -> tuple[list[str], Tensor, Tensor]:
        """LoRA factors of one attention matrix in every layer.

        Parameters
        ----------
        module : str
            As for `of`.

        Returns
        -------
        layers : list of str, in the model's order
        A : Tensor, shape (layers, r, in)
        B : Tensor, shape (layers, out, r)
            Zero beyond the rank of a layer, where layers have several ranks.

        Raises
        ------
        ValueError
            As `of`.
        """
        found = self.of(module)
        rank = max(matrix.rank for matrix in found)
        A = torch.stack([torch.nn.functional.pad(one.A, (0, 0, 0, rank - one.rank)) for one in found])
        B = torch.stack([torch.nn.functional.pad(one.B, (0, rank - one.rank)) for one in found])
        return [matrix.name for matrix in found], A, B


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
