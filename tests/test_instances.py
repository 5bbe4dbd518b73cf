"""Instances' scores: what must not change them, what they leave alone, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import peft
import pyarrow as pa
import pytest
import torch
import transformers
from conftest import SIZES, WORDS
from hypothesis import given, settings, strategies as st
from peft.tuners.lora import LoraLayer
from test_updates import one_at_a_time, random_adapter
from torch import Tensor, nn
from transformers.models.bert import modeling_bert

import repmatch_lib as rm
from repmatch_lib.instances import last_block as readout
from repmatch_lib.instances.engine import AdamW, InstanceModel
from repmatch_lib.instances.job import Job, Scoring
from repmatch_lib.training.batching import encode
from repmatch_lib.training.heads import frozen_model, lora_model

Tiny = Callable[[str], rm.Encoder]
FAMILIES = ("bert", "electra", "llama")
KINDS = ("classification", "regression", "span")
CALL: dict[str, Any] = {"max_length": 48, "precision": "float32", "progress": False, "same_base": True}
LENGTHS = (3, 9, 1, 40, 5, 12, 2, 39, 7, 38)


def words(count: int, first: int) -> str:
    return " ".join(WORDS[(first + k) % len(WORDS)] for k in range(count))


def sentences(texts: list[str], labels: list[Any] | None = None, kind: str = "classification") -> rm.Corpus:
    """Rows as `load` gives them, with ids that are no row numbers."""
    labels = labels or [k % 3 if kind == "classification" else k % 5 / 2 for k in range(len(texts))]
    table = pa.table({"id": [990 - 7 * k for k in range(len(texts))], "text": texts, "label": labels})
    classes = ("0", "1", "2") if kind == "classification" else ()
    return rm.Corpus(rm.Task("own", "own", kind, ("text",), "label", classes), "train", table, "test")


def questions(lengths: tuple[int, ...] = LENGTHS) -> rm.Corpus:
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


@lru_cache
def target(encoder: rm.Encoder, kind: str = "classification", modules: tuple[str, ...] = ("value",)) -> rm.Adapter:
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
    return rm.score_instances(model, data, adapter, steps, **(CALL | options)).to_pandas()


def layers(table: pd.DataFrame) -> np.ndarray:
    return table.filter(regex=r"layer_\d+$").to_numpy()


def alone(
    model: peft.PeftModel, encoder: rm.Encoder, data: rm.Corpus, adapter: rm.Adapter, steps: int,
    module: str = "value", **optimizer: float,
) -> np.ndarray:  # fmt: skip
    """Scores of each layer from PEFT's own model and torch's own AdamW, one instance at a time."""
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


# --- What a score does not depend on ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "kind", "steps"),
    [(f, k, steps) for f in FAMILIES for k, steps in (("classification", 1), ("classification", 3), ("span", 1))]
    + [("bert", "span", 3)],
)
def test_a_score_does_not_depend_on_its_neighbours(tiny: Tiny, family: str, kind: str, steps: int) -> None:
    encoder, data = tiny(family), varied(kind)
    model = ready(encoder, kind)

    def score(rows: list[int], tokens: int | None = None) -> pd.DataFrame:
        part = replace(data, table=data.table.take(rows))
        options = {"tokens": tokens, "tokenizer": encoder.tokenizer()}
        return frame(model, part, target(encoder, kind), steps, **options).set_index("id").drop(columns="label")

    rows = list(range(len(data)))
    expected = score(rows)
    mixed = np.random.default_rng(0).permutation(rows).tolist()
    found = {
        "each in a pass of its own": score(rows, 1),
        "all in one pass": score(rows, 10**6),
        "another order": score(mixed, 100),
        "one row as the whole corpus": pd.concat(score([row]) for row in (1, 3)),
        "a short row among long ones": score([2, 3, 7, 9], 10**6),
    }
    # What the first step rounds, the later ones divide by its own size.
    tolerance = 1e-5 if steps == 1 else 5e-5
    for name, table in found.items():
        np.testing.assert_allclose(table, expected.loc[table.index], atol=tolerance, rtol=0, err_msg=name)
    assert expected.score.std() > 0.01


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_rows_come_in_the_data_s_order_with_the_model_s_own_loss(tiny: Tiny, family: str, kind: str) -> None:
    encoder, data = tiny(family), varied(kind)
    model = ready(encoder, kind)
    table = frame(model, data, target(encoder, kind), tokens=80, tokenizer=encoder.tokenizer())
    assert table.id.tolist() == data.table["id"].to_pylist() and table.label.tolist() == data.table["label"].to_pylist()
    encoded = encode(encoder.tokenizer(), data, 48)
    with torch.no_grad():
        losses = [model(**encoded.collate([row])).loss.item() for row in range(len(data))]
    np.testing.assert_allclose(table.loss, losses, atol=1e-5)
    assert np.std(losses) > 0.05
    np.testing.assert_allclose(table.score, layers(table).mean(1))


@pytest.mark.parametrize("steps", [1, 3])
def test_updates_are_those_that_are_scored(tiny: Tiny, steps: int) -> None:
    encoder, data = tiny("bert"), varied()
    options = {"tokens": 80, "steps": steps, "rank": 2, "modules": ("query", "value"), "head_seed": 0}
    options |= {"max_length": 48, "precision": "float32", "progress": False}
    adapter = target(encoder, modules=("query", "value"))
    updates = rm.instance_updates(encoder, data, **options)
    table = frame(encoder, data, adapter, **options)
    assert updates.ids == table.id.tolist()
    np.testing.assert_allclose(updates.losses, table.loss, atol=1e-6)
    for module in ("query", "value"):
        assert updates.A[module].shape == (10, 2, 2, 32) and updates.B[module].shape == (10, 2, 32, 2)
        _, A, B = adapter.factors(module)
        grid = rm.grassmann_similarity(rm.lora_basis(updates.A[module], updates.B[module]), rm.lora_basis(A, B))
        columns = [f"{module}_layer_0", f"{module}_layer_1"]
        np.testing.assert_allclose(table[columns], rm.repmatch_score(grid), atol=1e-6)
        expected = rm.lora_basis(updates.A[module], updates.B[module])
        np.testing.assert_allclose(updates.basis(module).mul(expected).sum(-2).abs(), expected.norm(dim=-2), atol=1e-6)
    assert updates.provenance["corpus"]["fingerprint"] == data.fingerprint
    assert updates.provenance["training"]["steps"] == steps


@pytest.mark.parametrize("modules", [("value",), ("query", "value"), ("value", "query")], ids=str)
def test_the_right_side_and_several_matrices(tiny: Tiny, modules: tuple[str, ...]) -> None:
    encoder, data = tiny("bert"), varied()
    data = replace(data, table=data.table.slice(0, 4))
    adapter = target(encoder, modules=("query", "value"))
    table = frame(encoder, data, adapter, 3, side="right", modules=modules, rank=2, head_seed=0, seed=1)
    names = [f"{m}_layer_{k}" for m in modules for k in range(2)] if len(modules) == 2 else ["layer_0", "layer_1"]
    assert table.columns.tolist() == ["id", "label", "loss", *names, "score"]
    np.testing.assert_allclose(table.score, table[names].mean(axis=1))
    scoring = Scoring(3, rank=2, side="right", modules=modules, head_seed=0, seed=1, max_length=48, precision="float32")
    np.testing.assert_allclose(table[names], one_at_a_time(encoder, data, adapter, scoring), atol=1e-5)
    left = frame(encoder, data, adapter, 3, side="left", modules=modules, rank=2, head_seed=0, seed=1)
    assert np.abs(left[names] - table[names]).to_numpy().max() > 0.01


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_matrix_that_is_not_square(tiny: Tiny, side: str) -> None:
    encoder, data, modules = tiny("bert"), varied(), ("intermediate.dense",)  # 32 to 48
    data = replace(data, table=data.table.slice(0, 3))
    adapter = target(encoder, modules=modules)
    found = frame(encoder, data, adapter, side=side, modules=modules, rank=2, head_seed=0, seed=1)
    scoring = Scoring(rank=2, side=side, modules=modules, head_seed=0, seed=1, max_length=48, precision="float32")
    np.testing.assert_allclose(layers(found), one_at_a_time(encoder, data, adapter, scoring), atol=1e-5)


@pytest.mark.parametrize("module", ["query", "value"])
def test_one_token_has_nothing_to_attend_to(tiny: Tiny, module: str) -> None:
    """Attention over one token is 1 whatever the query: no gradient, no update, no similarity."""
    encoder = tiny("llama")
    data = sentences([words(6, 0), "good", words(9, 3), words(4, 8), "film", words(12, 1)])
    found = layers(frame(encoder, data, target(encoder, modules=("query", "value")), modules=(module,), rank=2))
    assert np.isfinite(found).all()
    single = found[[1, 4]]
    assert (single == 0).all() if module == "query" else (single > 0).all()
    assert (found[[0, 2, 3, 5]] > 0).all()


def test_rank_and_head_are_the_target_s_unless_given(tiny: Tiny) -> None:
    encoder, data, adapter = tiny("bert"), varied(), target(tiny("bert"))
    trained = replace(adapter, provenance={"training": {"rank": 2, "head_seed": 5}})
    found = {
        name: rm.score_instances(encoder, data, adapter, **CALL, **options)
        for name, adapter, options in (
            ("trained", trained, {}),
            ("as trained", adapter, {"rank": 2, "head_seed": 5}),
            ("otherwise", trained, {"rank": 3, "head_seed": 0}),
            ("untold", adapter, {}),  # the rank of its factors
        )
    }
    for same in (("trained", "as trained"), ("otherwise", "untold")):
        assert found[same[0]].table.equals(found[same[1]].table)
    told = [(scores.made_of["rank"], scores.made_of["head_seed"]) for scores in found.values()]
    assert told == [(2, 5), (2, 5), (3, 0), (3, 0)]
    for other in ({"rank": 2}, {"head_seed": 5}, {"seed": 1}):
        assert not rm.score_instances(encoder, data, adapter, **CALL, **other).table.equals(found["untold"].table)


# --- A model of one's own --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("family", "steps"), [("bert", 1), ("bert", 3), ("electra", 1), ("llama", 1)])
def test_a_ready_model_scores_as_its_encoder_does(tiny: Tiny, family: str, steps: int) -> None:
    encoder, data = tiny(family), varied()
    expected = frame(encoder, data, target(encoder), steps, rank=2, seed=1, head_seed=0)
    for name in ("eager", "sdpa"):
        model = ready(encoder)
        model.get_base_model().set_attn_implementation(name)
        found = frame(model, data, target(encoder), steps, tokenizer=encoder.tokenizer())
        pd.testing.assert_frame_equal(found, expected, atol=1e-6, rtol=0)
    assert np.abs(layers(frame(encoder, data, target(encoder), steps, rank=2, seed=2)) - layers(expected)).max() > 0.01


@pytest.mark.parametrize(
    "config",
    [
        {"lora_alpha": 64},
        {"lora_alpha": 0.5},
        {"r": 3, "lora_alpha": 12, "use_rslora": True},
        {"lora_alpha": 8, "target_modules": ["query", "key", "value", "attention.output.dense"]},
        {"adapter": "mine", "target_modules": ["query", "value"], "layers_to_transform": [0]},
    ],
    ids=str,
)
@pytest.mark.parametrize("steps", [1, 3])
def test_a_ready_model_s_own_configuration_counts(tiny: Tiny, config: dict[str, Any], steps: int) -> None:
    encoder, data = tiny("bert"), varied()
    data = replace(data, table=data.table.slice(0, 6))
    adapter = target(encoder)
    if "layers_to_transform" in config:
        adapter = replace(adapter, tensors={k: v for k, v in adapter.tensors.items() if ".layer.0." in k})
    model = configured(encoder, **config)
    found = layers(frame(model, data, adapter, steps, tokenizer=encoder.tokenizer()))
    assert found.shape == (6, 1 if "layers_to_transform" in config else 2)
    np.testing.assert_allclose(found, alone(model, encoder, data, adapter, steps), atol=5e-5)


@pytest.mark.parametrize("steps", [1, 4])
def test_every_setting_of_the_optimizer_counts(tiny: Tiny, steps: int) -> None:
    encoder, data = tiny("bert"), varied()
    data = replace(data, table=data.table.slice(0, 6))
    model, options = ready(encoder), {"lr": 0.05, "weight_decay": 3.0, "eps": 1e-2}

    def score(**changed: float) -> np.ndarray:
        tokenizer = encoder.tokenizer()
        return layers(frame(model, data, target(encoder), steps, tokenizer=tokenizer, **(options | changed)))

    found = score()
    np.testing.assert_allclose(found, alone(model, encoder, data, target(encoder), steps, **options), atol=5e-5)
    assert np.abs(score(eps=1e-8) - found).max() > 0.01
    if steps > 1:  # the first step gives B alone, and its direction has no length
        assert np.abs(score(lr=1e-3) - found).max() > 0.01
        assert np.abs(score(weight_decay=0.0) - found).max() > 0.001


def test_the_scale_matters_after_the_first_step(tiny: Tiny) -> None:
    encoder, data = tiny("bert"), varied()
    options = {"steps": 3, "tokenizer": encoder.tokenizer(), "lr": 0.05}
    found = [layers(frame(configured(encoder, lora_alpha=a), data, target(encoder), **options)) for a in (2, 64)]
    assert np.abs(found[0] - found[1]).max() > 0.01


def condition(model: peft.PeftModel) -> dict[str, Any]:
    """All that could be left behind."""
    modules = dict(model.named_modules())
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return {
        "parameters": {n: p.detach().clone().numpy().tobytes() for n, p in model.named_parameters()},
        "trained": [n for n, p in model.named_parameters() if p.requires_grad],
        "gradients": [n for n, p in model.named_parameters() if p.grad is not None],
        "attention": model.get_base_model().config._attn_implementation,
        "adapters": [layer.disable_adapters for layer in modules.values() if isinstance(layer, LoraLayer)],
        "modes": [module.training for module in modules.values()],
        "hooks": [name for name, module in modules.items() if any(getattr(module, hook) for hook in hooks)],
        "rows": len(readout._rows),
    }


@pytest.mark.parametrize(
    ("family", "steps", "attention"),
    [("bert", 1, "eager"), ("bert", 3, "sdpa"), ("electra", 1, "sdpa"), ("llama", 1, "sdpa"), ("llama", 3, "eager")],
)
def test_a_ready_model_is_left_as_it_was(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, family: str, steps: int, attention: str
) -> None:
    encoder, data = tiny(family), varied()
    model = ready(encoder)
    model.get_base_model().set_attn_implementation(attention)
    batch = encode(encoder.tokenizer(), data, 48).collate(range(3))
    options = {"tokens": 60, "tokenizer": encoder.tokenizer()}
    before, output = condition(model), model(**batch).logits
    assert before["attention"] == attention and before["trained"] and not any(before["adapters"])
    expected = frame(model, data, target(encoder), steps, **options)
    assert condition(model) == before and torch.equal(model(**batch).logits, output)

    def count(*arguments: Any) -> Any:
        passes.append(arguments)
        return update(*arguments)

    def fail(module: nn.Module, *_: Any) -> None:
        if len(passes) == 2:
            assert condition(model) != before
            raise RuntimeError("in the middle of a pass")

    update, passes = InstanceModel.update, []
    monkeypatch.setattr(InstanceModel, "update", count)
    (block,) = (module for name, module in model.named_modules() if name.endswith(".1"))  # the last
    breaking = block.register_forward_hook(fail)
    with pytest.raises(RuntimeError, match="in the middle of a pass"):
        frame(model, data, target(encoder), steps, **options)
    breaking.remove()
    assert len(passes) == 2
    assert condition(model) == before and torch.equal(model(**batch).logits, output)
    monkeypatch.undo()
    pd.testing.assert_frame_equal(frame(model, data, target(encoder), steps, **options), expected)


# --- The optimizer's first step, and bases ---------------------------------------------------------------------------


magnitudes = st.one_of(st.just(0.0), st.floats(-22, 6).map(lambda power: 10.0**power))
signed = st.tuples(magnitudes, st.sampled_from([-1.0, 1.0])).map(lambda pair: pair[0] * pair[1])


@settings(max_examples=40, deadline=None)
@given(
    st.lists(signed, min_size=12, max_size=12),
    st.floats(-6, 0),
    st.sampled_from([0.0, 0.01, 0.3, 3.0]),
    st.floats(-12, 0),
)
def test_the_first_step_is_torch_s(gradients: list[float], log_lr: float, weight_decay: float, log_eps: float) -> None:
    lr, eps = 10**log_lr, 10**log_eps
    gradient = torch.tensor(gradients).view(2, 3, 2)  # two instances, an output of 3, rank 2
    model = wordless()
    engine = InstanceModel(model, "classification", AdamW(lr, weight_decay, eps))
    engine.first_gradients = lambda batch: (torch.zeros(2), [gradient])
    _, (A,), (B,) = engine.update({})
    start = engine.matrices[0].A
    expected = [nn.Parameter(start.clone()), nn.Parameter(torch.zeros(2, 3, 2))]
    optimizer = torch.optim.AdamW(expected, lr=lr, weight_decay=weight_decay, eps=eps)
    expected[0].grad, expected[1].grad = torch.zeros_like(start), gradient
    optimizer.step()
    torch.testing.assert_close(A, expected[0].detach(), rtol=1e-6, atol=0)
    torch.testing.assert_close(B, expected[1].detach(), rtol=1e-5, atol=1e-30)
    assert torch.equal(B == 0, gradient == 0) or lr * gradient.abs().clamp(min=1e-30).min() / eps < 1e-30


@lru_cache
def wordless() -> peft.PeftModel:
    """The smallest model that the engine takes; it is never called."""

    class Base(transformers.PreTrainedModel):
        config_class = transformers.PretrainedConfig

        def __init__(self) -> None:
            super().__init__(transformers.PretrainedConfig())
            self.layer = nn.ModuleList([nn.ModuleDict({"value": nn.Linear(4, 3)})])

    return peft.get_peft_model(Base(), peft.LoraConfig(r=2, target_modules=["value"]))


def factors(seed: int, rank: int, shared: bool) -> tuple[Tensor, Tensor]:
    """Three updates of two layers, with singular values that fall by 3; one A for all three if ``shared``."""
    random = np.random.default_rng(seed)
    out, width = random.integers(8, 40, 2)

    def orthonormal(*shape: int) -> np.ndarray:
        return np.linalg.qr(random.normal(size=shape)).Q

    several = () if shared else (3,)
    mixed = orthonormal(*several, 2, rank, rank) * random.uniform(0.5, 2, rank)
    A = mixed @ orthonormal(*several, 2, width, rank).swapaxes(-1, -2)
    B = orthonormal(3, 2, out, rank) * 10 ** random.uniform(-6, 2) * 3.0 ** -np.arange(rank) @ np.linalg.inv(mixed)
    return torch.from_numpy(A), torch.from_numpy(B)


def dense(A: Tensor, B: Tensor, side: str) -> tuple[np.ndarray, np.ndarray]:
    """Singular vectors and values of the full products."""
    U, S, Vt = np.linalg.svd(B.double().numpy() @ A.double().numpy())
    return U if side == "left" else Vt.swapaxes(-1, -2), S


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 5), st.sampled_from(["left", "right"]), st.booleans())
def test_the_thin_basis_is_that_of_a_dense_svd(
    dtype: torch.dtype, seed: int, rank: int, side: str, shared: bool
) -> None:
    A, B = (factor.to(dtype) for factor in factors(seed, rank, shared))
    basis = rm.thin_basis(A, B, side)
    vectors, _ = dense(A, B, side)
    assert basis.dtype == torch.float64 and basis.shape == (3, 2, vectors.shape[-1], rank)
    others = rm.lora_basis(A.expand(3, -1, -1, -1), B, side).numpy()
    for expected in (vectors[..., :rank], others):  # in one order, up to sign
        np.testing.assert_allclose(np.abs((basis.numpy() * expected).sum(-2)), 1, atol=1e-8)
        np.testing.assert_allclose(basis @ basis.mT, expected @ expected.swapaxes(-1, -2), atol=1e-6)


def deficient(dtype: torch.dtype, seed: int, rank: int, side: str, which: str, zero: int) -> None:
    """Without some columns of B or rows of A, what is there is the dense SVD's and the rest is zero."""
    A, B = (factor.to(dtype) for factor in factors(seed, rank, shared=True))
    zero = zero % (rank + 1)
    places = np.random.default_rng(seed).permutation(rank)[:zero]
    A[..., places, :], B[..., places] = (A[..., places, :], 0) if which == "B" else (0, B[..., places])
    basis = rm.thin_basis(A, B, side).numpy()
    there = rank - zero
    assert not basis[..., there:].any()
    expected = dense(A, B, side)[0][..., :there]
    np.testing.assert_allclose(basis @ basis.swapaxes(-1, -2), expected @ expected.swapaxes(-1, -2), atol=1e-6)


