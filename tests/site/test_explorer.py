"""The explorer page shows the record's numbers."""

from __future__ import annotations

import json
import re

import numpy as np
import pandas as pd
import pytest
from explorer import page, page_numbers
from helpers import drawn_adapter

import repmatch_lib as rm
from repmatch_lib.book.records import Record

TASKS, SEEDS = ("sst2", "imdb", "mnli"), (3, 5, 8, 9)


def test_page_numbers_are_the_record_s() -> None:
    adapters = {(t, s): drawn_adapter(100 * k + s) for k, t in enumerate(TASKS) for s in SEEDS}
    found = {side: rm.compare_all(adapters, side=side) for side in ("left", "right")}
    pairs = [(a, b) for k, a in enumerate(TASKS) for b in TASKS[k:]]
    record = Record(
        "explorer",
        {"rows": 1000, "lr": 2e-3, "seed": list(SEEDS)},
        {f"{a}|{b}, rank 3, {side}": one.score(a, b) for side, one in found.items() for a, b in pairs},
        pd.concat([one.to_pandas().assign(rank=3, side=side) for side, one in found.items()]).to_dict("records"),
        {"encoder": {"name": "minilm"}, "corpora": [{"source": "local:sst2/train.parquet"}]},
        {},
    )
    shown = json.loads(re.search(r">(.*)</script>", page([page_numbers("recorded", record)]))[1])
    (numbers,) = shown
    assert (numbers["class"], numbers["ranks"], numbers["layers"]) == ("recorded", [3], 2)
    assert "recorded run" in numbers["settings"] and "1,000 rows" in numbers["settings"]
    assert list(numbers["entries"]) == [f"{a}|{b}|3|{side}" for side in found for a, b in pairs]
    entry, one = numbers["entries"]["sst2|mnli|3|right"], found["right"]
    assert entry["score"][0] == pytest.approx(one.score("sst2", "mnli").value, abs=5e-5)
    assert [layer[0] for layer in entry["layers"]] == pytest.approx(
        [one.score("sst2", "mnli", layer).value for layer in (1, 2)], abs=5e-5
    )
    np.testing.assert_allclose(entry["grids"], one.grid("sst2", "mnli"), atol=1e-4)
    assert entry["chance_95"] == pytest.approx(one.chance_95, abs=5e-5)


def test_no_text_ends_the_script() -> None:
    shown = page([{"tasks": {"<!--<script>.csv": "</script><b>"}}])
    data = shown.partition(">")[2].partition("</script>")[0]
    assert "<" not in data and json.loads(data) == [{"tasks": {"<!--<script>.csv": "</script><b>"}}]
