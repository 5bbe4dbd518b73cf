"""Which instances a rule keeps, against sorting by hand; and the chain from a target to an accuracy."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import repmatch_lib as rm
from repmatch_lib.book import notebooks as runner
from repmatch_lib.experiments.catalogue import parse
from repmatch_lib.experiments.requests import stages
from repmatch_lib.instances import scoring as instances
from repmatch_lib.training import fine_tuning as tuning, loop
from repmatch_lib.training.heads import frozen_model

Tiny = Callable[[str], rm.Encoder]


@pytest.fixture
def table() -> pd.DataFrame:
    random = np.random.default_rng(1)
    return pd.DataFrame(
        {
            "label": random.choice(3, 60, p=[0.7, 0.2, 0.1]),
            "score": random.random(60).round(2),
            "loss": random.random(60),
            "words": random.integers(1, 9, 60),
        }
    )


def by_hand(values: pd.Series, k: int) -> list[int]:
    return sorted(range(len(values)), key=lambda row: (-values[row], row))[:k]


@pytest.mark.parametrize(
    ("rule", "column", "sign"),
    [("top", "score", 1), ("lowest", "score", -1), ("highest loss", "loss", 1), ("longest", "words", 1)],
)
def test_the_highest_values_are_kept(table: pd.DataFrame, rule: str, column: str, sign: int) -> None:
    assert rm.select(table, 11, rule=rule).tolist() == by_hand(sign * table[column], 11)


def test_ties_are_kept_in_the_order_of_the_rows() -> None:
    table = pd.DataFrame({"score": [1.0, 2.0, 1.0, 1.0], "label": 0})
    assert rm.select(table, 3).tolist() == [1, 0, 2]


def test_a_random_draw_is_its_seeds(table: pd.DataFrame) -> None:
    first, again, other = (rm.select(table, 20, rule="random", draw=draw).tolist() for draw in (3, 3, 4))
    assert first == again != other and len(set(first)) == 20


def test_balanced_takes_the_best_of_each_class(table: pd.DataFrame) -> None:
    kept = rm.select(table, 12, balance="label")
    for label in range(3):
        rows = table.index[table.label == label]
        mine = [row for row in kept if table.label[row] == label]
        assert len(mine) == 4 and table.score[mine].min() >= table.score[rows.difference(mine)].max() - 1e-12


def test_a_class_that_runs_out_leaves_its_places_to_the_others(table: pd.DataFrame) -> None:
    few = (table.label == 2).sum()
    counts = Counter(table.label[rm.select(table, 3 * few + 6, balance="label")])
    assert counts[2] == few and abs(counts[0] - counts[1]) <= 1 and counts.total() == 3 * few + 6


@pytest.mark.parametrize("rule", ["random", "lowest"])
def test_classes_as_in_the_top(table: pd.DataFrame, rule: str) -> None:
    top, kept = rm.select(table, 15), rm.select(table, 15, balance="top", rule=rule)
    assert Counter(table.label[kept]) == Counter(table.label[top]) and set(kept) != set(top)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 61}, "k = 61, but the pool has 60 instances"),
        ({"rule": "best"}, "rule = 'best', .* give one of top, lowest"),
        ({"balance": "classes"}, "balance = 'classes'"),
    ],
)
def test_what_cannot_be_selected(table: pd.DataFrame, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rm.select(table, **({"k": 5} | options))


# --- Requests ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def request_(toy: rm.Corpus, tiny: Tiny) -> Callable[..., rm.FineTuning]:
    def make(rule: str = "top", seed: int = 0, **settings: object) -> rm.FineTuning:
        run = rm.Run(str(toy.task.file), str(tiny("bert").folder), rank=1, rows=24, epochs=1, max_length=32, lr=1e-2)
        balance = settings.pop("balance", None)
        selection = rm.Selection(rm.Ranking(run, rows=30), rule, 10, balance, seed)
        return rm.FineTuning(selection, seed=seed, **({"lr": 5e-3, "epochs": 3, "max_length": 32} | settings))

    return make


def test_a_request_survives_the_command_line(request_: Callable[..., rm.FineTuning]) -> None:
    for request in (request_(), request_().selection.ranking, request_().selection.ranking.target):
        again = parse(request.to_json())
        assert again == request and again.id == request.id and type(again) is type(request)


@pytest.mark.parametrize("text", ["5", "[1]", "null"])
def test_what_is_no_object_is_no_request(text: str) -> None:
    with pytest.raises(ValueError, match="is not a JSON object: write"):
        parse(text)


def test_stages_put_first_what_is_needed(request_: Callable[..., rm.FineTuning]) -> None:
    top, random = request_("top"), request_("random", seed=1)
    first, second, third = stages([top, random, top])
    ranking = top.selection.ranking
    assert set(first) == {ranking.target, random} and second == [ranking] and third == [top]
    assert stages([]) == []


def test_a_random_draw_needs_no_scores(request_: Callable[..., rm.FineTuning]) -> None:
    needs = {rule: bool(request_(rule).needs) for rule in ("top", "lowest", "highest loss", "longest", "random")}
    assert needs == {"top": True, "lowest": True, "highest loss": True, "longest": False, "random": False}
    assert request_("random", balance="top").needs and not request_("random", balance="label").needs


def test_the_whole_chain_is_done_once(request_: Callable[..., rm.FineTuning], monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = request_().make(progress=False)
    ranking = request_().selection.ranking
    scores = ranking.make(progress=False).to_pandas()
    best = scores.id.iloc[by_hand(scores.score, 10)].tolist()
    assert outcome.instances == best and sum(outcome.labels.values()) == 10
    assert outcome.metric == "accuracy" and 0 <= outcome.value <= 1

    def never(*_: object, **__: object) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr(tuning, "fine_tune", never)
    monkeypatch.setattr(instances, "Job", never)
    assert request_().make(progress=False) == outcome


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
    request_: Callable[..., rm.FineTuning], toy: rm.Corpus
) -> None:
    request = request_()
    held_out = request.development().table["id"].to_pylist()
    pool = request.selection.pool().table["id"].to_pylist()
    assert len(pool) == 30 and sorted([*held_out, *pool]) == toy.table["id"].to_pylist()
    assert len(request_(evaluated=4).development()) == 4
    whole = replace(request, selection=rm.Selection(rm.Ranking(request.selection.ranking.target), k=3))
    with pytest.raises(ValueError, match="toy is one file of 40 rows.*leave 0 of them to evaluate on: lower rows"):
        whole.development()


def test_a_choice_that_cannot_be_made_is_refused() -> None:
    table = pd.DataFrame({"score": [0.1, 0.3, 0.2], "label": [0, 1, 0]})
    for k in (-1, 0, 4):
        with pytest.raises(ValueError, match=f"k = {k}, but the pool has 3 instances: give 1 to 3"):
            rm.select(table, k)
    with pytest.raises(ValueError, match="rule 'longest' looks at a column that the table lacks; it has score, label"):
        rm.select(table, 2, rule="longest")


def test_other_processes_make_each_request_once(
    request_: Callable[..., rm.FineTuning], own_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = [request_("top"), request_("random"), request_("top")]
    runner.prepare(wanted, progress=False)
    made = {kind: len(list((own_store / kind).glob("[!.]*"))) for kind in ("adapters", "scores", "outcomes")}
    assert made == {"adapters": 1, "scores": 1, "outcomes": 2}
    monkeypatch.setattr(tuning, "fine_tune", None)
    assert all(0 <= request.make(progress=False).value <= 1 for request in wanted)


def test_a_pool_is_at_most_what_there_is(toy: rm.Corpus) -> None:
    ranking = rm.Ranking(rm.Run(str(toy.task.file)), rows=10_000)
    assert len(ranking.pool()) == len(toy) and len(rm.Ranking(ranking.target, rows=7).pool()) == 7


def test_one_selection_by_two_rules_is_one_outcome(request_: Callable[..., rm.FineTuning], own_store: Path) -> None:
    outcomes = [request_("random", balance=balance, seed=2).make(progress=False) for balance in (None, None, "label")]
    assert outcomes[0] == outcomes[1]
    assert len(list((own_store / "outcomes").glob("[!.]*"))) == (1 if outcomes[0] == outcomes[2] else 2)


def test_classes_are_needed_to_balance() -> None:
    with pytest.raises(ValueError, match="squad has no classes to balance: give balance=None"):
        rm.Selection(rm.Ranking(rm.Run("squad")), balance="label")


@pytest.mark.parametrize("method", ["full", "lora"])
def test_what_a_method_trains(tiny: Tiny, toy: rm.Corpus, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    seen = {}
    fit = loop.fit

    def watched(model: object, *args: object) -> list[float]:
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        losses = fit(model, *args)
        seen["moved"] = {name for name, p in model.named_parameters() if not p.equal(before[name])}
        seen["all"] = set(before)
        return losses

    monkeypatch.setattr(loop, "fit", watched)
    rm.fine_tune(tiny("bert"), toy, toy, method=method, lr=1e-2, epochs=2, max_length=32, progress=False)
    of_head = {name for name in seen["all"] if "classifier" in name}
    if method == "full":
        assert seen["moved"] >= {name for name in seen["all"] if ".layer." in name and "weight" in name} | of_head
    else:
        assert seen["moved"] == {name for name in seen["all"] if "lora_" in name} | of_head


def test_fine_tuning_learns_and_starts_from_the_seed(tiny: Tiny, toy: rm.Corpus) -> None:
    tuned = [
        rm.fine_tune(tiny("bert"), toy, toy, seed=seed, lr=3e-3, epochs=epochs, max_length=32, progress=False)
        for seed, epochs in ((0, 12), (0, 12), (1, 12), (0, 1))
    ]
    assert tuned[0].value == tuned[1].value > 0.9 and tuned[3].value < tuned[0].value
    losses = [one.provenance["loss"]["last_epoch"] for one in tuned]
    assert losses[0] == losses[1] != losses[2]
    head = [
        dict(frozen_model(tiny("bert"), "classification", 2, seed).named_parameters())["classifier.weight"]
        for seed in (0, 1)
    ]
    assert not head[0].equal(head[1])


def test_a_command_makes_any_request(
    request_: Callable[..., rm.FineTuning], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from typer.testing import CliRunner

    from repmatch_lib.cli import app

    result = CliRunner().invoke(app, ["train", request_("random").to_json(), "--out", str(tmp_path / "made.json")])
    assert result.exit_code == 0, result.output
    assert request_("random").make(progress=False).provenance["measured"]["seconds"] > 0
    assert "evaluated_on" in (tmp_path / "made.json").read_text()


def test_results_do_not_depend_on_the_number_of_threads(
    request_: Callable[..., rm.FineTuning], own_store: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import torch

    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        try:
            found.append(request_().make(rm.Store(tmp_path / str(threads)), progress=False))
            assert torch.get_num_threads() == threads
        finally:
            torch.set_num_threads(1)
    same = [replace(one, provenance={}) for one in found]
    assert same[0] == same[1] and {one.provenance["training"]["threads"] for one in found} == {1}


def test_a_request_says_its_kind_and_is_read_again(request_: Callable[..., rm.FineTuning]) -> None:
    asked = request_()
    assert json.loads(asked.to_json())["kind"] == "fine-tuning" and parse(asked.to_json()) == asked
    assert parse('{"task": "sst2"}') == rm.Run("sst2")  # what most ask for needs not be said
    with pytest.raises(ValueError, match="unknown kind of request 'tuning': give one of run, full run, ranking"):
        parse('{"kind": "tuning"}')
    with pytest.raises(ValueError, match="rows_ = 3: there is no such setting; there are target, rows, sample_seed"):
        parse('{"kind": "ranking", "target": {"task": "sst2"}, "rows_": 3}')


def test_a_record_of_outcomes_names_the_adapters_behind_them(request_: Callable[..., rm.FineTuning]) -> None:
    top, random = request_("top"), request_("random", seed=1)
    outcomes = {request: request.make(progress=False) for request in (top, random)}
    record = rm.Record.of("demo", outcomes, {}, pd.DataFrame({"value": [1.0]}))
    target = rm.adapter(top.selection.ranking.target, progress=False)
    assert target.provenance["corpus"] in record.provenance["corpora"]
    seconds = [one.provenance["measured"]["seconds"] for one in (target, *outcomes.values())]
    assert record.measured["training_seconds"] == pytest.approx(sum(seconds), abs=0.1)
    assert record.parameters["selection.rule"] == ["top", "random"] and record.parameters["rank"] == [1, 4]
