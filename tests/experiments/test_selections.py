"""Choices of instances as requests."""

from __future__ import annotations

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
