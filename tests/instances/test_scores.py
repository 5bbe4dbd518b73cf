"""Scores on disk: shared out, gathered, read again; and damage, which is found."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import BLOCKS, ROWS, Score, block, files, times

import repmatch_lib as rm
from repmatch_lib.instances import scores


def flipped(content: bytes, place: int, bit: int = 16) -> bytes:
    return content[:place] + bytes([content[place] ^ bit]) + content[place + 1 :]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[: len(content) // 2],
        lambda content: content[:-1],
        lambda content: b"\0" * len(content),
        lambda content: content[100:],
        lambda content: flipped(content, 60),
        lambda content: flipped(content, len(content) - 3),
    ],
    ids=["emptied", "half", "a byte short", "zeros", "without a head", "a bit", "a bit at the end"],
)
def test_a_damaged_block_is_done_again(
    score: Score, whole: dict[str, bytes], tmp_path: Path, written: list[int], damage: Callable[[bytes], bytes]
) -> None:
    out = tmp_path / "scores"
    score(out=out)
    before = times(out)
    (out / block(3)).write_bytes(damage(whole[block(3)]))
    (out / "scores.parquet").unlink()
    del written[:]
    score(out=out)
    assert written == [3] and files(out) == whole
    unchanged = before.keys() - {block(3)}
    assert {name: times(out)[name] for name in unchanged} == {name: before[name] for name in unchanged}


def harmful(content: bytes, folder: Path, places: range, bits: tuple[int, ...] = (16,)) -> list[tuple[int, int]]:
    """Where one turned bit passes for a sound block and yet is read otherwise."""
    columns = scores.described(pq.read_schema(pa.BufferReader(content)))
    store, found = scores.ScoreStore(folder, {"blocks": 1, "rows": 6, "columns": columns}), []
    file, expected = folder / block(0), pq.read_table(pa.BufferReader(content))
    for place, bit in itertools.product(places, bits):
        file.write_bytes(flipped(content, place, bit))
        if store.done(0):
            found += [] if pq.read_table(file).equals(expected) else [(place, bit)]
        else:
            assert not file.exists()
    return found


def footer(content: bytes) -> int:
    """Where the description of the columns begins."""
    return len(content) - 8 - int.from_bytes(content[-8:-4], "little")


def test_a_bit_that_turns_in_the_data_is_found_or_harmless(whole: dict[str, bytes], tmp_path: Path) -> None:
    content = whole[block(3)]
    assert footer(content) > 500 and harmful(content, tmp_path, range(0, footer(content), 3)) == []


@pytest.mark.parametrize("content", ["", "{", '{"blocks": 5'])
def test_a_damaged_description_says_so(score: Score, tmp_path: Path, content: str) -> None:
    out = tmp_path / "scores"
    score(out=out)
    (out / "scores.json").write_text(content)
    for use in (lambda: score(out=out), lambda: rm.ScoreStore.open(out).gather()):
        with pytest.raises(ValueError, match="scores.json is damaged .*; delete the folder and score again"):
            use()


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 7])
def test_shards_are_a_partition(
    score: Score, whole: dict[str, bytes], tmp_path: Path, written: list[int], n: int
) -> None:
    order = np.random.default_rng(n).permutation(n) + 1
    parts = []
    for k in order:
        del written[:]
        result = score(out=tmp_path, shard=(int(k), n))
        parts.append(list(written))
        last = len({b for part in parts for b in part}) == BLOCKS
        assert (result is not None) == last, "the last to finish gives the scores"
    assert sorted(b for part in parts for b in part) == list(range(BLOCKS))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert files(tmp_path) == whole and result.table.equals(score().table)


def test_what_is_missing_is_named(score: Score, tmp_path: Path) -> None:
    assert score(out=tmp_path, shard=(1, 3)) is None  # blocks 0 and 3
    with pytest.raises(ValueError, match=r"lacks 3 of 5 blocks \(the first is 1\): run 'repmatch score'"):
        rm.ScoreStore.open(tmp_path).gather()
    assert rm.ScoreStore.open(tmp_path).missing() == [1, 2, 4] and "scores.parquet" not in files(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"holds no scores.json: give a folder that 'repmatch score --out'"):
        rm.ScoreStore.open(tmp_path / "nowhere")


@pytest.mark.parametrize("change", ["a block twice", "a row short"])
def test_rows_that_are_not_there_once_are_found(score: Score, tmp_path: Path, change: str) -> None:
    score(out=tmp_path)
    table = pq.read_table(tmp_path / block(1))
    content = pq.read_table(tmp_path / block(0)) if change == "a block twice" else table.slice(1)
    rm.ScoreStore.open(tmp_path).put(1, content)
    with pytest.raises(ValueError, match="does not hold each row once; delete it and score again"):
        rm.ScoreStore.open(tmp_path).gather()


def test_scores_are_read_as_they_were_saved(score: Score, tmp_path: Path) -> None:
    found = score(out=tmp_path / "scores")
    assert found.layers == ["layer_0", "layer_1"] and len(found) == ROWS
    for file in (found.save(tmp_path / "new" / "scores.parquet"), tmp_path / "scores" / "scores.parquet"):
        again = rm.Scores.load(file)
        assert again.table.equals(found.table, check_metadata=True) and again.made_of == found.made_of
        assert again.layers == found.layers
    assert found.made_of == json.loads((tmp_path / "scores" / "scores.json").read_text())
    assert list((tmp_path / "new").iterdir()) == [tmp_path / "new" / "scores.parquet"]
    pq.write_table(found.table, tmp_path / "plain.parquet")
    assert rm.Scores.load(tmp_path / "plain.parquet").made_of == {}


def test_a_bit_that_turns_in_the_description_of_the_columns_is_found(whole: dict[str, bytes], tmp_path: Path) -> None:
    content = whole[block(3)]
    assert harmful(content, tmp_path, range(footer(content), len(content), 3)) == []


def test_a_block_that_cannot_be_opened_just_now_is_not_deleted(
    score: Score, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    score(out=tmp_path)

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(scores.pq, "read_table", refuse)
        with pytest.raises(OSError, match="Too many"):
            score(out=tmp_path)
    assert len(times(tmp_path)) == BLOCKS


def test_the_names_and_types_of_columns_are_sound(whole: dict[str, bytes], tmp_path: Path) -> None:
    content = whole[block(3)]
    start = content.index(b"row", footer(content))
    assert harmful(content, tmp_path, range(start, start + 50), (8, 128)) == []


def test_a_block_that_another_removes_is_not_there(
    score: Score, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look and the reading, another process may do so, if it is damaged."""
    score(out=tmp_path)
    read, store = pq.read_table, rm.ScoreStore.open(tmp_path)

    def removed(file: Path, **options: Any) -> pa.Table:
        file.unlink()
        return read(file, **options)

    monkeypatch.setattr(scores.pq, "read_table", removed)
    assert not store.done(0)


