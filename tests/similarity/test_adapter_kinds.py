"""What PEFT can make, kind by kind: compared with a dense SVD of what its layers really add, or refused by name."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import json
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
import transformers
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from torch import nn
from typer.testing import CliRunner

import repmatch_lib as rm
from repmatch_lib import cli
from repmatch_lib.similarity import plain_lora

FIELDS = {field.name for field in dataclasses.fields(LoraConfig)}
COMPARED = {option for options in plain_lora.COMPARED.values() for option in options}
WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"


class Layer(nn.Module):
    def __init__(self, number: int) -> None:
        super().__init__()
        self.attention = nn.ModuleDict({"value": nn.Linear(20, 24), "query": nn.Linear(20, 24)})
        self.convolution = nn.Conv2d(20, 24, 1 + 2 * (number % 2))
        self.experts = Experts()


class Experts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Parameter(torch.randn(3, 16, 24)), nn.Parameter(torch.randn(3, 24, 16))


class Net(nn.Module):
    """Three layers, and a matrix that stands in none."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(k) for k in range(3))
        self.pooler = nn.Linear(20, 24)


def net(seed: int, **options: Any) -> peft.PeftModel:
    """A LoRA model of `Net` whose update is drawn at random."""
    torch.manual_seed(0)
    options = {"r": 4, "target_modules": ["value"], "lora_alpha": 3} | options
    model = get_peft_model(Net(), LoraConfig(**options))
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data = torch.randn(parameter.shape, generator=generator)
    return model


def layers_of(model: peft.PeftModel, ends: str) -> list[Any]:
    exact = copy.deepcopy(model).double().eval().named_modules()
    return [m for n, m in exact if n.endswith(ends) and hasattr(m, "lora_A")]


def said(model: peft.PeftModel, ends: str) -> list[np.ndarray]:
    """What PEFT says that its layers add."""
    return [layer.get_delta_weight("default").detach().numpy() for layer in layers_of(model, ends)]


def updates(model: peft.PeftModel, ends: str) -> list[np.ndarray]:
    """What linear layers really add to their outputs, of shape (outputs, inputs)."""
    found = []
    for layer in layers_of(model, ends):
        inputs = torch.eye(layer.in_features, dtype=torch.float64)
        added = [layer(x) - layer.get_base_layer()(x) for x in (inputs, torch.zeros_like(inputs))]
        found.append((added[0] - added[1]).T.detach().numpy())
    return found


def dense(pairs: list[tuple[np.ndarray, np.ndarray]], side: str = "left") -> np.ndarray:
    """Each pair's score, by full SVDs and one subspace at a time."""
    scores = []
    for pair in pairs:
        svds = [np.linalg.svd(update) for update in pair]
        ranks = [np.linalg.matrix_rank(update) for update in pair]
        bases = [svd.U if side == "left" else svd.Vh.T for svd in svds]
        grid = [
            np.linalg.norm(bases[0][:, : i + 1].T @ bases[1][:, : j + 1]) ** 2 / (min(i, j) + 1)
            for i, j in itertools.product(*map(range, ranks))
        ]
        scores.append(max(grid))
    return np.array(scores)


# A value for each option that may have any, beside those of the base model and the file.
PLAIN: dict[str, dict[str, Any]] = {
    "r": {"r": 3},
    "rank_pattern": {"rank_pattern": {"layers.1.attention.value": 2}},
    "alpha_pattern": {"alpha_pattern": {"layers.1.attention.value": 9}},
    "lora_alpha": {"lora_alpha": 40},
    "use_rslora": {"use_rslora": True},
    "lora_dropout": {"lora_dropout": 0.3},
    "bias": {"bias": "lora_only"},
    "lora_bias": {"lora_bias": True},
    "velora_config": {"velora_config": peft.VeloraConfig()},
    "modules_to_save": {"modules_to_save": ["pooler"]},
    "layers_to_transform": {"layers_to_transform": [0, 2], "layers_pattern": "layers"},
    "exclude_modules": {"exclude_modules": r".*layers\.0.*"},
    "a pattern": {"target_modules": r".*layers\.[12]\.attention\.value"},
    "gaussian": {"init_lora_weights": "gaussian"},
    "orthogonal": {"init_lora_weights": "orthogonal"},
}


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("kind", PLAIN)
def test_a_plain_kind_is_compared_as_its_dense_updates_are(kind: str, side: str, tmp_path: Path) -> None:
    models = [net(seed, **PLAIN[kind]) for seed in (1, 2)]
    for model, name in zip(models, "ab", strict=True):
        model.save_pretrained(tmp_path / name)
    expected = dense(list(zip(*(updates(model, "value") for model in models), strict=True)), side)
    found = rm.repmatch(tmp_path / "a", tmp_path / "b", side=side)
    np.testing.assert_allclose(found.layers.numpy(), expected, atol=1e-6)
    assert not found.left_out and found.score == pytest.approx(expected.mean(), abs=1e-6)


