"""The files of an adapter on disk, and what lies there in their place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

WEIGHTS, CONFIG, PROVENANCE = "adapter_model.safetensors", "adapter_config.json", "provenance.json"

# A pickle, which can run code when it is read.
_PICKLE = "adapter_model.bin"
_POINTER = b"version https://git-lfs"


def the_folder(path: Path) -> Path:
    """The folder that is meant, which holds factors and configuration.

    Raises
    ------
    FileNotFoundError
        If it does not, naming what it holds in their place.
    """
    folder = path.parent if path.name == WEIGHTS and path.is_file() else path
    for file in (WEIGHTS, CONFIG):
        if (folder / file).is_file():
            continue
        mend = "give a folder written by PEFT's save_pretrained with safetensors"
        if inside := sorted(found.parent.relative_to(folder).as_posix() for found in folder.glob(f"*/{file}")):
            mend = f"there is one in {', '.join(inside)}: give {folder / inside[-1]}"
        elif file == WEIGHTS and (folder / _PICKLE).is_file():
            mend = (
                f"{_PICKLE} is a pickle, which may hold code and is not read: load it with PEFT and save_pretrained it "
                "with safe_serialization=True"
            )
        raise FileNotFoundError(f"{folder} holds no {file}; {mend}")
    return folder


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """What the file of factors holds.

    Raises
    ------
    ValueError
        If it is damaged or something else.
    """
    file = folder / WEIGHTS
    with file.open("rb") as stream:
        if stream.read(len(_POINTER)) == _POINTER:
            raise ValueError(f"{file} is a pointer of Git LFS and not the file itself: fetch it with git lfs pull")
    try:
        return load_file(file)
    except SafetensorError as error:
        raise ValueError(f"{file} is damaged ({error}); copy or train the adapter again") from error


def read_config(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """PEFT's configuration of an adapter, and its provenance, which may be empty.

    Raises
    ------
    ValueError
        If a file is damaged, or the adapter is not LoRA of PEFT.
    """
    config, provenance = _read(folder / CONFIG), {}
    if "peft_type" not in config:
        raise ValueError(f"{folder / CONFIG} is not PEFT's (no peft_type), as MLX's is not: give an adapter of PEFT")
    if config["peft_type"] != "LORA":
        raise ValueError(f"{folder} is a {config['peft_type']} adapter; RepMatch compares LoRA adapters")
    if (folder / PROVENANCE).is_file():
        provenance = _read(folder / PROVENANCE)
        for part, kind in {"name": str, "encoder": dict, "training": dict}.items():
            if not isinstance(provenance.get(part) or kind(), kind):
                raise ValueError(f"{folder / PROVENANCE}: {part} is {provenance[part]!r}; copy the adapter again")
        if not isinstance((provenance.get("encoder") or {}).get("weights_sha256", ""), str | None):
            raise ValueError(f"{folder / PROVENANCE}: weights_sha256 is no text; copy the adapter again")
    return config, provenance


def _read(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise ValueError(f"{file} is damaged ({error}); copy the adapter again") from error
    if not isinstance(content, dict):
        raise ValueError(f"{file} is not an adapter's; copy the adapter again")
    return content
