"""Tiny random models, what is scored and asked of them, the command, and a store of its own for every test."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ.setdefault("MPLBACKEND", "Agg")

import peft
import pyarrow as pa
import pytest
import torch
from helpers import IN_BLOCKS, ROWS, SIZES, WORDS, Command, Score, Tiny, files, numbered, random_adapter, write_columns
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

import repmatch_lib as rm
from repmatch_lib import cli
from repmatch_lib.instances import scores, scoring
from repmatch_lib.training.heads import frozen_model, lora_model

torch.set_num_threads(1)


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
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """``tiny("bert")``, ``tiny("electra")``, ``tiny("llama")``: encoders in folders, made once."""
    made: dict[str, Path] = {}

    def find(kind: str) -> rm.Encoder:
        if kind not in made:
            made[kind] = save_tiny(kind, tmp_path_factory.mktemp("models") / f"tiny-{kind}")
        return rm.encoder(made[kind])

    return find


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> rm.Corpus:
    """Forty sentences whose class is one word."""
    file = tmp_path_factory.mktemp("toy") / "toy.csv"
    rows = [f"the film was {('bad', 'good')[k % 2]} {' '.join(WORDS[5 : 6 + k % 7])},{k % 2}" for k in range(40)]
    file.write_text("\n".join(["text,label", *rows]) + "\n")
    return rm.load(rm.Task.from_file(file))


@pytest.fixture
def copied(tiny: Tiny, tmp_path: Path) -> Path:
    """A tiny encoder's folder, to be changed."""
    return Path(shutil.copytree(tiny("bert").folder, tmp_path / "copied"))


@pytest.fixture(scope="module")
def hundred(tmp_path_factory: pytest.TempPathFactory) -> rm.Task:
    """A hundred rows of one's own."""
    return rm.Task.from_file(write_columns(tmp_path_factory.mktemp("own") / "hundred.parquet", numbered(100)))


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """``command("gather", folder)``: the exit code of ``repmatch``, what was printed, and the messages."""

    def call(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["repmatch", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        printed = capsys.readouterr()
        return stopped.value.code or 0, printed.out, printed.err

    return call


# --- Requests --------------------------------------------------------------------------------------------------------


@pytest.fixture
def quick_run(toy: rm.Corpus, tiny: Tiny) -> rm.Run:
    """A run on the toy file."""
    return rm.Run(
        str(toy.task.file), str(tiny("bert").folder), rank=2, rows=24, epochs=3, max_length=32, lr=1e-2,
        precision="float32",
    )  # fmt: skip


@pytest.fixture
def tuning_request(toy: rm.Corpus, tiny: Tiny) -> Callable[..., rm.FineTuning]:
    """``tuning_request("top", seed=1)``: a request that chooses ten of thirty rows by that rule."""

    def make(rule: str = "top", seed: int = 0, **settings: object) -> rm.FineTuning:
        run = rm.Run(str(toy.task.file), str(tiny("bert").folder), rank=1, rows=24, epochs=1, max_length=32, lr=1e-2)
        balance = settings.pop("balance", None)
        selection = rm.Selection(rm.Ranking(run, rows=30), rule, 10, balance, seed)
        return rm.FineTuning(selection, seed=seed, **({"lr": 5e-3, "epochs": 3, "max_length": 32} | settings))

    return make


# --- Scores in a folder ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def thirty(tmp_path_factory: pytest.TempPathFactory) -> rm.Corpus:
    """Thirty sentences of different lengths, in a file."""
    file = tmp_path_factory.mktemp("data") / "own.csv"
    texts = [" ".join(WORDS[(3 * k + j) % len(WORDS)] for j in range(2 + 7 * k % 23)) for k in range(ROWS)]
    file.write_text("\n".join(["text,label", *(f"{text},{k % 2}" for k, text in enumerate(texts))]) + "\n")
    return rm.load(rm.task(str(file)))


@pytest.fixture(scope="module")
def random_target(tiny: Tiny) -> rm.Adapter:
    """A random adapter of the tiny BERT."""
    return random_adapter(tiny("bert"), "classification", ("value",), 3)


@pytest.fixture(scope="module")
def ready_model(tiny: Tiny) -> peft.PeftModel:
    """The tiny BERT with LoRA in its initial state."""
    return lora_model(frozen_model(tiny("bert"), "classification", 2), 2).eval()


@pytest.fixture
def score(
    ready_model: peft.PeftModel, thirty: rm.Corpus, random_target: rm.Adapter, monkeypatch: pytest.MonkeyPatch
) -> Score:
    """`score_instances` of the thirty rows, in five blocks of six."""
    monkeypatch.setattr(scoring, "BLOCK", 7)
    return partial(rm.score_instances, ready_model, thirty, random_target, **IN_BLOCKS)


@pytest.fixture
def by_encoder(tiny: Tiny, thirty: rm.Corpus, random_target: rm.Adapter, monkeypatch: pytest.MonkeyPatch) -> Score:
    """The same on the encoder and not on a model of one's own, as another process would do it."""
    monkeypatch.setattr(scoring, "BLOCK", 7)
    return partial(rm.score_instances, tiny("bert"), thirty, random_target, **IN_BLOCKS)


@pytest.fixture(scope="module")
def whole(
    ready_model: peft.PeftModel, thirty: rm.Corpus, random_target: rm.Adapter,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, bytes]:  # fmt: skip
    """The files of a run that nothing stopped."""
    folder = tmp_path_factory.mktemp("whole") / "scores"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scoring, "BLOCK", 7)
        rm.score_instances(ready_model, thirty, random_target, out=folder, **IN_BLOCKS)
    return files(folder)


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of the blocks that are computed, as they are written."""
    put, found = scores.ScoreStore.put, []

    def logged(store: scores.ScoreStore, number: int, table: pa.Table) -> None:
        found.append(number)
        put(store, number, table)

    monkeypatch.setattr(scores.ScoreStore, "put", logged)
    return found