def test_grids_of_layers_of_several_ranks_end_where_the_ranks_do() -> None:
    ranks = {"layers.1.attention.value": 2}
    found = rm.repmatch(net(1, rank_pattern=ranks), net(2, rank_pattern=ranks))
    assert found.ranks == ((4, 4), (2, 2), (4, 4))
    assert found.grid[1].isfinite().sum() == 4 and found.grid[0].isfinite().all()
    of_two = (rm.chance_scores(24, 4, 4).mean() * 2 + rm.chance_scores(24, 2, 2).mean()) / 3
    assert found.chance == pytest.approx(float(of_two), rel=0.03)
    other = rm.repmatch(net(1, rank_pattern=ranks), net(2))
    assert other.ranks == ((4, 4), (2, 4), (4, 4))


@pytest.mark.parametrize("parameters", [["experts.up"], ["experts.down"], ["experts.up", "experts.down"]], ids=str)
def test_experts_are_compared_one_by_one(parameters: list[str]) -> None:
    models = [net(seed, target_modules=[], target_parameters=parameters, lora_dropout=0.0) for seed in (1, 2)]
    for module in ("experts", "experts.base_layer")[: len(parameters)]:
        pairs = []
        for stacks in zip(*(said(model, module) for model in models), strict=True):
            pairs += list(zip(*stacks, strict=True))  # each (experts, outputs, inputs)
        found = rm.repmatch(*models, module=module)
        np.testing.assert_allclose(found.layers.numpy(), dense(pairs), atol=1e-6)
        assert len(found.layers) == 9 and found.matrices[1].endswith("[1]")


def test_a_convolution_is_flattened_as_peft_does() -> None:
    for layers in ([0, 2], [1]):  # one width of the kernel at a time
        how: dict[str, Any] = {
            "target_modules": ["convolution"],
            "layers_to_transform": layers,
            "layers_pattern": "layers",
        }
        models = [net(seed, **how) for seed in (1, 2)]
        flat = [[update.reshape(24, -1) for update in said(model, "convolution")] for model in models]
        found = rm.repmatch(*models, module="convolution")
        np.testing.assert_allclose(found.layers.numpy(), dense(list(zip(*flat, strict=True))), atol=1e-6)


def test_a_matrix_in_no_layer_is_compared() -> None:
    models = [net(seed, target_modules=["pooler"]) for seed in (1, 2)]
    expected = dense(list(zip(*(updates(model, "pooler") for model in models), strict=True)))
    assert rm.repmatch(*models, module="pooler").score == pytest.approx(expected[0], abs=1e-6)
    with pytest.raises(ValueError, match="adapts no 'value' matrix; it adapts pooler"):
        rm.repmatch(*models)


def test_every_option_of_the_installed_peft_is_known() -> None:
    assert FIELDS <= COMPARED | plain_lora.REFUSED.keys(), "say of each new option whether the update is still B @ A"
    assert not COMPARED & plain_lora.REFUSED.keys()
    tested = {option for options in PLAIN.values() for option in options} | {"target_parameters"}
    described = {"trainable_token_indices", "ensure_weight_tying", "runtime_config"}  # of embeddings; not saved
    base_and_file = {*plain_lora.COMPARED["the base model"], *plain_lora.COMPARED["the file"]}
    starts = {"loftq_config", "eva_config", "corda_config", "lora_ga_config", "qalora_group_size"}
    assert COMPARED <= tested | described | base_and_file | starts


def test_every_start_of_the_installed_peft_is_known() -> None:
    kind = typing.get_type_hints(LoraConfig)["init_lora_weights"]
    literals = [value for part in typing.get_args(kind) for value in typing.get_args(part)]
    assert {"eva", "mica", "loftq"} <= set(literals)
    known = (*plain_lora.STARTS, *plain_lora.OTHER_STARTS)
    assert all(str(value).lower().startswith(known) for value in [*literals, True, False])


@pytest.mark.parametrize("start", ["gaussian", "orthogonal", True])
def test_a_start_that_is_compared_adds_nothing(start: str | bool) -> None:
    torch.manual_seed(0)
    model = get_peft_model(Net(), LoraConfig(r=4, target_modules=["query"], init_lora_weights=start))
    assert all(np.abs(update).max() < 1e-6 for update in updates(model, "query"))