deficiencies = given(
    st.integers(0, 10**6), st.integers(1, 5), st.sampled_from(["left", "right"]), st.sampled_from("AB"),
    st.integers(0, 5),
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@deficiencies
def test_directions_that_are_not_there_are_zero(seed: int, rank: int, side: str, which: str, zero: int) -> None:
    deficient(torch.float32, seed, rank, side, which, zero)


# --- Which rows of the last block are computed -----------------------------------------------------------------------


def engine_within(model: peft.PeftModel, encoder: rm.Encoder, data: rm.Corpus) -> tuple[str, str]:
    """Which rows the engine takes, and whose attention."""
    job = Job(model, data, Scoring(max_length=48, precision="float32"), "cpu", None, encoder.tokenizer())
    with job.ready():
        return job.engine.read, model.get_base_model().config._attn_implementation


@pytest.mark.parametrize(
    ("family", "kind", "read"),
    [(f, k, "all" if k == "span" else "last" if f == "llama" else "first") for f in FAMILIES for k in KINDS],
)
def test_the_rows_that_the_head_reads_are_found(tiny: Tiny, family: str, kind: str, read: str) -> None:
    encoder = tiny(family)
    assert engine_within(ready(encoder, kind), encoder, varied(kind)) == (read, "repmatch")


@pytest.mark.parametrize("family", ["bert", "llama"])
def test_the_last_block_is_computed_for_those_rows_only(tiny: Tiny, family: str) -> None:
    encoder, data, sizes = tiny(family), varied(), set()
    model = ready(encoder)
    (linear,) = (m for n, m in model.named_modules() if n.endswith((".1.intermediate.dense", ".1.mlp.up_proj")))
    update = InstanceModel.update

    def watched(engine: InstanceModel, batch: dict[str, Tensor], steps: int) -> Any:
        hook = linear.register_forward_hook(lambda module, inputs, out: sizes.add(out.shape[1]))
        try:
            return update(engine, batch, steps)
        finally:
            hook.remove()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(InstanceModel, "update", watched)
        frame(model, data, target(encoder), tokenizer=encoder.tokenizer())
    assert sizes == {1}


def reads_another_row(patch: pytest.MonkeyPatch) -> None:
    """Every block adds what it made of the second token to all of them."""
    forward = modeling_bert.BertLayer.forward

    def mixing(self: nn.Module, *inputs: Any, **options: Any) -> Tensor:
        out = forward(self, *inputs, **options)
        return out + 0.3 * out[:, 1:2]

    patch.setattr(modeling_bert.BertLayer, "forward", mixing)


def needs_its_shape(patch: pytest.MonkeyPatch) -> None:
    """A block whose parts insist on every token."""
    forward = modeling_bert.BertIntermediate.forward
    patch.setattr(
        modeling_bert.BertIntermediate, "forward", lambda self, x: forward(self, x).view(*x.shape[:2], 48).tanh()
    )


def has_another_attention(patch: pytest.MonkeyPatch) -> None:
    """A term that favours near tokens, as some models have."""
    own = modeling_bert.eager_attention_forward

    def nearby(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Any, **options: Any) -> Any:
        places = torch.arange(query.shape[2])
        far = -(places[:, None] - places).abs()[None, None]
        return own(module, query, key, value, far if mask is None else far + mask, **options)

    patch.setattr(modeling_bert, "eager_attention_forward", nearby)


@pytest.mark.parametrize(
    ("change", "attention"),
    [(reads_another_row, "repmatch"), (needs_its_shape, "repmatch"), (has_another_attention, "eager")],
)
@pytest.mark.parametrize("steps", [1, 3])
def test_a_shortcut_that_changes_the_result_is_not_taken(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, steps: int, change: Callable[..., None], attention: str
) -> None:
    encoder, data = tiny("bert"), varied()
    model = ready(encoder)
    options = {"tokenizer": encoder.tokenizer(), "tokens": 200}
    usual = layers(frame(model, data, target(encoder), steps, **options))
    change(monkeypatch)
    assert engine_within(model, encoder, data) == ("all", attention)
    found = layers(frame(model, data, target(encoder), steps, **options))
    np.testing.assert_allclose(found, alone(model, encoder, data, target(encoder), steps), atol=2e-5)
    assert np.abs(found - usual).max() > 0.01


def test_a_block_of_unknown_names_is_computed_whole(tiny: Tiny) -> None:
    encoder, data = tiny("bert"), varied()
    sizes = SIZES | {"max_position_embeddings": 64, "initializer_range": 0.2}
    model, adapter = own_model("GPTNeoX", sizes, ["query_key_value", "attention.dense"])
    job = Job(model, data, Scoring(modules=("query_key_value",), max_length=48), "cpu", None, encoder.tokenizer())
    assert not readout.has_known_names(job.engine.block)
    with job.ready():
        assert job.engine.read == "all"
    options = {"modules": ("query_key_value",), "tokenizer": encoder.tokenizer()}
    found = layers(frame(model, data, adapter, **options))
    np.testing.assert_allclose(found, alone(model, encoder, data, adapter, 1, "query_key_value"), atol=2e-5)


# --- Precision, dropout, memory --------------------------------------------------------------------------------------


def forty() -> rm.Corpus:
    return sentences([words(2 + 5 * k % 17, 3 * k) for k in range(40)])


@pytest.mark.parametrize("family", FAMILIES)
def test_bf16_ranks_as_float32_does(tiny: Tiny, family: str) -> None:
    encoder, data = tiny(family), forty()
    found = {p: frame(encoder, data, target(encoder), precision=p) for p in ("float32", "bf16")}
    assert not np.array_equal(layers(found["bf16"]), layers(found["float32"]))
    for column in ("score", "loss"):
        assert found["bf16"][column].corr(found["float32"][column], method="spearman") > 0.9


def test_dropout_is_off_unless_asked_for(tiny: Tiny) -> None:
    encoder, data = tiny("bert"), varied()
    off, again, on = (
        layers(frame(encoder, data, target(encoder), dropout=dropout)) for dropout in (False, False, True)
    )
    assert np.array_equal(off, again) and np.abs(on - off).max() > 0.01
    assert ((on >= 0) & (on <= 1)).all()


@pytest.mark.parametrize("steps", [1, 3])
def test_lora_s_own_dropout_is_applied(tiny: Tiny, steps: int) -> None:
    """With all else still, what is left at p = 1 is nothing; LoRA's input alone is dropped."""
    encoder, data = tiny("bert"), varied()
    found = []
    for p in (0.0, 0.5, 0.999999):
        model = configured(encoder, lora_dropout=p)
        for layer in model.modules():
            if isinstance(layer, LoraLayer):
                layer.lora_dropout.train()
        found.append(frame(model, data, target(encoder), steps, tokenizer=encoder.tokenizer(), dropout=True))
    still, half, nothing = map(layers, found)
    assert np.abs(half - still).max() > 0.01 and (half > 0).all() and not nothing.any()
    pd.testing.assert_series_equal(found[0].loss, found[2].loss, atol=1e-6, rtol=0)


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried to allocate"),
    RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 1 bytes"),
    MemoryError(),
]


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[tuple[int, int]]]:
    """``limit(rows=, tokens=, error=)``: passes above that fail; the shapes of those that do not."""
    update = InstanceModel.update

    def set_limit(error: BaseException, rows: int = 10**6, tokens: int = 10**6) -> list[tuple[int, int]]:
        done = []

        def limited(engine: InstanceModel, batch: dict[str, Tensor], steps: int) -> Any:
            n, longest = batch["input_ids"].shape
            if n > rows or n * longest > tokens:
                raise error
            done.append((n, longest))
            return update(engine, batch, steps)

        monkeypatch.setattr(InstanceModel, "update", limited)
        return done

    return set_limit


