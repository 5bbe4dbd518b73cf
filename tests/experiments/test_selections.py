"""Choices of instances as requests."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

import repmatch_lib as rm


def test_a_random_draw_needs_no_scores(tuning_request: Callable[..., rm.FineTuning]) -> None:
    needs = {rule: bool(tuning_request(rule).needs) for rule in ("top", "lowest", "highest loss", "longest", "random")}
    assert needs == {"top": True, "lowest": True, "highest loss": True, "longest": False, "random": False}
    assert tuning_request("random", balance="top").needs and not tuning_request("random", balance="label").needs


def test_a_pool_is_at_most_what_there_is(toy: rm.Corpus) -> None:
    ranking = rm.Ranking(rm.Run(str(toy.task.file)), rows=10_000)
    assert len(ranking.pool()) == len(toy) and len(rm.Ranking(ranking.target, rows=7).pool()) == 7


def test_classes_are_needed_to_balance() -> None:
    with pytest.raises(ValueError, match="squad has no classes to balance: give balance=None"):
        rm.Selection(rm.Ranking(rm.Run("squad")), balance="label")


def test_a_choice_among_fewer_rows(tuning_request: Callable[..., rm.FineTuning]) -> None:
    selection = tuning_request("top").selection
    best = dataclasses.replace(selection, k=5).make(progress=False)
    among = dataclasses.replace(selection, k=5, among=10, draw=3)
    scores = dict(
        zip(
            selection.pool().table["id"].to_pylist(),
            selection.ranking.make(progress=False).to_pandas().score,
            strict=True,
        )
    )
    drawn = dataclasses.replace(among, k=10).make(progress=False).table["id"].to_pylist()
    chosen = among.make(progress=False).table["id"].to_pylist()
    assert len(drawn) == 10 and chosen == sorted(drawn, key=lambda one: -scores[one])[:5]
    assert chosen != best.table["id"].to_pylist()
    other = dataclasses.replace(among, k=10, draw=4).make(progress=False)
    assert set(drawn) != set(other.table["id"].to_pylist())