@pytest.mark.parametrize("content", [b'{"blocks": \xff5}', b"[]", b"{}"], ids=repr)
def test_a_description_that_is_none_says_so(score: Score, tmp_path: Path, content: bytes) -> None:
    score(out=tmp_path)
    (tmp_path / "scores.json").write_bytes(content)
    with pytest.raises(ValueError, match="scores.json is damaged .*; delete the folder and score again"):
        rm.ScoreStore.open(tmp_path).gather()


def test_scores_without_a_folder_are_read_as_they_were_saved(score: Score, tmp_path: Path) -> None:
    found = score()
    assert rm.Scores.load(found.save(tmp_path / "scores.parquet")).made_of == found.made_of


def test_every_turned_bit_of_gathered_scores_is_noticed(score: Score, tmp_path: Path) -> None:
    """Also one outside of the pages, whose checksums do not cover it."""
    score(out=tmp_path)
    file = tmp_path / "scores.parquet"
    true, content, found = rm.Scores.load(file), file.read_bytes(), []
    for place in range(0, len(content), 5):
        file.write_bytes(flipped(content, place, 4))
        try:
            loaded = rm.Scores.load(file)
        except (ValueError, OSError):
            continue
        found += [] if loaded.table.equals(true.table) and loaded.made_of == true.made_of else [place]
    assert not found
