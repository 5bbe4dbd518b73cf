"""What tests of several files share: words and rows, models and adapters to compare with, files of scores."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import peft
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import torch
import transformers
from safetensors.torch import save
from torch import Tensor

import repmatch_lib as rm
from repmatch_lib.instances.trainee import Scoring
from repmatch_lib.training.batching import encode
from repmatch_lib.training.heads import frozen_model, lora_model

ROOT = Path(__file__).parents[1]

Tiny = Callable[[str], rm.Encoder]
Command = Callable[..., tuple[int, str, str]]
Score = Callable[..., rm.Scores | None]
Columns = dict[str, list[Any]]

# The tiny encoders of conftest.py: all their words, and their size.
WORDS = ["good", "bad", "fine", "poor", "the", "film", "was", "a", "plot", "who", "wrote", "it", "and", "then"]
WORDS += [f"w{k}" for k in range(60)]
SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
FAMILIES = ("bert", "electra", "llama")
KINDS = ("classification", "regression", "span")


def draw(rows: int, width: int = 5, seed: int = 0, shift: float = 0.8) -> Tensor:
    """Rows around a common direction, so that the cosines cover their whole range."""
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed)) + shift


def highest(values: pd.Series, k: int) -> list[int]:
    """Rows of the highest values, in the order of the rows where they are equal."""
    return sorted(range(len(values)), key=lambda row: (-values[row], row))[:k]


# --- Files of rows ---------------------------------------------------------------------------------------------------


def write_columns(path: Path, columns: Columns) -> Path:
    """A user's file in the format of its suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(pa.table(columns), path)
    elif path.suffix == ".csv":
        pa.csv.write_csv(pa.table(columns), path)
    else:
        pd.DataFrame(columns).to_json(path, orient="records", lines=True)
    return path


def numbered(n: int = 40, labels: tuple[Any, ...] = ("no", "yes")) -> Columns:
    """Sentences with their numbers in them, and labels in turn."""
    return {"text": [f'row {k}, "quoted" ünï' for k in range(n)], "label": [labels[k % len(labels)] for k in range(n)]}


def own(path: Path, columns: Columns, **options: Any) -> rm.Corpus:
    """A corpus of one's own, from a file."""
    return rm.load(rm.Task.from_file(write_columns(path, columns), **options))


# --- Adapters --------------------------------------------------------------------------------------------------------

QUICK: dict[str, Any] = {"rank": 2, "lr": 1e-2, "epochs": 2, "batch_size": 8, "max_length": 32}


def train(encoder: rm.Encoder, corpus: rm.Corpus, **changes: Any) -> rm.Adapter:
    """An adapter of few steps."""
    return rm.train_adapter(encoder, corpus, **QUICK | {"precision": "float32", "progress": False} | changes)


def digest(adapter: rm.Adapter) -> str:
    """Hash of every bit of an adapter's tensors."""
    return hashlib.sha256(save(dict(sorted(adapter.tensors.items())))).hexdigest()


def drawn_adapter(seed: int, rank: int = 3, width: int = 16, layers: int = 2, base: str = "one") -> rm.Adapter:
    """Random factors of a model that there is not."""
    name = "base_model.model.encoder.layer.{}.attention.self.value.lora_{}.weight"
    random = torch.Generator().manual_seed(seed)
    tensors = {}
    for k in range(layers):
        tensors[name.format(k, "A")] = torch.randn(rank, width, generator=random)
        tensors[name.format(k, "B")] = torch.randn(width, rank, generator=random)
    return rm.Adapter(tensors, {"base_model_name_or_path": base}, name=f"adapter {seed}")


def random_adapter(encoder: rm.Encoder, kind: str, modules: tuple[str, ...], rank: int) -> rm.Adapter:
    """A target as training would leave it, but at random."""
    model = lora_model(frozen_model(encoder, kind, 2), rank, modules, seed=7)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return rm.Adapter.from_model(model)


# --- Instances -------------------------------------------------------------------------------------------------------

CALL: dict[str, Any] = {"max_length": 48, "precision": "float32", "progress": False, "same_base": True}
LENGTHS = (3, 9, 1, 40, 5, 12, 2, 39, 7, 38)


def words(count: int, first: int) -> str:
    """A text of words that the tiny encoders know."""
    return " ".join(WORDS[(first + k) % len(WORDS)] for k in range(count))


def sentences(texts: list[str], labels: list[Any] | None = None, kind: str = "classification") -> rm.Corpus:
    """Rows as `load` gives them, with ids that are no row numbers."""
    labels = labels or [k % 3 if kind == "classification" else k % 5 / 2 for k in range(len(texts))]
    table = pa.table({"id": [990 - 7 * k for k in range(len(texts))], "text": texts, "label": labels})
    classes = ("0", "1", "2") if kind == "classification" else ()
    return rm.Corpus(rm.Task("own", "own", kind, ("text",), "label", classes), "train", table, "test")


def questions(lengths: tuple[int, ...] = LENGTHS) -> rm.Corpus:
    """Questions on contexts of such lengths."""
    contexts = [words(count, 5 * k) for k, count in enumerate(lengths)]
    answers = [context.split()[k % len(context.split())] for k, context in enumerate(contexts)]
    starts = [f" {context} ".index(f" {answer} ") for context, answer in zip(contexts, answers, strict=True)]
    columns = {"text": [f"who wrote {WORDS[k]}" for k in range(len(lengths))], "text_pair": contexts, "label": answers}
    table = pa.table({"id": [990 - 7 * k for k in range(len(lengths))], **columns, "answer_start": starts})
    return rm.Corpus(rm.TASKS["squad"], "train", table, "test")


