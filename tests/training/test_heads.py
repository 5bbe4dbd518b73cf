"""The frozen, nested head, and the LoRA start."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers
from helpers import FAMILIES, Tiny
from safetensors.torch import load_file
from torch import Tensor

import repmatch_lib as rm
from repmatch_lib.training.heads import frozen_model, longest_text, lora_model, target_modules

KINDS = {"classification": 3, "regression": 1, "span": 2}
OUTPUT = {"bert": "classifier", "electra": "classifier.out_proj", "llama": "score"}


def head(model: torch.nn.Module, family: str, kind: str = "classification") -> Tensor:
    return model.get_submodule("qa_outputs" if kind == "span" else OUTPUT[family]).weight


def lora(model: torch.nn.Module, factor: str) -> list[Tensor]:
    return [p.detach().clone() for n, p in model.named_parameters() if f"lora_{factor}" in n]


@pytest.mark.parametrize("family", FAMILIES)
def test_heads_are_nested(family: str, tiny: Tiny) -> None:
    models = {n: frozen_model(tiny(family), "classification", n, head_seed=1) for n in (2, 3, 5)}
    largest = head(models[5], family)
    assert largest.shape == (5, 32)
    assert torch.equal(head(models[2], family), largest[:2]) and torch.equal(head(models[3], family), largest[:3])
    assert len({tuple(row.tolist()) for row in largest}) == 5
    assert torch.equal(head(frozen_model(tiny(family), "regression", 1, head_seed=1), family), largest[:1])
    states = [models[n].state_dict() for n in (2, 5)]
    for name in states[0].keys() - {n for n in states[0] if n.startswith(OUTPUT[family])}:
        assert torch.equal(states[0][name], states[1][name]), name


@pytest.mark.parametrize("family", FAMILIES)
def test_the_head_depends_on_its_seed_alone(family: str, tiny: Tiny) -> None:
    heads = []
    for seed, torch_seed in ((0, 1), (0, 2), (1, 1)):
        torch.manual_seed(torch_seed)
        heads.append(head(frozen_model(tiny(family), "classification", 3, head_seed=seed), family))
    assert torch.equal(heads[0], heads[1])
    assert not torch.isclose(heads[0], heads[2]).any()
    assert 0.3 < heads[0].std() / (0.02 if family == "llama" else 0.2) < 3


def test_a_head_that_comes_with_the_encoder_is_left_behind(tiny: Tiny, tmp_path: Path) -> None:
    """As every fine-tuned model of the hub has one."""
    trained = transformers.BertForSequenceClassification.from_pretrained(
        tiny("bert").folder, num_labels=2, problem_type="multi_label_classification"
    )
    trained.save_pretrained(tmp_path / "trained")
    tiny("bert").tokenizer().save_pretrained(tmp_path / "trained")
    encoder = rm.encoder(tmp_path / "trained")
    for n in (1, 2, 3):
        model = frozen_model(encoder, "regression" if n == 1 else "classification", n, head_seed=1)
        assert torch.equal(head(model, "bert"), head(frozen_model(tiny("bert"), "classification", 3, 1), "bert")[:n])
        assert model.config.problem_type is None  # it would choose the loss
        assert torch.equal(model.bert.pooler.dense.weight, trained.bert.pooler.dense.weight)


@pytest.mark.parametrize("kind", ["Electra", "Roberta"])
def test_no_factor_lands_on_the_head(kind: str) -> None:
    """Whose matrix is called as some models call the output of attention."""
    sizes = {"vocab_size": 30, "hidden_size": 32, "intermediate_size": 40, "num_attention_heads": 4}
    config = getattr(transformers, f"{kind}Config")(num_hidden_layers=2, **sizes)
    model = getattr(transformers, f"{kind}ForSequenceClassification")(config)
    assert hasattr(model.classifier, "out_proj")
    adapted = lora_model(model, 2, ("output",))
    factors = [name for name, _ in adapted.named_parameters() if "lora_A" in name]
    assert len(factors) == 2 and all("attention.output.dense" in name for name in factors)
    whole = transformers.BartForSequenceClassification(
        transformers.BartConfig(
            vocab_size=30, d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
            decoder_attention_heads=2, encoder_ffn_dim=40, decoder_ffn_dim=40,
        )
    )  # fmt: skip
    factors = [name for name, _ in lora_model(whole, 2, ("output",)).named_parameters() if "lora_A" in name]
    assert len(factors) == 3 and not any("classification_head" in name for name in factors)


def test_the_longest_text_leaves_out_the_positions_of_padding() -> None:
    sizes = {"vocab_size": 30, "hidden_size": 32, "intermediate_size": 40, "num_attention_heads": 4}
    sizes |= {"num_hidden_layers": 1, "max_position_embeddings": 20}
    for kind, longest in (("Bert", 20), ("Roberta", 18)):
        model = getattr(transformers, f"{kind}Model")(getattr(transformers, f"{kind}Config")(**sizes)).eval()
        assert longest_text(model) == longest
        model(torch.full((1, longest), 5))
        with pytest.raises((IndexError, RuntimeError)):
            model(torch.full((1, longest + 1), 5))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", KINDS)
def test_the_encoder_is_the_saved_one(family: str, kind: str, tiny: Tiny) -> None:
    """Nothing but the head may be new: a checkpoint that was not found would train, too."""
    model = frozen_model(tiny(family), kind, KINDS[kind])
    saved = {tuple(t.flatten()[:8].tolist()) for t in load_file(tiny(family).folder / "model.safetensors").values()}
    new = [n for n, p in model.named_parameters() if tuple(p.flatten()[:8].tolist()) not in saved]
    own_head = ("qa_outputs", OUTPUT[family].split(".")[0])
    assert new and all(name.startswith(own_head) or ".pooler." in name for name in new)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", KINDS)
def test_only_the_factors_can_be_trained(family: str, kind: str, tiny: Tiny) -> None:
    model = lora_model(frozen_model(tiny(family), kind, KINDS[kind]), 4, ("query", "value"))
    trainable = [name for name, p in model.named_parameters() if p.requires_grad]
    assert len(trainable) == 8 and all(".lora_A." in n or ".lora_B." in n for n in trainable)
    assert not [name for name, _ in model.named_modules() if "modules_to_save" in name]
    assert not any(B.any() for B in lora(model, "B")) and all(A.any() for A in lora(model, "A"))
    assert set(model.active_peft_config.target_modules) < {"query", "value", "q_proj", "v_proj"}
    inputs = torch.tensor([[5, 6, 7, 8]])
    targets = {"span": {"start_positions": torch.tensor([1]), "end_positions": torch.tensor([2])}}
    labels = {"labels": torch.tensor([0.5 if kind == "regression" else 2])}
    loss = model(input_ids=inputs, attention_mask=torch.ones_like(inputs), **targets.get(kind, labels)).loss
    loss.backward()
    assert torch.isfinite(loss) and loss > 0
    assert {n for n, p in model.named_parameters() if p.grad is not None} == set(trainable)


@pytest.mark.parametrize("family", ["bert", "llama"])
def test_the_start_depends_on_the_seed_alone(family: str, tiny: Tiny) -> None:
    starts = []
    for seed, head_seed, kind, torch_seed in ((0, 0, "span", 1), (0, 5, "regression", 2), (1, 0, "span", 1)):
        torch.manual_seed(torch_seed)
        model = lora_model(frozen_model(tiny(family), kind, KINDS[kind], head_seed), 4, seed=seed)
        starts.append(torch.stack(lora(model, "A")))
    assert torch.equal(starts[0], starts[1])
    assert not torch.isclose(starts[0], starts[2]).all()
    bare = frozen_model(tiny(family), "span", 2)
    before = torch.get_rng_state()
    lora_model(bare, 2, seed=3)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("family", "expected"),
    [
        ("bert", {"query": "query", "key": "key", "value": "value", "output": "attention.output.dense"}),
        ("llama", {"query": "q_proj", "key": "k_proj", "value": "v_proj", "output": "o_proj"}),
    ],
)
def test_target_modules(family: str, expected: dict[str, str], tiny: Tiny) -> None:
    model = frozen_model(tiny(family), "classification", 2)
    for module, suffix in expected.items():
        assert target_modules(model, [module]) == [suffix]
    adapted = lora_model(model, 2, tuple(expected))
    wrapped = {name.rpartition(".lora_A")[0] for name, _ in adapted.named_modules() if name.endswith("lora_A")}
    assert len(wrapped) == 2 * 4
    assert {suffix for suffix in expected.values() for name in wrapped if name.endswith("." + suffix)} == set(
        expected.values()
    )
    assert not [name for name in wrapped if "intermediate" in name or name.endswith("layer.0.output.dense")]


def test_an_unknown_matrix_names_what_there_is(tiny: Tiny) -> None:
    model = frozen_model(tiny("bert"), "classification", 2)
    with pytest.raises(ValueError, match=r"no 'gate_proj' matrix.*it has .*attention\.self\.value"):
        target_modules(model, ["gate_proj"])


@pytest.mark.parametrize("rank", [0, -1, 33])
def test_an_impossible_rank_is_named(rank: int, tiny: Tiny) -> None:
    with pytest.raises(ValueError, match=f"rank {rank} does not fit this encoder: give 1 to 32"):
        lora_model(frozen_model(tiny("bert"), "classification", 2), rank)


def test_what_a_lora_start_is(tiny: Tiny) -> None:
    """Kaiming's uniform start of ``A``, within 1 / sqrt(in); ``B`` zero; scale 1; no dropout of its own."""
    model = lora_model(frozen_model(tiny("bert"), "classification", 2), 3, ("value",), seed=4)
    config = model.peft_config["default"]
    assert (config.lora_dropout, config.lora_alpha / config.r, config.init_lora_weights) == (0, 1, True)
    _, A, B = rm.Adapter.from_model(model).factors("value")
    bound = A.shape[-1] ** -0.5
    assert 0.9 * bound < float(A.abs().max()) <= bound and not B.any()
    assert float(A.std()) == pytest.approx(bound / 3**0.5, rel=0.15)  # a uniform draw's; a normal one's would differ


def test_a_head_s_seed_below_zero_is_named(tiny: Tiny) -> None:
    with pytest.raises(ValueError, match="head_seed = -1: give 0 or more"):
        frozen_model(tiny("bert"), "classification", 2, -1)
