"""Instances' updates and scores against one PEFT model trained on one instance at a time."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pyarrow as pa
import pytest
import torch
from conftest import WORDS

import repmatch_lib as rm
from repmatch_lib.instances.job import Scoring
from repmatch_lib.training.batching import encode
from repmatch_lib.training.heads import frozen_model, lora_model

Tiny = Callable[[str], rm.Encoder]


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> dict[str, rm.Corpus]:
    """Rows of very different lengths, for each kind of head."""
    folder = tmp_path_factory.mktemp("corpora")
    texts = [" ".join(WORDS[(5 * k) % 60 : (5 * k) % 60 + 2 + (3 * k) % 12]) for k in range(14)]
    files = {
        "classification": ["text,label", *(f"{text},{k % 3}" for k, text in enumerate(texts))],
        "regression": ["text,label", *(f"{text},{(k % 7) / 2}" for k, text in enumerate(texts))],
    }
    found = {}
    for kind, lines in files.items():
        file = folder / f"{kind}.csv"
        file.write_text("\n".join(lines) + "\n")
        found[kind] = rm.load(rm.Task.from_file(file, kind=kind))
    contexts = [" ".join(WORDS[k : k + 3 + 2 * k]) for k in range(14)]
    words = [context.split()[k % 3] for k, context in enumerate(contexts)]
    table = pa.table(
        {
            "id": list(range(14)),
            "text": [f"who wrote {WORDS[k]}" for k in range(14)],
            "text_pair": contexts,
            "label": words,
            "answer_start": [context.index(word) for context, word in zip(contexts, words, strict=True)],
        }
    )
    found["span"] = rm.Corpus(rm.TASKS["squad"], "train", table, "span")
    return found


def one_at_a_time(encoder: rm.Encoder, data: rm.Corpus, target: rm.Adapter, scoring: Scoring) -> torch.Tensor:
    """Scores of each layer, (rows, layers): a fresh PEFT model, its own loss and AdamW, then `repmatch`."""
    encoded = encode(encoder.tokenizer(), data, scoring.max_length)
    scores = []
    base = frozen_model(encoder, data.task.kind, data.task.outputs, scoring.head_seed)
    base.set_attn_implementation("sdpa")
    for row in range(len(data)):
        model = lora_model(copy.deepcopy(base), scoring.rank, scoring.modules, scoring.seed).eval()
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=scoring.lr)
        for _ in range(scoring.steps):
            optimizer.zero_grad()
            model(**encoded.collate([row])).loss.backward()
            optimizer.step()
        found = [rm.repmatch(model, target, module, scoring.side, same_base=True) for module in scoring.modules]
        scores.append(torch.cat([comparison.layers for comparison in found]))
    return torch.stack(scores)


def random_adapter(encoder: rm.Encoder, kind: str, modules: tuple[str, ...], rank: int) -> rm.Adapter:
    """A target as training would leave it, but at random."""
    model = lora_model(frozen_model(encoder, kind, 2), rank, modules, seed=7)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return rm.Adapter.from_model(model)


FAMILIES = ("bert", "electra", "llama")
KINDS = ("classification", "regression", "span")
# A Latin square: each family, each kind and each of the settings meets every one of the others.
SETTINGS = [
    (1, 1, ("value",)),
    (1, 4, ("query", "value")),
    (3, 4, ("value",)),
    (3, 1, ("query", "value")),
    (10, 4, ("value",)),
]
SQUARE = [
    (family, KINDS[(i + j) % 3], *setting) for i, family in enumerate(FAMILIES) for j, setting in enumerate(SETTINGS)
]


@pytest.mark.parametrize(("family", "kind", "steps", "rank", "modules"), SQUARE)
def test_scores_are_those_of_one_at_a_time(
    tiny: Tiny, corpora: dict[str, rm.Corpus], family: str, kind: str, steps: int, rank: int, modules: tuple[str, ...]
) -> None:
    encoder, data = tiny(family), corpora[kind]
    target = random_adapter(encoder, kind, modules, 3)
    scoring = Scoring(steps=steps, rank=rank, modules=modules, head_seed=0, seed=1, max_length=48, precision="float32")
    expected = one_at_a_time(encoder, data, target, scoring)
    scores = rm.score_instances(
        encoder, data, target, steps, 1e-3, "left", modules, rank=rank, head_seed=0, seed=1, max_length=48,
        precision="float32", tokens=120, progress=False, same_base=True,
    )  # fmt: skip
    found = torch.tensor(scores.to_pandas()[scores.layers].to_numpy())
    assert found.shape == expected.shape == (14, 2 * len(modules))

    assert (found - expected).abs().max() < 1e-4
