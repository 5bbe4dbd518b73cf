"""Duplicates that are known beforehand: by hand, and searched again without a group of rows."""

import dataclasses
import math

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

import repmatch_lib as rm


def at_angles(degrees: list[float]) -> torch.Tensor:
    angles = torch.tensor(degrees) * math.pi / 180
    return torch.stack([angles.cos(), angles.sin()], 1)


# Pairs of rows 1 degree apart, 0.00015 by cosine; the pairs are far from each other.
PAIRS = at_angles([0, 1, 90, 91, 180, 181, 270, 271])
LABELS = [0, 0, 0, 1, 0, 0, 1, 1]


def test_kept_and_other_label_by_hand():
    search = rm.DuplicateSearch(PAIRS, LABELS, groups=4)  # each group is one pair
    assert search.kept(0.001).value == 50
    assert search.kept(0.001).low == search.kept(0.001).high == 50  # of the other three pairs one row stays, too
    assert search.kept(1e-6).value == 100
    assert search.other_label(0.001).value == 25
    # Without the mixed pair none has another label, without another one a third of them do.
    expected = rm.jackknife(range(4), lambda kept: 100 * (1 in kept) / len(kept), "group of rows", (0, 100))
    assert search.other_label(0.001) == expected
    assert math.isnan(search.other_label(1e-6).value)


def test_difference_of_two_searches_leaves_out_the_same_groups():
    search = rm.DuplicateSearch(PAIRS, LABELS, groups=4)
    lone = rm.DuplicateSearch(at_angles([0, 45, 90, 135, 180, 225, 270, 315]), LABELS, groups=4)
    difference = search.kept(0.001, less=lone)
    assert (difference.value, difference.low, difference.high) == (-50, -50, -50)
    assert search.other_label(0.001, less=search).value == 0


def test_estimates_of_several_corpora():
    searches = {"a": rm.DuplicateSearch(PAIRS, LABELS, 4), "b": rm.DuplicateSearch(PAIRS[::2], LABELS[::2], 4)}
    estimates = rm.duplicate_estimates(searches, [1e-6, 0.001], 0.001)
    assert estimates["a kept at 0.001"].value == 50
    assert estimates["b kept at 0.001"].value == 100
    assert estimates["b kept - a kept"].value == 50
    assert "a kept - a kept" not in estimates


@pytest.fixture
def planted() -> rm.Planted:
    data = rm.load(rm.task("sst2"), source="mini", rows=60)
    return rm.Planted.into(data, rm.load(rm.task("stsb"), source="mini"), 5)


def test_planted_pairs_are_what_they_are_called(planted):
    texts = planted.data.table["text"].to_pylist()
    assert len(texts) == 60 + 5 + len(planted.pairs["near"]) + 2 * len(planted.pairs["paraphrase"])
    assert len(planted.pairs["exact"]) == 5 and 0 < len(planted.pairs["near"]) <= 5
    for row, copy in planted.pairs["exact"]:
        assert texts[row] == texts[copy] and row < 60 <= copy
    for row, copy in planted.pairs["near"]:
        long, short = texts[row], texts[copy]
        assert len(long.split()) >= 8 and row >= 5
        assert short in {long[:cut] + long[cut + 1 :] for cut in range(len(long))}
    stsb = rm.load(rm.task("stsb"), source="mini").table.to_pandas()
    score_of = dict(zip(zip(stsb.text, stsb.text_pair, strict=True), stsb.label, strict=True))
    assert planted.pairs["paraphrase"]
    assert all(score_of[texts[one], texts[other]] >= 4.8 for one, other in planted.pairs["paraphrase"])
    assert len({copy for pairs in planted.pairs.values() for _, copy in pairs}) == sum(map(len, planted.pairs.values()))


def test_recall_and_precision_by_hand():
    data = rm.load(rm.task("sst2"), source="mini", rows=8)
    planted = rm.Planted(data, {"exact": [(0, 1), (2, 4)], "near": [(5, 6)]})
    search = rm.near_duplicates(PAIRS, 1, progress=False)
    dropped = set(search.dropped(0.001).tolist())
    assert all(len({first, first + 1} & dropped) == 1 for first in (0, 2, 4, 6))  # one of each pair goes
    recovered = [bool(dropped & {0, 1}), bool(dropped & {2, 4})]
    assert planted.recall("exact", search, 0.001).value == 50 * sum(recovered)
    of_planted = sum(row in {0, 1, 2, 4, 5, 6} for row in dropped)
    assert planted.precision(search, 0.001).value == 100 * of_planted / 4
    estimates = planted.estimates(search, {}, [1e-6, 0.001], 0.001)
    assert estimates["exact found at 1e-06"].value == 0 and math.isnan(estimates["precision at 1e-06"].value)
    assert estimates["exact found at 0.001"].value == 50 * sum(recovered)
    assert not any("clusters" in name for name in estimates)