@pytest.mark.parametrize(
    ("error", "most"),
    [
        *((error, {"rows": 3}) for error in OUT_OF_MEMORY),
        *((OUT_OF_MEMORY[1], m) for m in ({"rows": 1}, {"tokens": 100})),
    ],
    ids=str,
)
def test_when_memory_runs_out_smaller_passes_follow(
    tiny: Tiny, limit: Callable[..., Any], error: BaseException, most: dict[str, int]
) -> None:
    encoder, data = tiny("bert"), forty()
    model = ready(encoder)
    options = {"tokenizer": encoder.tokenizer(), "tokens": 1000}
    expected = frame(model, data, target(encoder), **options)
    done = limit(error, **most)
    pd.testing.assert_frame_equal(frame(model, data, target(encoder), **options), expected, atol=1e-5, rtol=0)
    assert sum(n for n, _ in done) == 40
    assert max(n for n, _ in done) > (1 if most != {"rows": 1} else 0)  # not one by one at once


def test_a_row_that_never_fits_is_named(tiny: Tiny, limit: Callable[..., Any]) -> None:
    encoder, data = tiny("bert"), varied()
    limit(OUT_OF_MEMORY[0], tokens=35)
    with pytest.raises(MemoryError, match="row 9 of 40 tokens .*lower max_length.*smaller encoder.*larger device"):
        frame(encoder, data, target(encoder))


