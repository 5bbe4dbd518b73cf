"""What a request asks for arrives where it is computed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers import Tiny

import repmatch_lib as rm


def test_every_setting_of_a_ranking_arrives(quick_run: rm.Run) -> None:
    quick_run = replace(quick_run, modules=("query",))
    ranking = rm.Ranking(quick_run, rows=20, sample_seed=3, steps=2, lr=2e-3, rank=1, seed=77)
    made_of = ranking.make(progress=False).made_of
    asked = {
        "steps": 2,
        "lr": 2e-3,
        "rank": 1,
        "seed": 77,
        "max_length": 32,
        "modules": ["query"],
        "measure": "repmatch",
    }
    assert {name: made_of[name] for name in asked} == asked
    whole = rm.load(rm.task(quick_run.task))
    expected = rm.load(rm.task(quick_run.task), rows=20, seed=3)
    assert made_of["data"] == expected.fingerprint != rm.load(rm.task(quick_run.task), rows=20).fingerprint
    assert rm.Ranking(quick_run, rows=len(whole)).pool().fingerprint == whole.fingerprint
    assert rm.Ranking(quick_run).settings()["rank"] == quick_run.rank


def test_a_ranking_by_cosine_starts_where_the_target_did(quick_run: rm.Run) -> None:
    made_of = rm.Ranking(quick_run, rows=20, measure="cosine").make(progress=False).made_of
    assert (made_of["measure"], made_of["seed"]) == ("cosine", quick_run.seed)


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_duplicates_are_searched_in_the_vectors_that_were_asked_for(
    quick_run: rm.Run, tiny: Tiny, pooling: str
) -> None:
    ranking = rm.Ranking(quick_run, rows=30)
    found = rm.Deduplicated(ranking, 0.5, pooling).make(progress=False)
    rows = rm.vectors(tiny("bert"), ranking.pool(), pooling, max_length=32, progress=False)
    np.testing.assert_allclose(found.similarity, rm.near_duplicates(rows, progress=False).similarity, atol=1e-5)


def test_the_longest_are_those_of_both_texts() -> None:
    run = rm.Run("snli", source="mini", rows=30, rank=1, epochs=1, max_length=32)
    chosen = rm.Selection(rm.Ranking(run, rows=40), "longest", 5).make(progress=False).table
    pool = rm.Ranking(run, rows=40).pool().table.to_pandas()
    words = (pool.text + " " + pool.text_pair).str.split().str.len()
    assert min(words[pool.id.isin(chosen["id"].to_pylist())]) >= words.nlargest(5).min()


def test_every_setting_of_a_fine_tuning_arrives(tuning_request: Callable[..., rm.FineTuning]) -> None:
    request = tuning_request(batch_size=3, lr=2e-3, epochs=2, method="lora", rank=3)
    training = request.make(progress=False).provenance["training"]
    asked = {"batch_size": 3, "lr": 2e-3, "epochs": 2, "rank": 3, "method": "lora", "seed": 0, "max_length": 32}
    assert {name: training[name] for name in asked} == asked


def test_a_task_with_a_development_set_is_evaluated_on_it() -> None:
    run = rm.Run("sst2", source="mini", rows=20, rank=1, epochs=1, max_length=32)
    request = rm.FineTuning(rm.Selection(rm.Ranking(run, rows=20), "random", 8), epochs=1, max_length=32, evaluated=10)
    dev = rm.load(rm.task("sst2"), "validation", "mini", rows=10)
    assert request.development().fingerprint == dev.fingerprint
    assert "validation" in request.make(progress=False).provenance["evaluated_on"]["source"]


def test_a_task_of_one_file_is_evaluated_on_rows_that_nobody_saw(tuning_request: Callable[..., rm.FineTuning]) -> None:
    request = tuning_request()
    ranking = request.selection.ranking
    ranking = replace(ranking, target=replace(ranking.target, sample_seed=1))  # other rows than the pool's
    request = replace(request, selection=replace(request.selection, ranking=ranking))
    assert {*ranking.target.rows_of().table["id"].to_pylist()} - {*ranking.pool().table["id"].to_pylist()}
    seen = {*ranking.pool().table["id"].to_pylist(), *ranking.target.rows_of().table["id"].to_pylist()}
    left = request.development().table["id"].to_pylist()
    assert left and not seen & {*left} and len(left) == len(rm.load(rm.task(ranking.target.task))) - len(seen)


def test_another_sample_is_other_rows() -> None:
    first, second = (rm.Run("sst2", source="mini", rows=20, sample_seed=seed).rows_of() for seed in (0, 1))
    assert first.fingerprint != second.fingerprint
    assert first.fingerprint == rm.load(rm.task("sst2"), source="mini", rows=20).fingerprint


def test_a_ranking_keeps_what_it_ranks_by(tuning_request: Callable[..., rm.FineTuning], own_store: Path) -> None:
    ranking = tuning_request("top").selection.ranking
    kept, pool = ranking.make(progress=False), ranking.pool()
    target = ranking.target.make(progress=False)
    model = rm.encoder(ranking.target.encoder)
    whole = rm.score_instances(model, pool, target, progress=False, **ranking.settings())
    assert kept.table.column_names == ["id", "label", "loss", "score"] and not kept.layers and whole.layers
    assert kept.to_pandas().score.tolist() == pytest.approx(whole.to_pandas().score.tolist(), abs=1e-6)
    assert not list((own_store / "rankings").glob(".*unfinished"))
    signed = rm.score_instances(
        rm.encoder(ranking.target.encoder),
        pool,
        target,
        progress=False,
        **ranking.settings() | {"measure": "cosine", "seed": None},
    )
    assert signed.brief().table.column_names == ["id", "label", "loss", "score", "repmatch"]