@pytest.mark.parametrize("start", [*plain_lora.OTHER_STARTS, "pissa_niter_4", None, False, "unheard of"], ids=str)
def test_another_start_is_refused_by_name(start: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"(?s)mine started from .*init_lora_weights.*not what was learned: \S+"):
        plain_lora.check_plain({"init_lora_weights": start}, "mine")


@pytest.mark.parametrize("option", [*plain_lora.REFUSED, "option_of_tomorrow"])
def test_an_option_that_changes_the_update_is_refused_by_name(option: str, tmp_path: Path) -> None:
    net(1).save_pretrained(tmp_path)
    config = json.loads((tmp_path / CONFIG).read_text())
    (tmp_path / CONFIG).write_text(json.dumps(config | {option: {"on": True}}))
    with pytest.raises(ValueError, match=f"{tmp_path.name} .*{option}"):
        rm.Adapter.load(tmp_path)
    (tmp_path / CONFIG).write_text(json.dumps(config | {option: None}))
    assert rm.repmatch(tmp_path, tmp_path).score == pytest.approx(1)


def renamed(folder: Path, change: Callable[[str], str]) -> None:
    save_file({change(key): value for key, value in load_file(folder / WEIGHTS).items()}, folder / WEIGHTS)


OTHER_NAMES: dict[str, Callable[[str], str]] = {
    "no prefix": lambda key: key.removeprefix("base_model.model."),
    "another head": lambda key: key.replace("base_model.model.layers", "base_model.model.bert.encoder.layers"),
    "FSDP": lambda key: key.replace("layers.0.", "layers.0._fsdp_wrapped_module."),
    "checkpointing": lambda key: key.replace("attention.", "attention._checkpoint_wrapped_module."),
    "compiled": lambda key: key.replace("base_model.model.", "base_model.model._orig_mod."),
    "DDP": lambda key: f"module.{key}",
    "an adapter's name": lambda key: key.replace(".weight", ".default.weight"),
    "transformers 4": lambda key: key.replace("layers", "encoder.layer").replace(".value", ".self.v_proj"),
}  # fmt: skip


@pytest.mark.parametrize("names", OTHER_NAMES)
def test_one_adapter_under_other_names_is_itself(names: str, tmp_path: Path) -> None:
    one, other = net(1), net(2)
    for name in "ab":
        one.save_pretrained(tmp_path / name)
    renamed(tmp_path / "b", OTHER_NAMES[names])
    assert rm.repmatch(tmp_path / "a", tmp_path / "b").score == pytest.approx(1)
    assert rm.repmatch(tmp_path / "b", other).score == pytest.approx(rm.repmatch(one, other).score)


PARTS = [("query_encoder.", "passage_encoder."), ("text_model.", "vision_model."), ("", "decoder.")]


@pytest.mark.parametrize("parts", PARTS)
def test_another_part_of_the_model_is_told_apart(parts: tuple[str, str], tmp_path: Path) -> None:
    for name, part in zip("ab", parts, strict=True):
        net(1).save_pretrained(tmp_path / name)
        renamed(tmp_path / name, lambda key, part=part: key.replace("model.layers", f"model.{part}layers"))
    with pytest.raises(ValueError, match="no 'value' matrix stands in one place"):
        rm.repmatch(tmp_path / "a", tmp_path / "b")


def test_of_two_towers_one_is_chosen() -> None:
    def model(seed: int) -> peft.PeftModel:
        text = {"hidden_size": 32, "intermediate_size": 40, "num_attention_heads": 4, "num_hidden_layers": 2}
        vision = text | {"hidden_size": 64, "image_size": 32, "patch_size": 16}
        config = transformers.SiglipConfig(text_config=text | {"vocab_size": 30}, vision_config=vision)
        torch.manual_seed(0)
        made = get_peft_model(transformers.SiglipModel(config), LoraConfig(r=2, target_modules=["v_proj"]))
        generator = torch.Generator().manual_seed(seed)
        for name, parameter in made.named_parameters():
            if "lora_" in name:
                parameter.data = torch.randn(parameter.shape, generator=generator)
        return made

    models = [model(seed) for seed in (1, 2)]
    with pytest.raises(ValueError, match=r"2 towers, .*\(32x32\).*\(64x64\).*module='(text|vision)_model:value'"):
        rm.repmatch(*models)
    for tower in ("text_model", "vision_model"):
        towers = [model.get_submodule(f"base_model.model.{tower}") for model in models]
        pairs = list(zip(*(updates(one, "v_proj") for one in towers), strict=True))
        found = rm.repmatch(*models, module=f"{tower}:value")
        np.testing.assert_allclose(found.layers.numpy(), dense(pairs), atol=1e-6)
    with pytest.raises(ValueError, match="adapts no 'audio:value' matrix.*text_model, vision_model"):
        rm.repmatch(*models, module="audio:value")