@pytest.mark.parametrize("error", [RuntimeError("mat1 and mat2 shapes cannot be multiplied"), KeyError("x")], ids=repr)
def test_other_errors_pass_through(tiny: Tiny, limit: Callable[..., Any], error: Exception) -> None:
    encoder, data = tiny("bert"), varied()
    limit(error, rows=1)
    with pytest.raises(type(error)) as caught:
        frame(encoder, data, target(encoder))
    assert caught.value is error


# --- What is refused, and how ----------------------------------------------------------------------------------------


def named(adapter: rm.Adapter, base: str, **provenance: Any) -> rm.Adapter:
    return replace(adapter, config=adapter.config | {"base_model_name_or_path": base}, provenance=provenance)


def test_dropout_in_a_ready_model_is_refused(tiny: Tiny) -> None:
    encoder = tiny("bert")
    with pytest.raises(ValueError, match=r"dropout is active .*model\.eval\(\).*dropout=True"):
        frame(ready(encoder).train(), varied(), target(encoder), tokenizer=encoder.tokenizer())


def test_a_trained_model_is_refused(tiny: Tiny) -> None:
    encoder = tiny("bert")
    model = ready(encoder)
    with torch.no_grad():
        [p for n, p in model.named_parameters() if "lora_B" in n][-1][5, 1] = 1e-6
    with pytest.raises(ValueError, match=r"B of .*layer\.1.* is not zero.*init_lora_weights=True.*give the encoder"):
        frame(model, varied(), target(encoder), tokenizer=encoder.tokenizer())


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (peft.LoraConfig(r=2, target_modules=["value"], use_dora=True), "value is not plain LoRA on a linear layer"),
        (peft.IA3Config(target_modules=["value"], feedforward_modules=[]), "no trainable LoRA.*get_peft_model"),
    ],
    ids=["DoRA", "IA3"],
)
def test_another_method_is_refused(tiny: Tiny, config: peft.PeftConfig, message: str) -> None:
    encoder = tiny("bert")
    model = peft.get_peft_model(frozen_model(encoder, "classification", 3), config).eval()
    with pytest.raises(ValueError, match=message):
        frame(model, varied(), target(encoder), tokenizer=encoder.tokenizer())


