"""Records are read as they were written, or refused."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

import repmatch_lib as rm

ESTIMATES = {"same": rm.Estimate(0.81, 0.7, 0.9, 3, "seed"), "alone": rm.Estimate(0.3, math.nan, math.nan, 1, "seed")}


@pytest.fixture
def record() -> rm.Record:
    runs = [rm.Run("sst2", seed=seed) for seed in (0, 1)]
    made = [
        {
            "encoder": {"name": "minilm", "weights_sha256": "ab"},
            "corpus": {"task": "sst2", "rows": 40, "source": "mini:sst2/train.parquet", "fingerprint": "cd"},
            "training": {"rank": 4, "seed": run.seed},
            "software": {"python": "3.11"},
            "measured": {"seconds": 1.25 + run.seed},
        }
        for run in runs
    ]
    adapters = {
        run: rm.Adapter({"w": torch.zeros(1)}, {}, provenance) for run, provenance in zip(runs, made, strict=True)
    }
    rows = pd.DataFrame({"pair": ["a | b", "a | c"], "score": [1 / 3, math.nan]})
    return rm.Record.of("demo", adapters, ESTIMATES, rows)


def test_what_a_record_holds(record: rm.Record) -> None:
    assert record.parameters["seed"] == [0, 1] and record.parameters["task"] == "sst2"
    assert record.parameters["modules"] == ["value"]
    assert record.provenance["training"] == {"rank": 4, "seed": [0, 1]}
    assert [c["fingerprint"] for c in record.provenance["corpora"]] == ["cd"]
    assert record.measured == {"training_seconds": 3.5}
    assert record.table["score"][0] == pytest.approx(1 / 3, abs=1e-12)


def test_round_trip(record: rm.Record, tmp_path: Path) -> None:
    file = tmp_path / "deep" / "record.json"
    record.save(file)
    again = rm.Record.load(file)
    assert again.digest == record.digest == json.loads(file.read_text())["digest"]
    assert again.estimates["same"] == ESTIMATES["same"] and math.isnan(again.estimates["alone"].high)
    for name in ("experiment", "parameters", "rows", "provenance", "measured"):
        assert getattr(again, name) == getattr(record, name)
    again.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == file.read_bytes()


def test_the_digest_is_of_the_result(record: rm.Record) -> None:
    slower = dataclasses.replace(record, measured={"training_seconds": 99.0})
    assert slower.digest == record.digest
    others: list[dict[str, Any]] = [
        {"experiment": "other"}, {"rows": record.rows[:1]}, {"parameters": {}}, {"provenance": {}},
        {"estimates": ESTIMATES | {"same": dataclasses.replace(ESTIMATES["same"], value=0.82)}},
        {"estimates": ESTIMATES | {"alone": dataclasses.replace(ESTIMATES["alone"], low=0.0)}},
    ]  # fmt: skip
    assert len({record.digest, *(dataclasses.replace(record, **other).digest for other in others)}) == 7


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"value": 0.81', '"value": 0.91'),
        ('"rank": 4', '"rank": 8'),
        ('"digest": "', '"digest": "0'),
        ("a | c", "a | d"),
    ],
)
def test_a_file_changed_by_hand_is_refused(record: rm.Record, tmp_path: Path, old: str, new: str) -> None:
    file = tmp_path / "record.json"
    record.save(file)
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    with pytest.raises(ValueError, match=r"record\.json was changed by hand.*run its notebook again"):
        rm.Record.load(file)


def test_a_record_of_several_encoders_names_them_all(record: rm.Record, tmp_path: Path) -> None:
    assert record.provenance["encoder"] == {"name": "minilm", "weights_sha256": "ab"}
    made = {
        rm.Run("sst2", encoder=name): rm.Adapter(
            {"w": torch.zeros(1)},
            {},
            {
                "encoder": {"name": name, "weights_sha256": digest * 64},
                "corpus": {"task": "sst2", "rows": 40, "source": "mini:sst2/train.parquet", "fingerprint": "cd"},
                "training": {"rank": 4, "lr": 1e-2, "epochs": 2, "precision": "float32", "device": "cpu"},
                "software": rm.recorded("layers").provenance["software"],
                "measured": {"seconds": 60.0},
            },
        )
        for name, digest in (("minilm", "a"), ("minilm:layers-2", "b"))
    }
    rm.Record.of("demo", made, ESTIMATES, pd.DataFrame({"score": [0.5]})).save(tmp_path / "demo.json")
    names = {"name": ["minilm", "minilm:layers-2"], "weights_sha256": ["a" * 64, "b" * 64]}
    assert rm.Record.load(tmp_path / "demo.json").provenance["encoder"] == names
    head, _, row = (
        [cell.strip() for cell in line.strip("| ").split("|")]
        for line in rm.recorded_with(tmp_path).data.splitlines()
        if line.startswith("|")
    )
    assert dict(zip(head, row, strict=True)) == {
        "experiment": "demo", "encoder": "minilm, minilm:layers-2",
        "weights (SHA-256)": "`aaaaaaaaaaaa…`, `bbbbbbbbbbbb…`", "corpora": "mini", "rows": "all", "rank": "4",
        "learning rate": "0.01", "training length": "2 epochs", "precision": "float32", "device": "cpu",
        "training": "2 min",
    }  # fmt: skip
    assert list(rm.execution(tmp_path).encoder) == ["minilm, minilm:layers-2"]


def test_a_record_of_outcomes_names_the_adapters_behind_them(tuning_request: Callable[..., rm.FineTuning]) -> None:
    top, random = tuning_request("top"), tuning_request("random", seed=1)
    outcomes = {request: request.make(progress=False) for request in (top, random)}
    record = rm.Record.of("demo", outcomes, {}, pd.DataFrame({"value": [1.0]}))
    target = rm.adapter(top.selection.ranking.target, progress=False)
    assert target.provenance["corpus"] in record.provenance["corpora"]
    seconds = [one.provenance["measured"]["seconds"] for one in (target, *outcomes.values())]
    assert record.measured["training_seconds"] == pytest.approx(sum(seconds), abs=0.1)
    assert record.parameters["selection.rule"] == ["top", "random"] and record.parameters["rank"] == [1, 4]
