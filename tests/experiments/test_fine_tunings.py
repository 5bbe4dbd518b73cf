"""The chain from a target over chosen instances to an accuracy."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from helpers import Tiny, highest

import repmatch_lib as rm
from repmatch_lib.book import notebooks
from repmatch_lib.instances import scoring
from repmatch_lib.training import fine_tuning


def test_the_whole_chain_is_done_once(
    tuning_request: Callable[..., rm.FineTuning], monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = tuning_request().make(progress=False)
    ranking = tuning_request().selection.ranking
    scores = ranking.make(progress=False).to_pandas()
    best = scores.id.iloc[highest(scores.score, 10)].tolist()
    assert outcome.instances == best and sum(outcome.labels.values()) == 10
    assert outcome.metric == "accuracy" and 0 <= outcome.value <= 1

    def never(*_: object, **__: object) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr(fine_tuning, "fine_tune", never)
    monkeypatch.setattr(scoring, "Job", never)
    assert tuning_request().make(progress=False) == outcome


@pytest.mark.parametrize("family", ["electra", "llama"])
@pytest.mark.parametrize("method", ["full", "lora"])
def test_the_chain_runs_on_other_families(tiny: Tiny, toy: rm.Corpus, family: str, method: str) -> None:
    run = rm.Run(str(toy.task.file), str(tiny(family).folder), rank=1, rows=16, epochs=1, max_length=32)
    outcomes = [
        rm.FineTuning(
            rm.Selection(rm.Ranking(run, rows=24), rule, 12),
            method,
            lr={"full": 1e-3, "lora": 1e-2}[method],
            epochs=10,
            max_length=32,
        ).make(progress=False)
        for rule in ("top", "random")
    ]
    assert all(len(set(one.instances)) == 12 and 0 <= one.value <= 1 for one in outcomes)
    assert {one.provenance["training"]["method"] for one in outcomes} == {method}
    assert all(math.isfinite(loss) for one in outcomes for loss in one.provenance["loss"].values())


def test_a_file_is_evaluated_on_rows_that_nobody_has_seen(
    tuning_request: Callable[..., rm.FineTuning], toy: rm.Corpus
) -> None:
    request = tuning_request()
    held_out = request.development().table["id"].to_pylist()
    pool = request.selection.pool().table["id"].to_pylist()
    assert len(pool) == 30 and sorted([*held_out, *pool]) == toy.table["id"].to_pylist()
    assert len(tuning_request(evaluated=4).development()) == 4
    whole = replace(request, selection=rm.Selection(rm.Ranking(request.selection.ranking.target), k=3))
    with pytest.raises(ValueError, match="toy is one file of 40 rows.*leave 0 of them to evaluate on: lower rows"):
        whole.development()


def test_other_processes_make_each_request_once(
    tuning_request: Callable[..., rm.FineTuning], own_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = [tuning_request("top"), tuning_request("random"), tuning_request("top")]
    notebooks.prepare(wanted, progress=False)
    made = {kind: len(list((own_store / kind).glob("[!.]*"))) for kind in ("adapters", "rankings", "outcomes")}
    assert made == {"adapters": 1, "rankings": 1, "outcomes": 2}
    monkeypatch.setattr(fine_tuning, "fine_tune", None)
    assert all(0 <= request.make(progress=False).value <= 1 for request in wanted)


def test_one_selection_by_two_rules_is_one_outcome(
    tuning_request: Callable[..., rm.FineTuning], own_store: Path
) -> None:
    outcomes = [
        tuning_request("random", balance=balance, seed=2).make(progress=False) for balance in (None, None, "label")
    ]
    assert outcomes[0] == outcomes[1]
    assert len(list((own_store / "outcomes").glob("[!.]*"))) == (1 if outcomes[0] == outcomes[2] else 2)


def test_results_do_not_depend_on_the_number_of_threads(
    tuning_request: Callable[..., rm.FineTuning], own_store: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import torch

    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        try:
            found.append(tuning_request().make(rm.Store(tmp_path / str(threads)), progress=False))
            assert torch.get_num_threads() == threads
        finally:
            torch.set_num_threads(1)
    same = [replace(one, provenance={}) for one in found]
    assert same[0] == same[1] and {one.provenance["training"]["threads"] for one in found} == {1}