def test_a_target_of_another_encoder_is_refused(tiny: Tiny) -> None:
    encoder, data, strict = tiny("bert"), varied(), {"same_base": False}
    own, mend = target(encoder), "train the target on this encoder, or say same_base=True"
    with pytest.raises(ValueError, match=f"adapts 'someone/else', but .* trained on 'tiny-bert': {mend}"):
        frame(encoder, data, named(own, "someone/else"), **strict)
    other = {"weights_sha256": "0" * 64}
    with pytest.raises(ValueError, match=f"000000000000….*{mend}"):
        frame(encoder, data, named(own, "tiny-bert", encoder=other), **strict)
    model, tokenizer = ready(encoder), encoder.tokenizer()
    with pytest.raises(ValueError, match=f"'someone/else'.*{mend}"):
        frame(model, data, named(own, "someone/else"), tokenizer=tokenizer, **strict)
    expected = frame(encoder, data, named(own, "someone/else", encoder=other), rank=2, seed=1, head_seed=0)
    same = {"weights_sha256": encoder.sha256}
    for adapter in (named(own, "tiny-bert"), named(own, "another/name", encoder=same)):  # the weights decide
        pd.testing.assert_frame_equal(frame(encoder, data, adapter, rank=2, seed=1, head_seed=0, **strict), expected)
    path = model.get_base_model().name_or_path
    found = frame(model, data, named(own, path), tokenizer=tokenizer, **strict)
    pd.testing.assert_frame_equal(found, expected, atol=1e-6, rtol=0)


