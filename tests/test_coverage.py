"""Cover of a pool against plain loops and exhaustive search; early errors against one row at a time; their requests."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from peft import PeftModel

import repmatch_lib as rm
from repmatch_lib.experiments.catalogue import parse
from repmatch_lib.instances import scoring as instances
from repmatch_lib.selection import el2n as early
from repmatch_lib.training.heads import frozen_model

Tiny = Callable[[str], rm.Encoder]


def similarity_of(n: int, seed: int, layers: int = 2, width: int = 3) -> np.ndarray:
    """Squared cosines of random directions, mean over layers."""
    drawn = np.random.default_rng(seed).standard_normal((layers, n, width))
    unit = drawn / np.linalg.norm(drawn, axis=-1, keepdims=True)
    return ((unit @ unit.transpose(0, 2, 1)) ** 2).mean(0)


def covered(similarity: np.ndarray, rows: list[int] | np.ndarray) -> float:
    return sum(max(similarity[i][j] for j in rows) for i in range(len(similarity)))


def radius(similarity: np.ndarray, rows: list[int] | np.ndarray) -> float:
    return max(min(math.sqrt(max(0, 1 - similarity[i][j])) for j in rows) for i in range(len(similarity)))


@pytest.mark.parametrize("rank", [1, 3])
def test_similarity_of_updates_is_repmatch_pair_by_pair(
    tiny: Tiny, toy: rm.Corpus, rank: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("repmatch_lib.selection.coverage.ROWS", 4)
    updates = rm.instance_updates(tiny("bert"), toy.take(list(range(9))), rank=rank, max_length=32, progress=False)
    found, basis = rm.update_similarity(updates), updates.basis()
    for a, b in combinations(range(9), 2):
        score = rm.repmatch_score(rm.grassmann_similarity(basis[a], basis[b])).mean()
        assert found[a, b] == pytest.approx(float(score), abs=1e-5) == found[b, a]
    assert np.diag(found) == pytest.approx(np.ones(9)) and found.max() <= 1


@pytest.mark.parametrize("seed", range(5))
def test_facility_location_is_the_plain_greedy_choice(seed: int) -> None:
    similarity, chosen = similarity_of(30, seed), []
    for _ in range(30):
        left = [row for row in range(30) if row not in chosen]
        chosen.append(max(left, key=lambda row: round(covered(similarity, [*chosen, row]), 6)))
    assert rm.facility_location(similarity).tolist() == chosen
    assert rm.facility_location(similarity, 7).tolist() == chosen[:7]


@pytest.mark.parametrize("seed", range(5))
def test_both_choices_keep_their_bounds_against_the_best_of_all(seed: int) -> None:
    similarity = similarity_of(10, seed)
    every = list(combinations(range(10), 3))
    most, least = max(covered(similarity, rows) for rows in every), min(radius(similarity, rows) for rows in every)
    assert (1 - 1 / math.e) * most <= covered(similarity, rm.facility_location(similarity, 3)) <= most + 1e-9
    assert least - 1e-9 <= radius(similarity, rm.k_centre(similarity, 3)) <= 2 * least


@pytest.mark.parametrize("seed", range(3))
def test_the_root_of_what_is_not_alike_is_a_distance(seed: int) -> None:
    distance = np.sqrt((1 - similarity_of(12, seed)).clip(0))
    assert (distance[:, None, :] <= distance[:, :, None] + distance[None] + 1e-9).all()


def test_k_centre_takes_the_farthest() -> None:
    similarity = similarity_of(25, 3)
    chosen = [int(similarity.sum(0).argmax())]
    while len(chosen) < 25:
        left = [row for row in range(25) if row not in chosen]
        chosen.append(min(left, key=lambda row: max(similarity[row][j] for j in chosen)))
    assert rm.k_centre(similarity).tolist() == chosen and rm.k_centre(similarity, 4).tolist() == chosen[:4]


@pytest.mark.parametrize("choose", [rm.facility_location, rm.k_centre])
def test_one_of_each_group_comes_first_and_ties_in_the_order_of_the_rows(choose: Callable[..., np.ndarray]) -> None:
    group = np.array([0, 0, 0, 1, 1, 2])
    order = choose((group[:, None] == group).astype(np.float32))
    assert order.tolist() == [0, 3, 5, 1, 2, 4]


# --- Early errors -----------------------------------------------------------------------------------------------------


@pytest.fixture
def run(toy: rm.Corpus, tiny: Tiny) -> rm.Run:
    return rm.Run(
        str(toy.task.file), str(tiny("bert").folder), rank=2, rows=24, epochs=3, max_length=32, lr=1e-2,
        precision="float32",
    )  # fmt: skip


def test_early_errors_of_another_encoder_s_adapter_are_refused(run: rm.Run, toy: rm.Corpus, tiny: Tiny) -> None:
    adapter = rm.adapter(run, progress=False)
    with pytest.raises(ValueError, match="instances are to be trained on .*train the target on this encoder"):
        rm.el2n(tiny("electra"), toy, adapter)
    with pytest.raises(ValueError, match="does not say how it was trained: give an adapter from train_adapter"):
        rm.el2n(tiny("bert"), toy, replace(adapter, provenance={}))


@pytest.mark.parametrize("family", ["bert", "llama"])
def test_early_errors_are_those_of_the_saved_model_row_by_row(
    run: rm.Run, toy: rm.Corpus, tiny: Tiny, family: str, tmp_path: Path
) -> None:
    run = replace(run, encoder=str(tiny(family).folder), head_seed=3)
    adapter = rm.adapter(run, progress=False)
    found = rm.el2n(tiny(family), toy, adapter)

    model = PeftModel.from_pretrained(frozen_model(tiny(family), "classification", 2, 3), adapter.save(tmp_path)).eval()
    tokenizer, losses = tiny(family).tokenizer(), []
    for text, label, error in zip(*(toy.table[c].to_pylist() for c in ("text", "label")), found, strict=True):
        with torch.no_grad():
            p = model(**tokenizer(text, return_tensors="pt")).logits[0].double().softmax(0).numpy()
        assert error == pytest.approx(np.linalg.norm(p - np.eye(2)[label]), abs=1e-5)
        losses.append(-math.log(p[label]))
    assert found == pytest.approx(math.sqrt(2) * (1 - np.exp(-np.array(losses))), abs=1e-5)
    assert np.ptp(found) > 0.01


def test_a_task_without_classes_has_no_early_errors(tiny: Tiny, run: rm.Run) -> None:
    with pytest.raises(ValueError, match="stsb has no classes"):
        rm.el2n(tiny("bert"), rm.load(rm.task("stsb"), source="mini"), rm.adapter(run, progress=False))


# --- Requests ---------------------------------------------------------------------------------------------------------


def chosen(ranking: rm.Ranking | rm.Deduplicated, rule: str, k: int = 6, draw: int = 0, **more: str) -> list[int]:
    return rm.Selection(ranking, rule, k, draw=draw, **more).make(progress=False).table["id"].to_pylist()


def test_rules_keep_what_covers_and_what_is_most_wrong(run: rm.Run, tiny: Tiny) -> None:
    ranking = rm.Ranking(run, rows=30)
    pool, ids = ranking.pool(), ranking.pool().table["id"].to_pylist()
    updates = rm.instance_updates(
        tiny("bert"), pool, lr=1e-3, rank=2, seed=1004, max_length=32, precision="float32", progress=False
    )
    similarity = rm.update_similarity(updates)
    wrong = np.argsort(-rm.el2n(tiny("bert"), pool, rm.adapter(run, progress=False)), kind="stable")
    expected = {"facility location": rm.facility_location(similarity), "k-centre": rm.k_centre(similarity)}
    for rule, order in (expected | {"highest EL2N": wrong}).items():
        found = chosen(ranking, rule, draw=4)
        assert found == [ids[row] for row in order[:6]], rule


def test_a_rule_takes_the_best_of_each_class_and_of_what_is_left(run: rm.Run) -> None:
    ranking = rm.Ranking(run, rows=30)
    order = pd.Series(chosen(ranking, "facility location", 30))
    label = dict(zip(*(ranking.pool().table[c].to_pylist() for c in ("id", "label")), strict=True))
    balanced = chosen(ranking, "facility location", balance="label")
    assert set(balanced) == {one for c in (0, 1) for one in order[order.map(label) == c].head(3)}
    left = rm.Deduplicated(ranking, 0.5)
    there = set(ranking.pool().take(left.rows(progress=False)).table["id"].to_pylist())
    assert chosen(left, "facility location") == [one for one in order if one in there][:6]


def test_what_a_rule_needs_is_asked_for_once(run: rm.Run, own_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ranking = rm.Ranking(run, rows=30)
    needs = {
        rule: rm.Selection(ranking, rule, 6, draw=2).needs for rule in ("facility location", "k-centre", "highest EL2N")
    }
    (cover,), (errors,) = needs["facility location"], needs["highest EL2N"]
    assert needs["k-centre"] == (cover,) and not cover.needs and errors.needs == (run,)
    assert cover.covered.seed == ranking.seed + 2
    for request in (cover, errors):
        again = parse(request.to_json())
        assert again == request and again.id == request.id and type(again) is type(request)
        request.make(progress=False)
    rm.Selection(rm.Ranking(replace(run, seed=7), rows=30), "facility location", 6, draw=2).make(progress=False)
    made = {kind: len(list((own_store / kind).glob("[!.]*"))) for kind in ("coverage", "early")}
    assert made == {"coverage": 1, "early": 1}  # a cover does not depend on the target's training
    monkeypatch.setattr(instances, "Job", None)
    monkeypatch.setattr(early, "el2n", None)
    assert len(chosen(ranking, "k-centre", draw=2)) == len(chosen(ranking, "highest EL2N", draw=2)) == 6
