"""What else is known of a ranked pool: its cover, its early errors, what is left without duplicates."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers import Tiny

import repmatch_lib as rm
from repmatch_lib.experiments.catalogue import parse
from repmatch_lib.experiments.requests import stages
from repmatch_lib.instances import scoring
from repmatch_lib.selection import el2n


def chosen(ranking: rm.Ranking | rm.Deduplicated, rule: str, k: int = 6, draw: int = 0, **more: str) -> list[int]:
    return rm.Selection(ranking, rule, k, draw=draw, **more).make(progress=False).table["id"].to_pylist()


def test_rules_keep_what_covers_and_what_is_most_wrong(quick_run: rm.Run, tiny: Tiny) -> None:
    ranking = rm.Ranking(quick_run, rows=30)
    pool, ids = ranking.pool(), ranking.pool().table["id"].to_pylist()
    updates = rm.instance_updates(
        tiny("bert"), pool, lr=1e-3, rank=2, seed=1004, max_length=32, precision="float32", progress=False
    )
    similarity = rm.update_similarity(updates)
    wrong = np.argsort(-rm.el2n(tiny("bert"), pool, rm.adapter(quick_run, progress=False)), kind="stable")
    expected = {"facility location": rm.facility_location(similarity), "k-centre": rm.k_centre(similarity)}
    for rule, order in (expected | {"highest EL2N": wrong}).items():
        found = chosen(ranking, rule, draw=4)
        assert found == [ids[row] for row in order[:6]], rule


def test_a_rule_takes_the_best_of_each_class_and_of_what_is_left(quick_run: rm.Run) -> None:
    ranking = rm.Ranking(quick_run, rows=30)
    order = pd.Series(chosen(ranking, "facility location", 30))
    label = dict(zip(*(ranking.pool().table[c].to_pylist() for c in ("id", "label")), strict=True))
    balanced = chosen(ranking, "facility location", balance="label")
    assert set(balanced) == {one for c in (0, 1) for one in order[order.map(label) == c].head(3)}
    left = rm.Deduplicated(ranking, 0.5)
    there = set(ranking.pool().take(left.rows(progress=False)).table["id"].to_pylist())
    assert chosen(left, "facility location") == [one for one in order if one in there][:6]


def test_what_a_rule_needs_is_asked_for_once(
    quick_run: rm.Run, own_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ranking = rm.Ranking(quick_run, rows=30)
    needs = {
        rule: rm.Selection(ranking, rule, 6, draw=2).needs for rule in ("facility location", "k-centre", "highest EL2N")
    }
    (cover,), (errors,) = needs["facility location"], needs["highest EL2N"]
    assert needs["k-centre"] == (cover,) and not cover.needs and errors.needs == (quick_run,)
    assert cover.covered.seed == ranking.seed + 2
    for request in (cover, errors):
        again = parse(request.to_json())
        assert again == request and again.id == request.id and type(again) is type(request)
        request.make(progress=False)
    rm.Selection(rm.Ranking(replace(quick_run, seed=7), rows=30), "facility location", 6, draw=2).make(progress=False)
    made = {kind: len(list((own_store / kind).glob("[!.]*"))) for kind in ("coverage", "early")}
    assert made == {"coverage": 1, "early": 1}  # a cover does not depend on the target's training
    monkeypatch.setattr(scoring, "Job", None)
    monkeypatch.setattr(el2n, "el2n", None)
    assert len(chosen(ranking, "k-centre", draw=2)) == len(chosen(ranking, "highest EL2N", draw=2)) == 6


def selection_of(tiny: Tiny, toy: rm.Corpus, rule: str, share: float | None = 0.4) -> rm.Selection:
    run = rm.Run(str(toy.task.file), str(tiny("bert").folder), rank=1, rows=24, epochs=1, max_length=32)
    ranking = rm.Ranking(run, rows=30)
    return rm.Selection(ranking if share is None else rm.Deduplicated(ranking, share), rule, 10)


def test_a_selection_is_made_from_what_is_left(tiny: Tiny, toy: rm.Corpus, own_store: Path) -> None:
    random, top = (selection_of(tiny, toy, rule) for rule in ("random", "top"))
    pool, left = random.ranking.ranking.pool(), random.ranking.rows(progress=False)
    assert 12 <= len(left) < 30
    ids = set(pool.take(left).table["id"].to_pylist())
    chosen = top.make(progress=False).table["id"].to_pylist()
    assert set(chosen) <= ids and set(random.make(progress=False).table["id"].to_pylist()) <= ids
    scores = top.ranking.ranking.make(progress=False).to_pandas().iloc[left]
    assert chosen == scores.sort_values("score", ascending=False, kind="stable").id.tolist()[:10]
    assert len(list((own_store / "duplicates").iterdir())) == 1  # one for all shares
    with pytest.raises(ValueError, match="k = 10, but the pool has"):
        selection_of(tiny, toy, "random", 0.05).make(progress=False)


def test_requests_of_what_is_left(tiny: Tiny, toy: rm.Corpus) -> None:
    top, random, plain = (
        rm.FineTuning(selection_of(tiny, toy, *how)) for how in (("top",), ("random",), ("top", None))
    )
    for request in (top, random, plain, top.selection.ranking):
        again = parse(request.to_json())
        assert again == request and again.id == request.id and type(again) is type(request)
    deduplicated, ranking = top.selection.ranking, plain.selection.ranking
    assert stages([top, random])[-1] == [top] and set(random.needs) == {deduplicated}
    assert set(top.needs) == {ranking, deduplicated} and plain.needs == (ranking,)
    assert "share" not in plain.to_json()
    with pytest.raises(ValueError, match="less than or equal to 1"):
        rm.Deduplicated(ranking, 1.5)


@pytest.mark.parametrize("share", [None, 0.4])
def test_the_command_line_makes_scores_and_duplicates(
    share: float | None, tiny: Tiny, toy: rm.Corpus, tmp_path: Path
) -> None:
    from typer.testing import CliRunner

    from repmatch_lib.cli import app

    request = selection_of(tiny, toy, "top", share).ranking
    result = CliRunner().invoke(app, ["train", request.to_json(), "--out", str(tmp_path / "made.json")])
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "made.json").read_text())["rows"] == 30


def test_instances_to_be_read_are_the_ends_of_the_ranking(tuning_request: Callable[..., rm.FineTuning]) -> None:
    ranking = tuning_request("top").selection.ranking
    read = rm.Quoted(ranking, first=3, last=2).make(progress=False)
    scores, pool = ranking.make(progress=False).to_pandas().score, ranking.pool().named()
    order = sorted(range(len(scores)), key=lambda row: -scores[row])
    assert read.text.tolist() == pool.text.iloc[[*order[:3], *order[-2:]]].tolist()
    assert read.score.tolist() == sorted(read.score, reverse=True) and "class" in read