def test_a_target_is_an_adapter_its_folder_or_its_model(tiny: Tiny, tmp_path: Path) -> None:
    encoder, data = tiny("bert"), varied()
    live = ready(encoder)
    torch.manual_seed(4)
    with torch.no_grad():
        for name, parameter in live.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    live.save_pretrained(tmp_path / "peft")
    adapter = rm.Adapter.from_model(live)
    expected = frame(encoder, data, adapter)
    for same in (live, tmp_path / "peft", str(adapter.save(tmp_path / "ours"))):
        pd.testing.assert_frame_equal(frame(encoder, data, same), expected)
    with pytest.raises(FileNotFoundError, match="nowhere holds no adapter_model.safetensors"):
        frame(encoder, data, tmp_path / "nowhere")


def test_a_target_that_does_not_fit_the_model_is_refused(tiny: Tiny) -> None:
    encoder, data, own = tiny("bert"), varied(), target(tiny("bert"))
    first = {k: v for k, v in own.tensors.items() if ".layer.0." in k}
    moved = {k.replace(".layer.1.", ".layer.7."): v for k, v in own.tensors.items()}
    narrow = {k: v[:16] if "lora_B" in k else v for k, v in own.tensors.items()}
    short = {k: v[:, :16] if "lora_A" in k else v for k, v in own.tensors.items()}
    zero = {k: v * ("lora_B" not in k or ".layer.0." in k) for k, v in own.tensors.items()}
    for tensors, side, message in (
        (first, "left", "adapts 'value' in 1 layers, the model in 2.*adapt the same layers"),
        (moved, "left", "in 2 layers, the model in 2, or in others: adapt the same layers"),
        (narrow, "left", "is 16 wide, the model's 'value' 32: another encoder"),
        (short, "right", "is 16 wide, the model's 'value' 32: another encoder"),
        (zero, "left", "no update in layer 2.*Train it first"),
    ):
        with pytest.raises(ValueError, match=message):
            frame(encoder, data, replace(own, tensors=tensors), side=side)


