"""Adapters that plain PEFT saved, and their comparison against dense updates."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from helpers import drawn_adapter
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

import repmatch_lib as rm
from repmatch_lib import cli

WEIGHTS, CONFIG, PROVENANCE = "adapter_model.safetensors", "adapter_config.json", "provenance.json"
MATRICES = {
    "bert": {"query": "query", "key": "key", "value": "value", "output": "attention.output.dense"},
    "llama": {"query": "q_proj", "key": "k_proj", "value": "v_proj", "output": "o_proj"},
}


def base_model(family: str, hidden: int = 32, layers: int = 3) -> torch.nn.Module:
    """A random model that was never saved."""
    sizes = {"vocab_size": 30, "hidden_size": hidden, "intermediate_size": 40, "num_attention_heads": 4}
    sizes["num_hidden_layers"] = layers
    torch.manual_seed(0)
    if family == "bert":
        return transformers.BertModel(transformers.BertConfig(**sizes))
    return transformers.LlamaModel(transformers.LlamaConfig(num_key_value_heads=2, **sizes))


def peft_model(family: str = "bert", rank: int = 4, seed: int = 1, **options: Any) -> PeftModel:
    """A LoRA model as its user would make it, with an update that is not zero."""
    base = base_model(family, **{k: options.pop(k) for k in ("hidden", "layers") if k in options})
    options.setdefault("target_modules", [MATRICES[family]["value"]])
    model = get_peft_model(base, LoraConfig(r=rank, lora_alpha=3 * rank, **options))
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data = torch.randn(parameter.shape, generator=generator)
    return model


def saved(folder: Path, *arguments: Any, **options: Any) -> Path:
    peft_model(*arguments, **options).save_pretrained(folder)
    return folder


def dense_grids(a: PeftModel, b: PeftModel, suffix: str, side: str) -> np.ndarray:
    """Phi of PEFT's own dense updates, layer by layer."""
    ranks = [model.peft_config["default"].r for model in (a, b)]
    bases = []
    for model, rank in zip((a, b), ranks, strict=True):
        exact = copy.deepcopy(model).double().named_modules()
        updates = [m.get_delta_weight("default") for n, m in exact if n.endswith(suffix) and hasattr(m, "lora_A")]
        svds = [np.linalg.svd(update.detach().numpy()) for update in updates]
        bases.append([(svd.U if side == "left" else svd.Vh.T)[:, :rank] for svd in svds])
    grids = np.empty((len(bases[0]), *ranks))
    for layer, i, j in np.ndindex(grids.shape):
        U, V = bases[0][layer][:, : i + 1], bases[1][layer][:, : j + 1]
        grids[layer, i, j] = np.linalg.norm(U.T @ V) ** 2 / (min(i, j) + 1)
    return grids


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("family", ["bert", "llama"])
def test_saved_by_peft_against_dense_updates(
    family: str, side: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    targets = list(MATRICES[family].values())
    models = [peft_model(family, rank, seed, target_modules=targets) for rank, seed in ((4, 1), (8, 2))]
    for model, name in zip(models, "ab", strict=True):
        model.save_pretrained(tmp_path / name)

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a base model was loaded")

    monkeypatch.setattr(transformers.PreTrainedModel, "from_pretrained", refuse)
    monkeypatch.setattr(transformers.AutoModel, "from_pretrained", refuse)
    for module, suffix in MATRICES[family].items():
        expected = dense_grids(*models, suffix, side)
        assert expected.shape == (3, 4, 8)
        found = rm.repmatch(tmp_path / "a", str(tmp_path / "b"), module=module, side=side)
        np.testing.assert_allclose(found.grid.numpy(), expected, atol=1e-6)
        np.testing.assert_allclose(found.layers.numpy(), expected.max((1, 2)), atol=1e-6)
        assert found.score == pytest.approx(expected.max((1, 2)).mean(), abs=1e-6)
        alive = rm.repmatch(*models, module=suffix, side=side)
        assert torch.equal(alive.grid, found.grid)
    assert found.names == ("a", "b") and found.module == "output"
    assert 0 < found.chance < found.chance_95 < 1


def test_layers_in_the_model_s_order(tmp_path: Path) -> None:
    """Ten layers and more: by number, not by name."""
    model = peft_model(layers=12)
    expected = [m.lora_B["default"].weight for n, m in model.named_modules() if n.endswith("self.value")]
    layers, _, B = rm.Adapter.load(saved(tmp_path / "a", layers=12)).factors("value")
    assert torch.equal(B, torch.stack(expected))
    assert [int(re.search(r"layer\.(\d+)", name)[1]) for name in layers] == list(range(12))


@pytest.mark.parametrize("kind", ["Bart", "T5"])
def test_a_model_of_two_stacks_is_itself(kind: str, tmp_path: Path) -> None:
    """Live, its layers come as they are built; saved, by their names."""
    torch.manual_seed(0)
    if kind == "T5":
        config = transformers.T5Config(vocab_size=30, d_model=32, d_kv=8, num_heads=4, d_ff=40, num_layers=11)
    else:
        heads = dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 4)
        config = transformers.BartConfig(vocab_size=30, d_model=32, encoder_layers=2, decoder_layers=2, **heads)
    base = getattr(transformers, f"{kind}Model")(config)
    model = get_peft_model(base, LoraConfig(r=2, target_modules=[{"T5": "v", "Bart": "v_proj"}[kind]]))
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data = torch.randn(parameter.shape)
    model.save_pretrained(tmp_path / "saved")
    assert rm.repmatch(model, tmp_path / "saved", module={"T5": "v", "Bart": "v_proj"}[kind]).score > 1 - 1e-6
    layers, *_ = rm.Adapter.load(tmp_path / "saved").factors({"T5": "v", "Bart": "v_proj"}[kind])
    numbers = [
        tuple(int(n) for n in re.findall(r"\.(\d+)\.", name))
        for name in layers
        if "encoder.layers" in name or "encoder.block" in name
    ]
    assert numbers == sorted(numbers)


