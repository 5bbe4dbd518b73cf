"""What a model knows of its task: constant answers by hand, and adapters that learned and that did not."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import Tiny, sentences, train
from scipy.stats import ttest_1samp

import repmatch_lib as rm
from repmatch_lib.book.tables import learned
from repmatch_lib.training import knowledge as module
from repmatch_lib.training.knowledge import constant_loss, knowledge


def test_losses_of_constant_answers_by_hand() -> None:
    labels = torch.tensor([0, 0, 0, 1])
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert constant_loss({"labels": labels}, "classification") == pytest.approx(entropy)
    ends = {"start_positions": labels, "end_positions": torch.tensor([2, 2, 2, 2])}
    assert constant_loss(ends, "span") == pytest.approx(entropy / 2)
    assert constant_loss({"labels": torch.tensor([1.0, 3.0])}, "regression") == pytest.approx(1)


def answering(monkeypatch: pytest.MonkeyPatch, answers: list, dev: rm.Corpus) -> module.Knowledge:
    monkeypatch.setattr(module, "predictions", lambda *given, **settings: np.array(answers))
    return knowledge(torch.nn.Identity(), None, dev)


def test_classes_are_compared_with_the_commonest_row_by_row(monkeypatch: pytest.MonkeyPatch) -> None:
    dev = sentences([f"text {k}" for k in range(10)], [0] * 6 + [1] * 4)
    known = answering(monkeypatch, [0] * 6 + [1, 1, 1, 0], dev)
    assert (known.metric, known.value, known.constant, known.rows) == ("accuracy", 0.9, 0.6, 10)
    leads = [0] * 6 + [1, 1, 1, 0]
    expected = ttest_1samp(leads, 0, alternative="greater").confidence_interval(0.95).low
    assert known.lead_low == pytest.approx(expected) and known.lead_low > 0
    floor = answering(monkeypatch, [0] * 10, dev)
    assert (floor.value, floor.constant, floor.lead_low) == (0.6, 0.6, 0)


def test_ranks_are_compared_with_none(monkeypatch: pytest.MonkeyPatch) -> None:
    dev = rm.load(rm.task("stsb"), "validation", "mini", rows=30)
    scores = dev.table["label"].to_pylist()
    assert answering(monkeypatch, scores, dev).lead_low == 1
    assert answering(monkeypatch, [2.5] * 30, dev).lead_low <= 0
    noise = np.random.default_rng(0).normal(size=30)
    between = answering(monkeypatch, list(np.array(scores) + noise), dev)
    low = math.tanh(math.atanh(between.value) - 1.6449 / math.sqrt(27))
    assert between.lead_low == pytest.approx(low) and 0 < low < between.value


def test_answers_are_compared_with_the_commonest(monkeypatch: pytest.MonkeyPatch) -> None:
    dev = rm.load(rm.task("squad"), "validation", "mini", rows=12)
    right = [answers[0] for answers in dev.table["answers"].to_pylist()]
    known = answering(monkeypatch, right, dev)
    assert (known.metric, known.value) == ("f1", 1) and known.constant < 0.5 and known.lead_low > 0


def test_an_adapter_says_what_it_learned(tiny: Tiny) -> None:
    words = ["good", "bad"]
    data = sentences([f"{words[k % 2]} film number {k}" for k in range(40)], [k % 2 for k in range(40)])
    taught = train(tiny("bert"), data, dev=data, epochs=40, lr=3e-2, dropout=False).provenance
    untaught = train(tiny("bert"), data, dev=data, epochs=1, lr=1e-6).provenance
    assert taught["learned"]["lead_low"] > 0 and taught["learned"]["value"] > 0.9
    assert untaught["learned"]["lead_low"] <= 0
    assert taught["loss"]["constant"] == pytest.approx(math.log(2))
    assert taught["loss"]["last_epoch"] < taught["loss"]["constant"]
    assert taught["evaluated_on"] == {"rows": 40, "source": data.source, "fingerprint": data.fingerprint}


def test_the_adapter_is_the_same_whether_it_is_asked_or_not(tiny: Tiny) -> None:
    data = sentences([f"text {k}" for k in range(20)], [k % 2 for k in range(20)])
    asked, not_asked = train(tiny("bert"), data, dev=data), train(tiny("bert"), data)
    assert all(torch.equal(asked.tensors[name], tensor) for name, tensor in not_asked.tensors.items())


@pytest.mark.usefixtures("own_store")
def test_a_record_says_what_its_adapters_learned() -> None:
    runs = rm.grid(task=["sst2", "stsb"], seed=[0, 1], source="mini", rows=24, epochs=1, max_length=32, rank=1)
    made = {run: rm.adapter(run, progress=False) for run in runs}
    record = rm.Record.of("x", made, {}, pd.DataFrame())
    assert [(entry["task"], entry["seed"]) for entry in record.provenance["learned"]] == [
        ("sst2", 0), ("sst2", 1), ("stsb", 0), ("stsb", 1)
    ]  # fmt: skip
    assert {entry["metric"] for entry in record.provenance["learned"]} == {"accuracy", "spearman"}
    entry = record.provenance["learned"][0]
    assert entry["rows"] == 100 < len(rm.load(rm.task("sst2"), "validation", "mini"))
    table = learned(record).data
    assert "| SST-2 | this build | 2 |" in table and "| STS-B | this build | 2 |" in table


def test_a_task_of_one_file_is_asked_on_the_rows_that_are_left(tmp_path: Path) -> None:
    columns = {"text": [f"text {k}" for k in range(20)], "label": ["no", "yes"] * 10}
    pd.DataFrame(columns).to_csv(tmp_path / "own.csv", index=False)
    run = rm.Run(str(tmp_path / "own.csv"), rows=12)
    trained, left = (corpus.table["id"].to_pylist() for corpus in (run.rows_of(), run.development()))
    assert sorted(trained + left) == list(range(20))
    assert rm.Run(str(tmp_path / "own.csv"), rows=20).development() is None