def test_a_matrix_that_is_not_adapted_is_named(tiny: Tiny) -> None:
    encoder, data = tiny("bert"), varied()
    both = target(encoder, modules=("query", "value"))
    with pytest.raises(ValueError, match="the model has no LoRA on 'query'; it has it on value"):
        frame(ready(encoder), data, both, modules=("value", "query"), tokenizer=encoder.tokenizer())
    with pytest.raises(ValueError, match="adapts no 'query' matrix; it adapts attention.self.value"):
        frame(encoder, data, target(encoder), modules=("query",))
    with pytest.raises(ValueError, match="the model has no 'gate' matrix.*it has .*query"):
        frame(encoder, data, target(encoder), modules=("gate",))


@pytest.mark.parametrize(("family", "empty"), [("bert", "\u200b\u200b"), ("bert", "\x01\x02"), ("llama", "\u2003")])
def test_a_text_without_tokens_is_named(tiny: Tiny, family: str, empty: str) -> None:
    encoder = tiny(family)
    data = sentences(["good film", words(5, 2), empty, "a plot", empty])
    with pytest.raises(ValueError, match="id 976: the text has no tokens for this encoder, and 1 more.*fill them in"):
        frame(encoder, data, target(encoder))
    kept = replace(data, table=data.table.take([0, 1, 3]))
    assert len(frame(encoder, kept, target(encoder))) == 3


def test_a_length_that_the_model_cannot_read_is_refused(tiny: Tiny) -> None:
    encoder, data = tiny("bert"), varied()
    with pytest.raises(ValueError, match="max_length 65 is above what the model reads: give at most 64"):
        frame(encoder, data, target(encoder), max_length=65)
    assert len(frame(encoder, data, target(encoder), max_length=64)) == len(data)


@pytest.mark.parametrize("shard", [(0, 1), (2, 1), (-1, 3), (4, 3), (1, 2)], ids=str)
def test_a_shard_that_is_none_is_refused(tiny: Tiny, shard: tuple[int, int]) -> None:
    encoder = tiny("bert")
    with pytest.raises(ValueError, match=rf"shard {shard[0]}/{shard[1]}: give k/n with k from 1 to n, and a folder"):
        frame(encoder, varied(), target(encoder), shard=shard)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("momentum", 0.9), ("lr", -1e-3), ("lr", 0.0), ("steps", 0), ("side", "up"), ("modules", "value"), ("rank", 0),
        ("eps", 0.0), ("weight_decay", -0.1), ("max_length", 4), ("precision", "fp8"),
    ],
)  # fmt: skip
def test_an_impossible_setting_is_named(tiny: Tiny, setting: str, value: Any) -> None:
    encoder = tiny("bert")
    options = {"steps": 1} | CALL | {setting: value}
    with pytest.raises(ValueError, match=setting):
        rm.score_instances(encoder, varied(), target(encoder), **options)