def test_compare_prints_and_plots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = saved(tmp_path / "first", seed=1), saved(tmp_path / "second", rank=8, seed=2)
    found, plot = rm.repmatch(a, b), tmp_path / "out.png"
    result = CliRunner().invoke(cli.app, ["compare", str(a), str(b), "--plot", str(plot)])
    assert result.exit_code == 0, result.output
    rows = [re.findall(r"[\w.]+", line) for line in result.output.splitlines()]
    for k, (score, grid) in enumerate(zip(found.layers, found.grid, strict=True), start=1):
        assert [str(k), f"{score:.3f}", f"{grid[0, 0]:.3f}"] in rows
    assert ["mean", f"{found.score:.3f}", f"{found.grid[:, 0, 0].mean():.3f}"] in rows
    assert ["chance", f"{found.chance:.3f}", f"{1 / 32:.3f}"] in rows
    assert plot.read_bytes()[:4] == b"\x89PNG"


def test_compare_fails_with_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["repmatch", "compare", str(tmp_path / "none"), str(tmp_path / "none")])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    message = capsys.readouterr().err
    assert stopped.value.code not in (0, None) and WEIGHTS in message and "Traceback" not in message


def edit_config(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps(config | changes))


def poison(
    folder: Path, change: Callable[[torch.Tensor], torch.Tensor], factor: str = "lora_B", every: bool = False
) -> None:
    tensors = load_file(folder / WEIGHTS)
    names = [name for name in sorted(tensors) if factor in name][: None if every else 1]
    save_file(tensors | {name: change(tensors[name]) for name in names}, folder / WEIGHTS)


def cut(folder: Path, share: float) -> None:
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[: int(share * len(content))])