def varied(kind: str = "classification") -> rm.Corpus:
    """Rows of very different lengths, in no order."""
    if kind == "span":
        return questions()
    return sentences([words(count, 5 * k) for k, count in enumerate(LENGTHS)], kind=kind)


def forty() -> rm.Corpus:
    """Forty sentences of different lengths."""
    return sentences([words(2 + 5 * k % 17, 3 * k) for k in range(40)])


@lru_cache
def target(encoder: rm.Encoder, kind: str = "classification", modules: tuple[str, ...] = ("value",)) -> rm.Adapter:
    """The random adapter that instances are scored against."""
    return random_adapter(encoder, kind, modules, 3)


def ready(encoder: rm.Encoder, kind: str = "classification", modules: tuple[str, ...] = ("value",)) -> peft.PeftModel:
    """A PEFT model in its initial state."""
    return lora_model(frozen_model(encoder, kind, {"regression": 1, "span": 2}.get(kind, 3)), 2, modules, 1).eval()


def configured(encoder: rm.Encoder, outputs: int = 3, adapter: str = "default", **config: Any) -> peft.PeftModel:
    """A PEFT model from a configuration of one's own."""
    names = ["v_proj"] if "llama" in encoder.name else ["value"]
    config = {"r": 2, "lora_alpha": 2, "target_modules": names} | config
    torch.manual_seed(1)
    base = frozen_model(encoder, "classification", outputs)
    return peft.get_peft_model(base, peft.LoraConfig(**config), adapter_name=adapter).eval()


def own_model(name: str, size: dict[str, Any], modules: list[str]) -> tuple[peft.PeftModel, rm.Adapter]:
    """A random model of a family of transformers', and a random target."""
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(vocab_size=80, num_labels=3, pad_token_id=0, **size)
    base = getattr(transformers, f"{name}ForSequenceClassification")(config)
    base.set_attn_implementation("eager")
    model = peft.get_peft_model(base, peft.LoraConfig(r=2, target_modules=modules)).eval()
    tensors = rm.Adapter.from_model(model).tensors
    return model, rm.Adapter({k: torch.randn_like(v) for k, v in tensors.items()}, {})


def frame(model: Any, data: rm.Corpus, adapter: rm.Adapter, steps: int = 1, **options: Any) -> pd.DataFrame:
    """Scores of the library."""
    return rm.score_instances(model, data, adapter, steps, **(CALL | options)).to_pandas()


def layers(table: pd.DataFrame) -> np.ndarray:
    """Scores of each layer, (rows, layers)."""
    return table.filter(regex=r"layer_\d+$").to_numpy()


def one_at_a_time(encoder: rm.Encoder, data: rm.Corpus, target: rm.Adapter, scoring: Scoring) -> Tensor:
    """Scores of each layer, (rows, layers): a fresh PEFT model, its own loss and AdamW, then `repmatch`."""
    encoded = encode(encoder.tokenizer(), data, scoring.max_length)
    scores = []
    base = frozen_model(encoder, data.task.kind, data.task.outputs, scoring.head_seed)
    base.set_attn_implementation("sdpa")
    for row in range(len(data)):
        model = lora_model(copy.deepcopy(base), scoring.rank, scoring.modules, scoring.seed or 0).eval()
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=scoring.lr)
        for _ in range(scoring.steps):
            optimizer.zero_grad()
            model(**encoded.collate([row])).loss.backward()
            optimizer.step()
        found = [rm.repmatch(model, target, module, scoring.side, same_base=True) for module in scoring.modules]
        scores.append(torch.cat([comparison.layers for comparison in found]))
    return torch.stack(scores)


def alone(
    model: peft.PeftModel, encoder: rm.Encoder, data: rm.Corpus, adapter: rm.Adapter, steps: int,
    module: str = "value", **optimizer: float,
) -> np.ndarray:  # fmt: skip
    """Scores of each layer from a ready PEFT model and torch's own AdamW, one instance at a time."""
    encoded, start = encode(encoder.tokenizer(), data, 48), {k: v.clone() for k, v in model.state_dict().items()}
    found = []
    for row in range(len(data)):
        model.load_state_dict(start)
        adamw = torch.optim.AdamW([p for n, p in model.named_parameters() if "lora_" in n], **{"lr": 1e-3} | optimizer)
        for _ in range(steps):
            adamw.zero_grad()
            model(**encoded.collate([row])).loss.backward()
            adamw.step()
        found.append(rm.repmatch(model, adapter, module, same_base=True).layers)
    model.load_state_dict(start)
    return torch.stack(found).numpy()


# --- Scores in a folder ----------------------------------------------------------------------------------------------

ROWS, BLOCKS = 30, 5
IN_BLOCKS: dict[str, Any] = CALL | {"tokens": 60}


def files(folder: Path) -> dict[str, bytes]:
    """What a folder holds, without hidden files such as locks."""
    return {p.name: p.read_bytes() for p in sorted(folder.glob("*")) if not p.name.startswith(".")}


def times(folder: Path) -> dict[str, int]:
    """When each block was written."""
    return {p.name: p.stat().st_mtime_ns for p in folder.glob("block-*")}


def block(number: int) -> str:
    """The name of a block's file."""
    return f"block-{number:05d}.parquet"