@pytest.mark.parametrize("what", ["the loss", "A", "B"])
def test_an_update_that_is_not_finite_is_refused(tiny: Tiny, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    encoder, update = tiny("bert"), InstanceModel.update

    def diverging(engine: InstanceModel, batch: dict[str, Tensor], steps: int) -> Any:
        result = update(engine, batch, steps)
        if len(batch["input_ids"]) > 1:
            found = {"the loss": result[0], "A": result[1][1], "B": result[2][1]}[what]
            found[-1] = float("nan" if what == "B" else "inf")
        return result

    monkeypatch.setattr(InstanceModel, "update", diverging)
    with pytest.raises(FloatingPointError, match=r"rows \[.*976.* is not finite: lower lr \(now 0.001\)"):
        frame(encoder, varied(), target(encoder))


def test_a_rate_that_diverges_is_refused(tiny: Tiny) -> None:
    encoder = tiny("bert")
    with pytest.raises(FloatingPointError, match=r"not finite: lower lr \(now 1e\+30\), or use precision='float32'"):
        frame(encoder, varied(), target(encoder), 3, lr=1e30)


def test_a_tokenizer_that_cannot_be_found_is_asked_for(tiny: Tiny) -> None:
    encoder = tiny("bert")
    model = ready(encoder)
    expected = frame(model, varied(), target(encoder), tokenizer=encoder.tokenizer())
    pd.testing.assert_frame_equal(frame(model, varied(), target(encoder)), expected)  # by the model's name
    model.get_base_model().name_or_path = "nobody/nothing"
    with pytest.raises(ValueError, match="tokenizer cannot be loaded by its name 'nobody/nothing': give tokenizer="):
        frame(model, varied(), target(encoder))


# --- Once wrong ------------------------------------------------------------------------------------------------------


def test_many_rows_of_one_token_hide_no_others(tiny: Tiny) -> None:
    encoder = tiny("llama")
    data = sentences(["good", "bad", "fine", "poor", words(5, 3), words(9, 1)])
    found = layers(frame(ready(encoder), data, target(encoder), tokenizer=encoder.tokenizer()))
    np.testing.assert_allclose(found, alone(ready(encoder), encoder, data, target(encoder), 1), atol=1e-5)


def test_a_text_that_ends_in_the_padding_token(tiny: Tiny) -> None:
    encoder = tiny("llama")
    data = sentences([*(words(3 + k, k) for k in range(6)), f"{words(12, 1)} </s>"])
    found = layers(frame(ready(encoder), data, target(encoder), tokenizer=encoder.tokenizer()))
    np.testing.assert_allclose(found, alone(ready(encoder), encoder, data, target(encoder), 1), atol=1e-5)


SHARED = {
    "Albert": SIZES | {"max_position_embeddings": 64, "initializer_range": 0.2, "embedding_size": 16},
    "ConvBert": SIZES | {"max_position_embeddings": 64, "initializer_range": 0.2},
}


@pytest.mark.parametrize("name", SHARED)
def test_a_model_in_which_gradients_cannot_be_told_apart_is_refused(tiny: Tiny, name: str) -> None:
    """Right, or refused."""
    model, adapter = own_model(name, SHARED[name], ["value"])
    encoder, data = tiny("bert"), varied()
    try:
        found = layers(frame(model, data, adapter, tokenizer=encoder.tokenizer()))
    except ValueError:
        return
    np.testing.assert_allclose(found, alone(model, encoder, data, adapter, 1), atol=1e-4)


def test_directions_that_are_not_there_are_zero_in_float64() -> None:
    for seed in range(30):
        deficient(torch.float64, seed, 3, "left", "B", 1)
        deficient(torch.float64, seed, 5, "right", "A", 3)


@pytest.mark.parametrize(("family", "steps"), [("bert", 3), ("electra", 1)])
def test_lora_on_every_linear_layer(tiny: Tiny, family: str, steps: int) -> None:
    """Outside of the blocks too: BERT's pooler and classifier, ELECTRA's projection of the embeddings."""
    encoder, data = tiny(family), varied()
    model = configured(encoder, target_modules="all-linear")
    found = layers(frame(model, data, target(encoder), steps, tokenizer=encoder.tokenizer()))
    np.testing.assert_allclose(found, alone(model, encoder, data, target(encoder), steps), atol=5e-5)


@pytest.mark.parametrize("config", [{"lora_bias": True}, {"target_modules": ["word_embeddings", "value"]}], ids=str)
def test_lora_that_is_not_plain_is_refused(tiny: Tiny, config: dict[str, Any]) -> None:
    encoder, data = tiny("bert"), varied()
    model = configured(encoder, **config)
    with pytest.raises(ValueError, match="plain LoRA"):
        frame(model, data, target(encoder), 3, tokenizer=encoder.tokenizer())


def test_the_head_that_peft_keeps_is_the_one_that_counts(tiny: Tiny) -> None:
    encoder, data = tiny("bert"), varied()
    model = configured(encoder, modules_to_save=["classifier"])
    torch.manual_seed(5)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "modules_to_save" in name:
                parameter.normal_()
    found = layers(frame(model, data, target(encoder), tokenizer=encoder.tokenizer()))
    np.testing.assert_allclose(found, alone(model, encoder, data, target(encoder), 1), atol=1e-5)


@pytest.mark.parametrize("change", ["frozen", "merged"])
def test_a_frozen_or_merged_adapter_stays_so(tiny: Tiny, change: str) -> None:
    encoder = tiny("bert")
    model = ready(encoder)
    model.requires_grad_(False) if change == "frozen" else model.merge_adapter()
    merged = [layer.merged for layer in model.modules() if isinstance(layer, LoraLayer)]
    before = condition(model)
    frame(model, varied(), target(encoder), tokenizer=encoder.tokenizer())
    assert condition(model) == before
    assert [layer.merged for layer in model.modules() if isinstance(layer, LoraLayer)] == merged


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("what", ["no PEFT", "a name", "classes", "kind", "padding", "no matrix", "a matrix twice"])
def test_a_model_that_does_not_fit_the_data_is_refused(tiny: Tiny, what: str) -> None:
    encoder, data = tiny("llama"), varied()
    model: Any = ready(encoder)
    options: dict[str, Any] = {"tokenizer": encoder.tokenizer()}
    if what == "no PEFT":
        model = frozen_model(encoder, "classification", 3)
    elif what == "a name":
        model = "minilm"
    elif what == "classes":
        model = configured(encoder, outputs=2)
    elif what == "kind":
        model = ready(encoder, "span")
    elif what == "padding":
        options["tokenizer"] = transformers.AutoTokenizer.from_pretrained(encoder.folder)  # has no padding token
    else:
        options["modules"] = () if what == "no matrix" else ("value", "value")
    with pytest.raises((ValueError, TypeError), match="(?i)give |say |adapt|name|module"):
        frame(model, data, target(encoder), **options)


def test_dropout_is_repeatable_and_leaves_the_generator_alone(tiny: Tiny) -> None:
    encoder, found = tiny("bert"), []
    adapter = target(encoder)  # made here if no test has before, and not without the generator
    for seed in (1, 2):
        torch.manual_seed(seed)
        state = torch.get_rng_state()
        found.append(layers(frame(encoder, varied(), adapter, dropout=True)))
        assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(*found)


def test_dropout_that_is_no_module_is_noticed(tiny: Tiny) -> None:
    encoder = tiny("llama")
    model = ready(encoder)
    for module in model.modules():
        if hasattr(module, "attention_dropout"):
            module.attention_dropout = 0.5
    with pytest.raises(ValueError, match="dropout is active"):
        frame(model.train(), varied(), target(encoder), tokenizer=encoder.tokenizer())


def test_a_caller_without_gradients(tiny: Tiny) -> None:
    encoder = tiny("bert")
    with torch.no_grad():
        assert len(frame(encoder, varied(), target(encoder))) == len(LENGTHS)


# --- Faults that are known -------------------------------------------------------------------------------------------


def test_a_row_without_a_gradient_does_not_look_coupled(tiny: Tiny) -> None:
    """The fused kernel gives the query of one token 1e-9 and not zero."""
    encoder, data = tiny("llama"), sentences(["good", words(9, 3), words(20, 5), words(4, 8)])
    adapter, modules = target(encoder, modules=("query", "value")), ("query", "value")
    model = ready(encoder, modules=modules)
    model.get_base_model().set_attn_implementation("sdpa")
    found = frame(model, data, adapter, modules=modules, tokenizer=encoder.tokenizer())
    assert not found.filter(like="query").to_numpy()[0].any() and found.filter(like="value").to_numpy().all()


@pytest.mark.parametrize(("family", "kind"), [("llama", "span"), ("bert", "classification")])
def test_a_model_that_knows_no_padding_token(tiny: Tiny, family: str, kind: str) -> None:
    encoder, data = tiny(family), varied(kind)
    model = ready(encoder, kind)
    expected = frame(model, data, target(encoder, kind), tokenizer=encoder.tokenizer())
    model.get_base_model().config.pad_token_id = None
    found = frame(model, data, target(encoder, kind), tokenizer=encoder.tokenizer())
    pd.testing.assert_frame_equal(found, expected)