DAMAGE: dict[str, tuple[Callable[[Path], Any], type[Exception], str]] = {
    "no weights": (lambda f: (f / WEIGHTS).unlink(), FileNotFoundError, f"broken.*{WEIGHTS}.*save_pretrained"),
    "no config": (lambda f: (f / CONFIG).unlink(), FileNotFoundError, f"broken.*{CONFIG}.*save_pretrained"),
    "half the weights": (lambda f: cut(f, 0.5), ValueError, f"broken/{WEIGHTS} is damaged.*again"),
    "no byte": (lambda f: cut(f, 0), ValueError, f"broken/{WEIGHTS} is damaged.*again"),
    "cut config": (lambda f: (f / CONFIG).write_text('{"r": '), ValueError, "broken.*damaged.*again"),
    "a list as config": (lambda f: (f / CONFIG).write_text("[]"), ValueError, "broken"),
    "not UTF-8": (lambda f: (f / CONFIG).write_bytes(b"\xff{}"), ValueError, "broken.*damaged.*again"),
    "PiSSA": (lambda f: edit_config(f, init_lora_weights="pissa_niter_4"), ValueError, "broken started.*convert it"),
    "DoRA": (lambda f: edit_config(f, use_dora=True), ValueError, "broken is a DoRA adapter.*plain LoRA"),
    "not LoRA": (lambda f: edit_config(f, peft_type="IA3"), ValueError, "broken is a IA3.*LoRA"),
    "untrained": (lambda f: poison(f, torch.zeros_like, every=True), ValueError, "broken holds no update.*B is zero"),
    "NaN": (lambda f: poison(f, lambda t: t * torch.nan), ValueError, "broken.*NaN"),
    "infinite A": (lambda f: poison(f, lambda t: t / 0, "lora_A"), ValueError, "broken.*infinity"),
    "half a factor": (lambda f: poison(f, lambda t: t[:, :2].clone()), ValueError, "broken.*rank 4 and 2.*again"),
}  # fmt: skip


@pytest.mark.parametrize("damage", list(DAMAGE))
def test_a_broken_adapter_is_named_with_its_mend(damage: str, tmp_path: Path) -> None:
    change, error, message = DAMAGE[damage]
    whole, broken = saved(tmp_path / "whole", seed=1), saved(tmp_path / "broken", seed=2)
    rm.repmatch(whole, broken)
    change(broken)
    for pair in ((whole, broken), (broken, whole)):
        with pytest.raises(error, match=f"(?s){message}"):
            rm.repmatch(*pair)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere.*save_pretrained"):
        rm.repmatch(tmp_path / "nowhere", saved(tmp_path / "a"))
    with pytest.raises(TypeError, match="folder or a PeftModel, got int"):
        rm.repmatch(3, saved(tmp_path / "a"))


def test_other_base_model(tmp_path: Path) -> None:
    a, b = saved(tmp_path / "a", seed=1), saved(tmp_path / "b", seed=2)
    expected = rm.repmatch(a, b).grid
    edit_config(a, base_model_name_or_path="google/one")
    assert torch.equal(rm.repmatch(a, b).grid, expected)  # b does not say
    edit_config(b, base_model_name_or_path="google/other")
    with pytest.raises(ValueError, match=r"a adapts 'google/one' but b adapts 'google/other'.*same_base=True"):
        rm.repmatch(a, b)
    assert torch.equal(rm.repmatch(a, b, same_base=True).grid, expected)
    edit_config(b, base_model_name_or_path="google/one")
    assert torch.equal(rm.repmatch(a, b).grid, expected)


def test_models_that_do_not_fit(tmp_path: Path) -> None:
    a, wide, deep = saved(tmp_path / "a"), saved(tmp_path / "wide", hidden=64), saved(tmp_path / "deep", layers=2)
    with pytest.raises(ValueError, match="widths differ: a is 32x32, wide is 64x64.*different models"):
        rm.repmatch(a, wide)
    with pytest.raises(ValueError, match="a has 3 adapted layers, deep has 2"):
        rm.repmatch(a, deep)
    with pytest.raises(ValueError, match=r"a adapts no 'query' matrix; it adapts attention\.self\.value"):
        rm.repmatch(a, a, module="query")


def test_the_layers_that_both_have_are_compared_and_the_others_named(tmp_path: Path) -> None:
    models = [peft_model(seed=seed, layers_to_transform=layers) for seed, layers in ((1, [0, 1]), (2, [1, 2]))]
    low, high = (rm.Adapter.from_model(model) for model in models)
    with pytest.raises(ValueError, match=r"different layers.*layer\.0.*layer\.1"):
        rm.compare_all({("a", 0): low, ("a", 1): high, ("b", 0): low, ("b", 1): high})
    found = rm.repmatch(low, high)
    (expected,) = dense_grids(*models, "layer.1.attention.self.value", "left")
    np.testing.assert_allclose(found.grid[0].numpy(), expected, atol=1e-6)
    assert [re.search(r"layer\.(\d)", name)[1] for name in found.left_out] == ["0", "2"] and len(found.layers) == 1
    with pytest.raises(ValueError, match="no 'value' matrix stands in one place"):
        rm.repmatch(low, rm.Adapter.from_model(peft_model(layers_to_transform=[2])))