def test_an_adapter_of_transformers_own_is_compared() -> None:
    config = transformers.LlamaConfig(
        vocab_size=30, hidden_size=32, intermediate_size=40, num_attention_heads=4, num_hidden_layers=2
    )
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(config)
    with pytest.raises(TypeError, match="got LlamaForCausalLM"):
        rm.repmatch(model, model)
    model.add_adapter(LoraConfig(r=4, target_modules=["v_proj"]))
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data = torch.randn(parameter.shape)
    assert rm.repmatch(model, model).score == pytest.approx(1)


def test_a_layer_without_an_update_is_left_out_and_named() -> None:
    models = [net(seed) for seed in (1, 2)]
    expected = rm.repmatch(*models)
    dead = [p for n, p in models[0].named_parameters() if "layers.2." in n and "lora_B" in n]
    dead[0].data.zero_()
    found = rm.repmatch(*models)
    assert torch.equal(found.layers, expected.layers[:2]) and found.score == pytest.approx(expected.layers[:2].mean())
    (reason,) = found.left_out
    assert "layers.2.attention.value, which holds no update in default" in reason


FILES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a pointer": (
        lambda f: (f / WEIGHTS).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n"), "git lfs pull"
    ),
    "ZeRO-3": (
        lambda f: save_file({k: torch.empty(0) for k in load_file(f / WEIGHTS)}, f / WEIGHTS), "empty.*ZeRO-3.*gather"
    ),
    "two adapters": (
        lambda f: save_file(
            {k.replace("weight", f"{n}.weight"): v for n in "ab" for k, v in load_file(f / WEIGHTS).items()},
            f / WEIGHTS,
        ),
        "several adapters, a, b: .*selected_adapters",
    ),
    "a magnitude": (
        lambda f: save_file(load_file(f / WEIGHTS) | {"x.lora_magnitude_vector": torch.ones(2)}, f / WEIGHTS),
        "lora_magnitude_vector.*not B @ A",
    ),
    "MLX's": (lambda f: (f / CONFIG).write_text('{"fine_tune_type": "lora"}'), "not PEFT's.*peft_type"),
    "a pickle": (lambda f: (f / WEIGHTS).rename(f / "adapter_model.bin"), "pickle.*safe_serialization"),
    "within": (
        lambda f: [(f / "checkpoint-5").mkdir()] + [(f / n).rename(f / "checkpoint-5" / n) for n in (WEIGHTS, CONFIG)],
        "one in checkpoint-5: give .*checkpoint-5",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", FILES)
def test_what_lies_in_the_place_of_an_adapter_is_named(what: str, tmp_path: Path) -> None:
    net(1).save_pretrained(tmp_path / "mine")
    change, message = FILES[what]
    change(tmp_path / "mine")
    with pytest.raises((ValueError, FileNotFoundError), match=f"(?s)mine.*{message}"):
        rm.repmatch(tmp_path / "mine", tmp_path / "mine")


def test_the_file_itself_and_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    net(1).save_pretrained(tmp_path)
    (tmp_path / CONFIG).write_text((tmp_path / CONFIG).read_text(), encoding="utf-8-sig")
    assert rm.repmatch(tmp_path / WEIGHTS, tmp_path).score == pytest.approx(1)


def test_two_revisions_are_two_models(tmp_path: Path) -> None:
    for name, revision in (("a", "step1000"), ("b", None)):
        net(1).save_pretrained(tmp_path / name)
        config = json.loads((tmp_path / name / CONFIG).read_text())
        config |= {"base_model_name_or_path": "org/model", "revision": revision}
        (tmp_path / name / CONFIG).write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"a adapts revision 'step1000'.*b revision 'main'.*same_base=True"):
        rm.repmatch(tmp_path / "a", tmp_path / "b")
    assert rm.repmatch(tmp_path / "a", tmp_path / "b", same_base=True).score == pytest.approx(1)


def test_a_map_of_several_ranks_has_its_own_scores_above_it() -> None:
    found = rm.repmatch(net(1, rank_pattern={"layers.1.attention.value": 2}), net(2))
    titles = [axes.get_title() for axes in found.plot().axes[:3]]
    assert titles == [f"{score:.2f}" for score in found.layers.tolist()]


def test_the_command_names_what_is_left_out(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for name, layers in (("a", None), ("b", [0, 1])):
        net(1, layers_to_transform=layers, layers_pattern=layers and "layers").save_pretrained(tmp_path / name)
    result = CliRunner().invoke(cli.app, ["compare", str(tmp_path / "a"), str(tmp_path / "b")])
    assert (
        result.exit_code == 0 and "Left out: base_model.model.layers.2.attention.value, which only a" in result.output
    )