def test_only_the_clusters_that_were_searched_are_reported():
    planted = rm.Planted(rm.load(rm.task("sst2"), source="mini", rows=8), {"exact": [(0, 1)], "near": [(2, 3)]})
    apart = rm.near_duplicates(at_angles([0, 45, 90, 135, 180, 225, 270, 315]), 1, progress=False)  # finds none
    alike = rm.near_duplicates(PAIRS, 1, progress=False)  # finds all
    estimates = planted.estimates(apart, {4: alike, 7: apart}, [0.001], 0.001)
    by_clusters = {name: estimate.value for name, estimate in estimates.items() if "clusters" in name}
    assert by_clusters == {
        "exact found in clusters 4": 100,
        "exact found in clusters 7": 0,
        "near found in clusters 4": 100,
        "near found in clusters 7": 0,
    }
    assert estimates["exact found at 0.001"].value == 0


def test_which_rows_are_planted_by_hand():
    seven, eight = "a b c d e f g", "a b c d e f g h"
    data = rm.load(rm.task("sst2"), source="mini", rows=4)
    data = dataclasses.replace(data, table=pa.table({"text": [eight, "x", seven, eight], "label": [0] * 4}))
    pairs = rm.load(rm.task("stsb"), source="mini")
    scored = [("p", "q", 5.0), ("p", "r", 5.0), ("s", "q", 5.0), ("t", "t", 5.0), ("u", "v", 4.7), ("w", "y", 4.8)]
    scored.append(("z", "zz", 5.0))
    columns = dict(zip(("text", "text_pair", "label"), zip(*scored, strict=True), strict=True))
    pairs = dataclasses.replace(pairs, table=pa.table(columns))
    planted = rm.Planted.into(data, pairs, 2)
    # Of the rows after the first two only the last has eight words; no text is in two paraphrases; z is the third.
    cut = "a b c de f g h"
    assert planted.data.table["text"].to_pylist() == [eight, "x", seven, eight, eight, "x", cut, "p", "q", "w", "y"]
    assert planted.pairs == {"exact": [(0, 4), (1, 5)], "near": [(3, 6)], "paraphrase": [(7, 8), (9, 10)]}


def test_exact_copies_are_found_whatever_the_clusters(planted):
    rows = planted.data.table["text"].to_pylist()
    codes = pd.factorize(pd.Series(rows))[0]
    vectors = torch.nn.functional.one_hot(torch.from_numpy(codes)).float()  # one direction a text
    for clusters in (1, 4):
        search = rm.near_duplicates(vectors, clusters, progress=False)
        assert planted.recall("exact", search, 0.01).value == 100


def test_nearest_pairs_are_read_with_their_labels(tmp_path):
    texts = ["one", "one!", "two", "two!"]
    pd.DataFrame({"text": texts, "label": ["no", "yes", "no", "no"]}).to_csv(tmp_path / "rows.csv")
    data = rm.load(rm.Task.from_file(tmp_path / "rows.csv", text="text", label="label"))
    vectors = at_angles([0, 2, 90, 91])
    (first, second) = rm.nearest_pairs(rm.near_duplicates(vectors, 1, progress=False), data, 0.1).itertuples()
    assert {first[3], first[4]} == {"two (no)", "two! (no)"}  # nearest first
    assert {second[3], second[4]} == {"one (no)", "one! (yes)"}
    assert first.similarity == pytest.approx(math.cos(math.pi / 180))


def test_repetition_of_chosen_rows():
    data = rm.load(rm.task("sst2"), source="mini", rows=8)
    ids = data.table["id"].to_pylist()
    got = rm.repetition(PAIRS, data, {7: [ids[0], ids[1]], 8: [ids[0], ids[2], ids[4]]})
    assert got[7] == pytest.approx(math.cos(math.pi / 180))
    # 0, 90 and 180 degrees: the one in the middle is the most central and comes last, at right angles to both.
    assert got[8] == pytest.approx((-1 + 0) / 2, abs=1e-6)


def test_costs_count_the_cosines_that_clusters_need():
    table = rm.search_costs([60, 120], width=8)
    assert table.rows.tolist() == [60, 120] and (table.clusters == 1).all()
    np.testing.assert_allclose(table["cosines, millions"] * 1e6, [60 * 59 / 2, 120 * 119 / 2])
    # 60 vectors of 8 twice and 60 x 60 cosines are 960 + 3600 numbers of 4 bytes; of 120, 1920 + 14400.
    np.testing.assert_allclose(table["vectors twice and a block, GB"] * 1e9, [4 * 4560, 4 * 16320])
    assert (table.seconds > 0).all()
