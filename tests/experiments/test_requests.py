"""Requests as values: read again as they were written, and what is needed first."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import Command

import repmatch_lib as rm
from repmatch_lib.experiments.catalogue import parse
from repmatch_lib.experiments.requests import stages


def test_a_request_survives_the_command_line(tuning_request: Callable[..., rm.FineTuning]) -> None:
    for request in (tuning_request(), tuning_request().selection.ranking, tuning_request().selection.ranking.target):
        again = parse(request.to_json())
        assert again == request and again.id == request.id and type(again) is type(request)


@pytest.mark.parametrize("text", ["5", "[1]", "null"])
def test_what_is_no_object_is_no_request(text: str) -> None:
    with pytest.raises(ValueError, match="is not a JSON object: write"):
        parse(text)


def test_stages_put_first_what_is_needed(tuning_request: Callable[..., rm.FineTuning]) -> None:
    top, random = tuning_request("top"), tuning_request("random", seed=1)
    first, second, third = stages([top, random, top])
    ranking = top.selection.ranking
    assert set(first) == {ranking.target, random} and second == [ranking] and third == [top]
    assert stages([]) == []


def test_a_command_makes_any_request(
    tuning_request: Callable[..., rm.FineTuning], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from typer.testing import CliRunner

    from repmatch_lib.cli import app

    result = CliRunner().invoke(
        app, ["train", tuning_request("random").to_json(), "--out", str(tmp_path / "made.json")]
    )
    assert result.exit_code == 0, result.output
    assert tuning_request("random").make(progress=False).provenance["measured"]["seconds"] > 0
    assert "evaluated_on" in (tmp_path / "made.json").read_text()


def test_a_request_says_its_kind_and_is_read_again(tuning_request: Callable[..., rm.FineTuning]) -> None:
    asked = tuning_request()
    assert json.loads(asked.to_json())["kind"] == "fine-tuning" and parse(asked.to_json()) == asked
    assert parse('{"task": "sst2"}') == rm.Run("sst2")  # what most ask for needs not be said
    with pytest.raises(ValueError, match="unknown kind of request 'tuning': give one of run, full run, instance"):
        parse('{"kind": "tuning"}')
    with pytest.raises(ValueError, match="rows_ = 3: there is no such setting; there are target, rows, sample_seed"):
        parse('{"kind": "ranking", "target": {"task": "sst2"}, "rows_": 3}')


def test_a_request_that_is_no_run(command: Command) -> None:
    for request, message in (
        ("{", "not JSON"),
        ('{"task": "sst2", "rnak": 3}', "rnak"),
        ('{"rank": 3}', "task"),
        ('["sst2"]', "not a JSON object"),
    ):
        code, _, text = command("train", request)
        assert code not in (0, None) and message in text and "Traceback" not in text
