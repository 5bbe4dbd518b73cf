"""SemDeDup against its definition written out pair by pair, on vectors and on planted copies of texts."""

from __future__ import annotations

import dataclasses
import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import Tensor

import repmatch_lib as rm
from repmatch_lib.selection import duplicates


def vectors(rows: int, width: int = 16, seed: int = 0) -> np.ndarray:
    """A third scattered, a third in tight groups, a third copies with a little noise; in random order."""
    random = np.random.default_rng(seed)
    scattered = random.normal(size=(rows // 3, width))
    groups = random.normal(size=(20, width))[random.integers(20, size=rows // 3)]
    grouped = groups + 0.2 * random.normal(size=groups.shape)
    copies = scattered[random.integers(len(scattered), size=rows - 2 * (rows // 3))]
    copies = copies + 0.02 * random.normal(size=copies.shape)
    return random.permutation(np.concatenate([scattered, grouped, copies])).astype(np.float32)


def by_definition(rows: np.ndarray, cluster: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Similarity to the nearest row before, and its number, one row after the other from the full matrix."""
    lengths = np.sqrt((rows.astype(np.float64) ** 2).sum(1))
    unit = (rows / lengths[:, None]).astype(np.float32).astype(np.float64)  # as the library holds them
    similarity, neighbour = np.full(len(rows), -1.0), np.full(len(rows), -1)
    for number in np.unique(cluster):
        inside = [row for row in range(len(rows)) if cluster[row] == number]
        centroid = sum(unit[row] for row in inside) / len(inside)
        order = sorted(inside, key=lambda row: (unit[row] @ centroid, row))
        cosines = unit[order] @ unit[order].T
        for place in range(1, len(order)):
            before = int(np.argmax(cosines[place, :place]))
            similarity[order[place]], neighbour[order[place]] = cosines[place, before], order[before]
    return similarity, neighbour


@pytest.mark.parametrize("clusters", [1, 9])
def test_every_pair_of_a_cluster_is_compared(clusters: int) -> None:
    rows = vectors(5000)
    found = rm.near_duplicates(rows, clusters, block=700, progress=False)
    assert len(set(found.cluster)) == clusters
    similarity, neighbour = by_definition(rows, found.cluster)
    np.testing.assert_allclose(found.similarity, similarity, atol=1e-6)
    other = found.neighbour != neighbour  # two neighbours may be as near to rounding
    assert other.mean() < 1e-3 and ((found.neighbour < 0) == (neighbour < 0)).all()
    for eps in (1e-3, 0.05, 0.3):
        expected = np.flatnonzero(similarity <= 1 - eps)
        assert 0 < len(expected) < len(rows) and len(np.setxor1d(found.kept(eps), expected)) <= 1


def test_six_vectors_by_hand() -> None:
    """Angles from the first axis in degrees. The centroid points to 30; the farthest from it comes first."""
    degrees = np.array([0, 10, 30, 32, 50, 58])
    rows = np.stack([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))], axis=1)
    mean = rows.mean(0)
    assert np.degrees(np.arctan2(mean[1], mean[0])) == pytest.approx(30, abs=0.5)
    found = rm.near_duplicates(rows, 1, progress=False)
    # Order: 0 (30 away), 58, 10 and 50 (20 away, the first a little more), 32, 30.
    assert found.neighbour.tolist() == [-1, 0, 3, 4, 5, 0]
    angles = np.degrees(np.arccos(found.similarity.astype(float)))
    assert angles.tolist() == pytest.approx([180, 10, 2, 18, 8, 58], abs=0.05)
    assert found.kept(1 - np.cos(np.radians(9))).tolist() == [0, 1, 3, 5]  # 30 goes for 32, 50 for 58
    assert found.kept(0).tolist() == list(range(6)) and found.kept(2).tolist() == [0]
    assert found.kept(found.eps_for(0.5)).tolist() == [0, 3, 5]


def test_of_copies_one_stays_and_the_scale_does_not_matter() -> None:
    rows = np.repeat(vectors(40), 3, axis=0) * np.tile([1, 2.5, 1e-3], 40)[:, None]
    found = rm.near_duplicates(rows, 1, progress=False)
    kept = found.kept(1e-5)
    assert sorted(kept // 3) == list(range(40))
    other = rm.near_duplicates(rows * 7, 1, progress=False)
    np.testing.assert_allclose(other.similarity, found.similarity, atol=1e-6)


def test_fewer_rows_stay_at_a_larger_eps_and_each_dropped_one_has_a_row_before_it() -> None:
    rows = vectors(600)
    found = rm.near_duplicates(rows, 3, progress=False)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    kept = [set(found.kept(eps)) for eps in np.linspace(0, 2, 21)]
    assert all(more >= less for more, less in itertools.pairwise(kept))
    assert len(kept[0]) == 600 and len(kept[-1]) == 3
    for eps in (0.01, 0.2):
        for row in found.dropped(eps):
            before = found.neighbour[row]
            assert found.cluster[before] == found.cluster[row] and unit[row] @ unit[before] > 1 - eps - 1e-6
            assert (found.centrality[before], before) < (found.centrality[row], row)
        pairs = found.pairs(eps)
        assert sorted(pairs.row) == found.dropped(eps).tolist() and pairs.similarity.is_monotonic_decreasing
    for share in (0.005, 0.1, 0.5, 0.99, 1):
        assert len(found.kept(found.eps_for(share))) == max(3, round(share * 600))


def test_the_order_of_the_rows_does_not_matter() -> None:
    rows = vectors(500)
    moved = np.random.default_rng(5).permutation(500)
    found, other = (rm.near_duplicates(those, 1, progress=False) for those in (rows, rows[moved]))
    np.testing.assert_allclose(other.similarity, found.similarity[moved], atol=1e-6)
    assert set(moved[other.kept(0.1)]) == set(found.kept(0.1))


def test_memory_is_bounded_by_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """No product is larger than a block by a block, whatever the clusters."""
    sizes = []
    product = torch.Tensor.__matmul__

    def watched(a: Tensor, b: Tensor) -> Tensor:
        sizes.append(len(a) * b.shape[1])
        return product(a, b)

    monkeypatch.setattr(torch.Tensor, "__matmul__", watched)
    blocks = [rm.near_duplicates(vectors(500), 2, block=block, progress=False) for block in (64, 10_000)]
    assert max(sizes[:-2]) == 64 * 64 and max(sizes[-2:]) > 64 * 64
    np.testing.assert_allclose(blocks[0].similarity, blocks[1].similarity, atol=1e-6)


def test_batches_of_many_rows_and_clusters_that_stay_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "MANY", 100)
    rows = vectors(400)
    found = rm.near_duplicates(rows, 5, progress=False)
    np.testing.assert_allclose(found.similarity, by_definition(rows, found.cluster)[0], atol=1e-6)
    few = rm.near_duplicates(np.repeat(np.eye(3), 4, axis=0), 8, progress=False)  # three distinct rows
    assert len(few) == 12 and len(few.kept(0.5)) == 3


KILLED = """
import os, sys
import numpy as np
import repmatch_lib as rm
from repmatch_lib.instances.scores import ScoreStore

put, done = ScoreStore.put, []
def put_two(self, block, table):
    if len(done) == 2:
        os.kill(os.getpid(), 9)
    done.append(block)
    put(self, block, table)
ScoreStore.put = put_two
rm.near_duplicates(np.load(sys.argv[1]), 6, out=sys.argv[2], progress=False)
"""


def test_a_killed_run_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = vectors(900)
    np.save(tmp_path / "rows.npy", rows)
    command = [sys.executable, "-c", KILLED, str(tmp_path / "rows.npy"), str(tmp_path / "killed")]
    assert subprocess.run(command, check=False).returncode == -9
    assert len(list((tmp_path / "killed").glob("block-*"))) == 2
    with pytest.raises(FileNotFoundError):
        rm.Duplicates.load(tmp_path / "killed")
    whole = rm.near_duplicates(rows, 6, out=tmp_path / "whole", progress=False)
    bare = rm.near_duplicates(rows, 6, progress=False)
    searched = []
    table = duplicates._cluster_table
    monkeypatch.setattr(duplicates, "_cluster_table", lambda *how: searched.append(how[1]) or table(*how))
    monkeypatch.setattr(duplicates, "_clustered", None)
    again = rm.near_duplicates(rows, 6, out=tmp_path / "killed", progress=False)
    assert searched == [2, 3, 4, 5]
    files = sorted(file.name for file in (tmp_path / "whole").glob("[!.]*"))
    assert len(files) == 6 + 3
    for name in files:
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    loaded = rm.Duplicates.load(tmp_path / "killed")
    for one in (again, loaded, bare):
        assert (one.similarity == whole.similarity).all() and (one.neighbour == whole.neighbour).all()


def test_a_folder_of_other_vectors_or_settings_is_refused(tmp_path: Path) -> None:
    rows = vectors(60)
    rm.near_duplicates(rows, 2, out=tmp_path, progress=False)
    for other, how in ((rows[::-1].copy(), {}), (rows, {"seed": 1}), (rows, {"clusters": 3})):
        with pytest.raises(ValueError, match=r"holds scores of something else: .* was .*Give another folder"):
            rm.near_duplicates(other, **({"clusters": 2} | how), out=tmp_path, progress=False)


EYE = np.eye(4, dtype=np.float32)
BAD = {
    "no table": (EYE[0], {}, r"vectors have shape \(4,\): give one row a vector"),
    "no rows": (EYE[:0], {}, r"shape \(0, 4\).*any rows"),
    "no direction": (EYE * [[1], [1], [0], [1]], {}, r"row 2 of vectors has length 0\.0.*drop it"),
    "not finite": (EYE * [[1], [1], [1], [np.nan]], {}, "row 3 of vectors has length nan.*drop it"),
    "no cluster": (EYE, {"clusters": 0}, "clusters = 0 for 4 rows: give a number from 1"),
    "too many clusters": (EYE, {"clusters": 5}, "clusters = 5 for 4 rows: .*to the number of rows"),
    "no block": (EYE, {"block": 0}, "block = 0: give .*at least 1"),
}


@pytest.mark.parametrize("bad", BAD)
def test_bad_input_is_named(bad: str) -> None:
    rows, how, message = BAD[bad]
    with pytest.raises(ValueError, match=message):
        rm.near_duplicates(rows, progress=False, **how)


def test_a_row_without_direction_is_numbered_in_the_whole() -> None:
    rows = np.ones((5000, 2), np.float32)
    rows[4500] = 0
    with pytest.raises(ValueError, match="row 4500 of vectors has length 0"):
        rm.near_duplicates(rows, progress=False)


def test_impossible_questions(toy: rm.Corpus) -> None:
    found = rm.near_duplicates(EYE, progress=False)
    for eps in (-0.1, 2.1, float("nan")):
        with pytest.raises(ValueError, match=r"eps = .* give a number from 0 \(keep all\) to 2"):
            found.kept(eps)
    for share in (0, 1.1, float("nan")):
        with pytest.raises(ValueError, match="share = .* give a number above 0, at most 1"):
            found.eps_for(share)
    with pytest.raises(ValueError, match="has 40 rows, the vectors 4: give the corpus they are of"):
        found.pairs(0.1, toy)


def planted() -> tuple[rm.Corpus, dict[str, list[tuple[int, int]]]]:
    """Bundled SST-2 with exact and misspelt copies, and STS-B's best paraphrases; and the pairs of each kind."""
    data = rm.load(rm.task("sst2"), source="mini", rows=120)
    texts = data.table["text"].to_pylist()
    sts = rm.load(rm.task("stsb"), source="mini").table.to_pandas().query("label >= 4.8").drop_duplicates("text")[:30]
    long = [text for text in texts[30:] if len(text.split()) >= 8][:30]
    misspelt = [text[: len(text) // 2] + text[len(text) // 2 + 1 :] for text in long]
    added = {"exact": (texts[:30], texts[:30]), "near": (long, misspelt), "paraphrase": (sts.text, sts.text_pair)}
    pairs, all_texts = {}, texts[:]
    for kind, (first, second) in added.items():
        firsts = [all_texts.index(text) if text in all_texts else None for text in first]
        if None in firsts:
            firsts = list(range(len(all_texts), len(all_texts) + len(first)))
            all_texts += list(first)
        pairs[kind] = list(zip(firsts, range(len(all_texts), len(all_texts) + len(second)), strict=True))
        all_texts += list(second)
    table = pa.table({"text": all_texts, "label": [0] * len(all_texts)})
    return dataclasses.replace(data, table=table), pairs


def test_planted_duplicates_are_found() -> None:
    data, pairs = planted()
    assert {kind: len(found) for kind, found in pairs.items()} == {"exact": 30, "near": 30, "paraphrase": 30}
    found = rm.near_duplicates(rm.vectors(rm.encoder("minilm"), data, "mean", max_length=64, progress=False), 1)

    def recall(kind: str, eps: float) -> float:
        gone = set(found.dropped(eps))
        return sum(bool(gone & set(pair)) for pair in pairs[kind]) / len(pairs[kind])

    def precision(eps: float) -> float:
        of_pairs = {row for kind in pairs.values() for pair in kind for row in pair}
        return float(np.isin(found.dropped(eps), list(of_pairs)).mean())

    assert recall("exact", 1e-5) == 1 and recall("near", 1e-5) == recall("paraphrase", 1e-5) == 0
    assert precision(1e-5) == 1 and precision(0.1) > 0.9
    assert recall("near", 0.2) > 0.8 and recall("paraphrase", 0.4) > 0.8
    read = found.pairs(1e-5, data)
    assert (read.text == read["neighbour's text"]).all() and len(read) == 30 and "label" in read
