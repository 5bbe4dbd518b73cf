"""Several targets in one pass: each as if it were alone, whatever is stopped, and refused where they cannot share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers import CALL, Tiny, forty, train, varied

import repmatch_lib as rm
from repmatch_lib.instances.engine import InstanceModel


@pytest.fixture
def targets(tiny: Tiny) -> list[rm.Adapter]:
    """Three trainings under one head from one start."""
    return [train(tiny("bert"), forty(), start_seed=5, seed=seed) for seed in (1, 2, 3)]


@pytest.mark.parametrize("how", [{}, {"steps": 2}, {"measure": "cosine"}, {"side": "right"}])
def test_each_is_as_if_alone(tiny: Tiny, targets: list[rm.Adapter], how: dict[str, Any]) -> None:
    data = varied()
    together = rm.score_against_each(tiny("bert"), data, targets, **how, **CALL)
    assert together is not None
    for target, scores in zip(targets, together, strict=True):
        alone = rm.score_instances(tiny("bert"), data, target, **how, **CALL)
        assert alone is not None
        assert scores.table.equals(alone.table)
        assert scores.made_of == alone.made_of
    assert not together[0].table.equals(together[1].table)


def test_the_model_passes_once(tiny: Tiny, targets: list[rm.Adapter], monkeypatch: pytest.MonkeyPatch) -> None:
    rows, update = [], InstanceModel.update

    def counted(engine: InstanceModel, batch: dict[str, Any], steps: int) -> Any:
        rows.append(len(batch["input_ids"]))
        return update(engine, batch, steps)

    monkeypatch.setattr(InstanceModel, "update", counted)
    rm.score_against_each(tiny("bert"), varied(), targets, **CALL)
    assert sum(rows) == len(varied())


def test_a_stopped_scoring_goes_on(tiny: Tiny, targets: list[rm.Adapter], tmp_path: Path) -> None:
    whole = rm.score_against_each(tiny("bert"), varied(), targets, **CALL)
    there = rm.score_against_each(tiny("bert"), varied(), targets, out=tmp_path, **CALL)
    again = rm.score_against_each(tiny("bert"), varied(), targets, out=tmp_path, **CALL)
    assert whole and there and again
    for a, b, c in zip(whole, there, again, strict=True):
        assert a.table.equals(b.table) and b.table.equals(c.table)
    with pytest.raises(ValueError, match="holds scores of something else: .*target was"):
        rm.score_against_each(tiny("bert"), varied(), targets[:2], out=tmp_path, **CALL)


def test_targets_that_cannot_share_are_refused(tiny: Tiny, targets: list[rm.Adapter]) -> None:
    other = train(tiny("bert"), forty(), head_seed=1, start_seed=6)
    with pytest.raises(ValueError, match=r"share one head_seed: .*asks for 0, .*for 1\. Give head_seed="):
        rm.score_against_each(tiny("bert"), varied(), [targets[0], other], **CALL)
    assert rm.score_against_each(tiny("bert"), varied(), [targets[0], other], head_seed=1, **CALL)
    with pytest.raises(ValueError, match="share one seed"):
        rm.score_against_each(tiny("bert"), varied(), [targets[0], other], head_seed=1, measure="cosine", **CALL)
    with pytest.raises(ValueError, match="at least one"):
        rm.score_against_each(tiny("bert"), varied(), [], **CALL)