def test_other_weights_under_one_name_are_refused() -> None:
    taken = rm.Adapter.from_model(peft_model())
    config = taken.config | {"base_model_name_or_path": "model"}
    a, b = (rm.Adapter(taken.tensors, config, {"encoder": {"weights_sha256": sha}}, sha) for sha in ("one", "two"))
    with pytest.raises(ValueError, match="one.*two.*same_base"):
        rm.repmatch(a, b)


def test_save_and_load_keep_every_bit(tmp_path: Path) -> None:
    model = peft_model("llama", target_modules=["q_proj", "v_proj"])
    taken = rm.Adapter.from_model(model)
    made = rm.Adapter(taken.tensors, taken.config, {"name": "mine", "seed": 3})
    again = rm.Adapter.load(made.save(tmp_path / "mine"))
    assert again.tensors.keys() == made.tensors.keys() and len(again.tensors) == 12
    assert all(torch.equal(again.tensors[name], tensor) for name, tensor in made.tensors.items())
    assert again.name == "mine" and again.provenance == made.provenance
    assert again.modules == ["self_attn.q_proj", "self_attn.v_proj"]


def test_a_stop_while_saving_leaves_no_adapter_of_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = (rm.Adapter.from_model(peft_model(seed=seed)) for seed in (1, 2))
    old.save(tmp_path / "mine")

    def stopped(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("repmatch_lib.similarity.adapters.save_file", stopped)
        with pytest.raises(KeyboardInterrupt):
            new.save(tmp_path / "mine")
    with pytest.raises(FileNotFoundError, match="mine holds no"):
        rm.Adapter.load(tmp_path / "mine")
    assert rm.repmatch(new.save(tmp_path / "mine"), new).score > 1 - 1e-6
    assert sorted(file.name for file in (tmp_path / "mine").iterdir()) == sorted([CONFIG, WEIGHTS, PROVENANCE])


def test_whether_two_share_a_head_is_said_where_it_is_known() -> None:
    taken = rm.Adapter.from_model(peft_model())
    under = {seed: rm.Adapter(taken.tensors, {}, {"training": {"head_seed": seed}}) for seed in (0, 1)}
    pairs = ((under[0], under[0]), (under[0], under[1]), (under[0], taken))
    found = [rm.repmatch(a, b).same_head for a, b in pairs]
    assert found == [True, False, None]


def test_peft_loads_what_was_saved(tmp_path: Path) -> None:
    model = peft_model("bert", rank=4)
    rm.Adapter.from_model(model).save(tmp_path / "mine")
    loaded = PeftModel.from_pretrained(base_model("bert"), tmp_path / "mine")
    ids = torch.arange(2, 12)[None]
    expected = model.eval()(input_ids=ids).last_hidden_state
    torch.testing.assert_close(loaded.eval()(input_ids=ids).last_hidden_state, expected)
    bare = base_model("bert").eval()(input_ids=ids).last_hidden_state
    assert not torch.allclose(bare, expected, atol=1e-2)


def test_chance_of_a_comparison_is_that_of_all_its_layers_on_its_own_side() -> None:
    one, other = (wide(seed) for seed in (0, 1))
    for side, width in (("left", 24), ("right", 10)):
        compared = rm.repmatch(one, other, side=side)
        null = rm.chance_scores(width, 3, 3, 2)
        assert compared.width == width
        assert compared.chance == pytest.approx(float(null.mean()))
        assert compared.chance_95 == pytest.approx(float(null.quantile(0.95)))


def wide(seed: int) -> rm.Adapter:
    """An adapter of two layers whose matrices are 24 x 10."""
    adapter = drawn_adapter(seed)
    generator = torch.Generator().manual_seed(seed)
    shapes = {"lora_A": (3, 10), "lora_B": (24, 3)}
    tensors = {
        name: torch.randn(next(shape for part, shape in shapes.items() if part in name), generator=generator)
        for name in adapter.tensors
    }
    return replace(adapter, tensors=tensors)
