"""All pairs of tasks at once against one pair at a time."""

from __future__ import annotations

import json
import re
from itertools import permutations

import numpy as np
import pandas as pd
import pytest
import torch
from explorer import page, page_numbers

import repmatch_lib as rm
from repmatch_lib.book.records import Record

TASKS, SEEDS, LAYERS, WIDTH = ("sst2", "imdb", "mnli"), (3, 5, 8, 9), 2, 16
LAYER = "base_model.model.encoder.layer.{}.attention.self.value.lora_{}.weight"


def random_adapter(seed: int, rank: int = 3, width: int = WIDTH, base: str = "one") -> rm.Adapter:
    random = torch.Generator().manual_seed(seed)
    tensors = {}
    for k in range(LAYERS):
        tensors[LAYER.format(k, "A")] = torch.randn(rank, width, generator=random)
        tensors[LAYER.format(k, "B")] = torch.randn(width, rank, generator=random)
    return rm.Adapter(tensors, {"base_model_name_or_path": base}, name=f"adapter {seed}")


@pytest.fixture(scope="module")
def adapters() -> dict[tuple[str, int], rm.Adapter]:
    return {(t, s): random_adapter(100 * k + s) for k, t in enumerate(TASKS) for s in SEEDS}


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize(("a", "b"), [("sst2", "mnli"), ("mnli", "sst2"), ("imdb", "imdb")])
def test_is_the_mean_of_pairs_compared_one_by_one(adapters: dict, side: str, a: str, b: str) -> None:
    found = rm.compare_all(adapters, side=side)
    singly = [rm.repmatch(adapters[a, s], adapters[b, t], side=side) for s, t in permutations(SEEDS, 2)]
    assert found.score(a, b).value == pytest.approx(np.mean([one.score for one in singly]))
    for layer in range(1, LAYERS + 1):
        expected = np.mean([one.layers[layer - 1] for one in singly])
        assert found.score(a, b, layer).value == pytest.approx(expected)
    torch.testing.assert_close(found.grid(a, b), torch.stack([one.grid for one in singly]).mean(0))


def test_interval_leaves_out_a_seed_of_both_tasks(adapters: dict) -> None:
    def over(kept: list[int]) -> float:
        return float(
            np.mean([rm.repmatch(adapters["sst2", s], adapters["imdb", t]).score for s, t in permutations(kept, 2)])
        )

    found, expected = rm.compare_all(adapters).score("sst2", "imdb"), rm.jackknife(SEEDS, over)
    assert (found.low, found.high, found.n) == (pytest.approx(expected.low), pytest.approx(expected.high), len(SEEDS))


def test_table_has_each_pair_once_with_the_chance_of_its_rank(adapters: dict) -> None:
    found = rm.compare_all(adapters)
    table = found.to_pandas()
    pairs = [(a, b) for k, a in enumerate(TASKS) for b in TASKS[k:]]
    assert list(zip(table.a, table.b, strict=True)) == [pair for pair in pairs for _ in range(LAYERS)]
    assert list(table.layer) == list(range(1, LAYERS + 1)) * len(pairs)
    null = rm.chance_scores(WIDTH, 3, 3)
    assert set(table.chance) == {float(null.mean())} and set(table.chance_95) == {float(null.quantile(0.95))}
    last = table.iloc[-1]
    np.testing.assert_allclose(last["grid"], found.grid("mnli", "mnli")[-1], atol=5e-5)
    assert last.score == found.score("mnli", "mnli", LAYERS).value


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({("imdb", 5): None}, r"no adapter for \('imdb', 5\)"),
        ({("imdb", 5): random_adapter(0, rank=2)}, r"ranks \[2, 3\]"),
        ({("imdb", 5): random_adapter(0, width=8)}, "widths differ"),
        ({("imdb", 5): random_adapter(0, base="other")}, "cannot be compared"),
        ({(t, s): None for t in TASKS for s in SEEDS[1:]}, "one seed, 3"),
    ],
)
def test_what_cannot_be_compared_is_refused(adapters: dict, change: dict, message: str) -> None:
    changed = {key: one for key, one in (adapters | change).items() if one is not None}
    with pytest.raises(ValueError, match=message):
        rm.compare_all(changed)


def test_page_numbers_are_the_record_s(adapters: dict) -> None:
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
    assert (numbers["class"], numbers["ranks"], numbers["layers"]) == ("recorded", [3], LAYERS)
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
