"""Tiny random models and adapters, and a store of its own for every test."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ.setdefault("MPLBACKEND", "Agg")

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertTokenizerFast,
    ElectraConfig,
    ElectraForPreTraining,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from repmatch_lib.data.corpora import Corpus, load
from repmatch_lib.data.tasks import Task
from repmatch_lib.training.encoder_variants import encoder
from repmatch_lib.training.encoders import Encoder

torch.set_num_threads(1)

WORDS = ["good", "bad", "fine", "poor", "the", "film", "was", "a", "plot", "who", "wrote", "it", "and", "then"]
WORDS += [f"w{k}" for k in range(60)]
SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}


@pytest.fixture(autouse=True)
def own_store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty store, and no corpora of the machine's unless a test is marked ``real``."""
    store = tmp_path / "store"
    monkeypatch.setenv("REPMATCH_STORE", str(store))
    if not request.node.get_closest_marker("real"):
        monkeypatch.delenv("REPMATCH_DATA", raising=False)
    return store


def save_tiny(kind: str, folder: Path) -> Path:
    """A random two-layer model with a tokenizer of whole words."""
    folder.mkdir()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    torch.manual_seed(0)
    if kind == "llama":
        words = Tokenizer(models.WordLevel({w: k for k, w in enumerate(["<unk>", "</s>", *WORDS])}, unk_token="<unk>"))
        words.pre_tokenizer = pre_tokenizers.Whitespace()
        names = ["input_ids", "attention_mask"]
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=words, unk_token="<unk>", eos_token="</s>", model_input_names=names
        )
        config = LlamaConfig(vocab_size=len(WORDS) + 2, num_key_value_heads=2, eos_token_id=1, bos_token_id=1, **SIZES)
        model = LlamaForCausalLM(config)
    else:
        (folder / "vocab.txt").write_text("\n".join(special + WORDS) + "\n")
        tokenizer = BertTokenizerFast.from_pretrained(folder)
        # Full-sized weights: an encoder at the usual 0.02 hardly tells one word from another.
        sizes = SIZES | {"vocab_size": len(special + WORDS), "max_position_embeddings": 64, "initializer_range": 0.2}
        if kind == "bert":
            model = BertForMaskedLM(BertConfig(**sizes))
        else:
            model = ElectraForPreTraining(ElectraConfig(embedding_size=16, **sizes))
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Encoder]:
    """``tiny("bert")``, ``tiny("electra")``, ``tiny("llama")``: encoders in folders, made once."""
    made: dict[str, Path] = {}

    def find(kind: str) -> Encoder:
        if kind not in made:
            made[kind] = save_tiny(kind, tmp_path_factory.mktemp("models") / f"tiny-{kind}")
        return encoder(made[kind])

    return find


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Forty sentences whose class is one word."""
    file = tmp_path_factory.mktemp("toy") / "toy.csv"
    rows = [f"the film was {('bad', 'good')[k % 2]} {' '.join(WORDS[5 : 6 + k % 7])},{k % 2}" for k in range(40)]
    file.write_text("\n".join(["text,label", *rows]) + "\n")
    return load(Task.from_file(file))
