"""Scores on disk: stopped anywhere, continued by anyone, the same in the end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from filelock import FileLock
from helpers import BLOCKS, ROWS, Score, Tiny, block, files, times

import repmatch_lib as rm
from repmatch_lib import store
from repmatch_lib.instances import job, scores


def test_a_run_with_a_folder_gives_what_one_without_gives(
    score: Score, whole: dict[str, bytes], tmp_path: Path
) -> None:
    loose, kept = score(), score(out=tmp_path / "a" / "b")
    assert files(tmp_path / "a" / "b") == whole
    assert sorted(whole) == [*map(block, range(BLOCKS)), "scores.json", "scores.parquet"]
    assert loose.table.equals(kept.table) and loose.table["id"].to_pylist() == list(range(ROWS))
    assert loose.made_of["blocks"] == BLOCKS and loose.made_of["rows"] == ROWS


@pytest.mark.parametrize("stop", [RuntimeError("stopped"), KeyboardInterrupt(), OSError(28, "No space left")], ids=repr)
@pytest.mark.parametrize("where", ["between blocks", "within a block", "within a write"])
def test_what_was_stopped_is_continued(
    score: Score, whole: dict[str, bytes], tmp_path: Path, where: str, stop: BaseException, written: list[int]
) -> None:
    out, calls = tmp_path / "scores", []

    def stopping(function: Callable[..., Any], at: int, *arguments: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == at:
            raise stop
        return function(*arguments, **options)

    place = {
        "between blocks": (scores.ScoreStore, "put", 3),
        "within a block": (job.InstanceModel, "update", 8),
        "within a write": (store.os, "fsync", 4),
    }[where]
    with pytest.MonkeyPatch.context() as patch:
        original = getattr(*place[:2])
        patch.setattr(*place[:2], lambda *a, **o: stopping(original, place[2], *a, **o))
        with pytest.raises(type(stop)) as caught:  # its traceback lives on, as in a notebook
            score(out=out)
    assert caught.value is stop
    there = times(out)
    assert 0 < len(there) < BLOCKS and "scores.parquet" not in files(out)
    assert not [p for p in out.iterdir() if p.suffix not in (".lock", ".parquet", ".json")]
    del written[:]
    result = score(out=out)
    assert files(out) == whole
    assert {name: times(out)[name] for name in there} == there
    assert sorted(written) == [k for k in range(BLOCKS) if block(k) not in there]
    assert result.table.equals(score().table)


def test_what_was_stopped_is_continued_with_dropout_too(by_encoder: Score, tmp_path: Path) -> None:
    """Its random numbers belong to a block, and not to what ran before."""
    expected = by_encoder(dropout=True, out=tmp_path / "whole")
    for k in (2, 1):
        torch.manual_seed(k)
        found = by_encoder(dropout=True, out=tmp_path / "parts", shard=(k, 2))
    assert files(tmp_path / "parts") == files(tmp_path / "whole") and found.table.equals(expected.table)
    assert len({*expected.table["score"].to_pylist()}) == ROWS


def test_a_block_appears_in_one_step(score: Score, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    score(out=tmp_path)
    before, there = files(tmp_path), rm.ScoreStore.open(tmp_path)

    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store.os, "replace", fail)
    for write in (partial(there.put, 1, pq.read_table(tmp_path / block(0))), there.gather):
        with pytest.raises(OSError, match="No space left"):
            write()
    assert files(tmp_path) == before and not [
        p for p in tmp_path.iterdir() if p.suffix not in (".lock", ".parquet", ".json")
    ]


def test_what_is_done_is_not_done_again(score: Score, tmp_path: Path, written: list[int]) -> None:
    first = score(out=tmp_path / "scores")
    before = times(tmp_path / "scores")
    again = score(out=tmp_path / "scores")
    assert written == list(range(BLOCKS)) and times(tmp_path / "scores") == before
    assert first.table.equals(again.table) and first.made_of == again.made_of


# Imports once, then does what it is told in a process of its own for each line.
SCRIPT = """
import json, os, signal, sys, time
from pathlib import Path

import torch

import repmatch_lib as rm
from repmatch_lib.instances import scores, scoring


def work(encoder, target, file, folder, name, others, hang):
    folder = Path(folder)
    torch.set_num_threads(1)
    scoring.BLOCK = 7
    put, fsync, done = scores.ScoreStore.put, os.fsync, []

    def slow(descriptor):
        if len(done) == hang:
            (folder / "hangs").write_text(str(os.getpid()))
            time.sleep(600)
        fsync(descriptor)

    def logged(store, number, table):
        put(store, number, table)
        done.append(number)
        with (folder / "log").open("a") as stream:
            stream.write(f"{name}{number} ")
        end = time.monotonic() + 60  # each does its first block before any does a second, however slow one of them is
        while {entry[0] for entry in (folder / "log").read_text().split()} < set(others) and time.monotonic() < end:
            time.sleep(0.01)

    os.fsync, scores.ScoreStore.put = slow, logged
    data, target = rm.load(rm.task(file)), rm.Adapter.load(target)
    (folder / f"starts-{name}").touch()
    while not all((folder / f"starts-{k}").exists() for k in others):
        time.sleep(0.01)
    found = rm.score_instances(
        rm.encoder(encoder), data, target, out=folder / "scores", max_length=48, precision="float32", same_base=True,
        progress=False, tokens=60,
    )
    (folder / f"unnamed-{name}").write_text(f"{len(found)} {found.to_pandas().score.sum()}")
    (folder / f"unnamed-{name}").rename(folder / f"result-{name}")


signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for line in sys.stdin:
    if os.fork() == 0:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        work(**json.loads(line))
        os._exit(0)
"""


@pytest.fixture(scope="module")
def script() -> Iterator[subprocess.Popen[str]]:
    running = subprocess.Popen([sys.executable, "-c", SCRIPT], stdin=subprocess.PIPE, text=True)
    yield running
    running.kill()
    running.communicate()


@pytest.fixture
def start(
    script: subprocess.Popen[str], tiny: Tiny, thirty: rm.Corpus, random_target: rm.Adapter, tmp_path: Path
) -> Callable[..., None]:
    """``start("a")``: score into ``tmp_path / "scores"`` in another process, once all of ``others`` have started."""
    common = {"encoder": tiny("bert").folder, "target": random_target.save(tmp_path / "target")}
    common |= {"file": thirty.task.file}
    common = {name: str(path) for name, path in (common | {"folder": tmp_path}).items()}

    def call(name: str, others: str = "", hang: int = -1) -> None:
        script.stdin.write(json.dumps(common | {"name": name, "others": others, "hang": hang}) + "\n")
        script.stdin.flush()

    return call


def wait_for(file: Path) -> str:
    """What a file holds, once it is there."""
    end = time.monotonic() + 300  # a loaded machine takes a while to import torch
    while not (file.exists() and (content := file.read_text())):
        assert time.monotonic() < end, f"no {file.name} after five minutes"
        time.sleep(0.02)
    return content


def test_a_process_that_is_killed_in_a_write_is_continued(
    start: Callable[..., None], by_encoder: Score, tmp_path: Path, written: list[int]
) -> None:
    out = tmp_path / "scores"
    start("a", hang=2)
    os.kill(int(wait_for(tmp_path / "hangs")), signal.SIGKILL)
    before = times(out)
    assert sorted(before) == [block(0), block(1)] and len(list(out.glob(f".{block(2)}*"))) == 1  # half of a write
    by_encoder(out=out)
    assert written == [2, 3, 4] and {name: times(out)[name] for name in before} == before
    by_encoder(out=tmp_path / "other")
    assert files(out) == files(tmp_path / "other")


def test_two_processes_share_the_blocks(start: Callable[..., None], by_encoder: Score, tmp_path: Path) -> None:
    for name in "ab":
        start(name, others="ab")
    results = {wait_for(tmp_path / f"result-{name}") for name in "ab"}
    done = (tmp_path / "log").read_text().split()
    assert sorted(int(entry[1:]) for entry in done) == list(range(BLOCKS)), "each block once"
    assert {entry[0] for entry in done} == {"a", "b"}
    found = by_encoder(out=tmp_path / "other")
    assert results == {f"{ROWS} {found.to_pandas().score.sum()}"}
    assert files(tmp_path / "scores") == files(tmp_path / "other")


@pytest.mark.parametrize("by", ["another that fails", "another that does it"])
def test_a_block_that_another_holds_is_waited_for(
    score: Score, whole: dict[str, bytes], tmp_path: Path, written: list[int], by: str
) -> None:
    out = tmp_path / "scores"
    score(out=out)
    kept = (out / block(0)).read_bytes()
    for number in range(BLOCKS):
        (out / block(number)).unlink()
    del written[:]
    held, waited = threading.Event(), []

    def hold() -> None:
        with FileLock(out / f".block-{0:05d}.lock"):
            held.set()
            end = time.monotonic() + 10
            while len(written) < BLOCKS - 1 and time.monotonic() < end:
                time.sleep(0.01)
            time.sleep(0.2)
            waited.extend(written)
            if by == "another that does it":
                (out / block(0)).write_bytes(kept)

    other = threading.Thread(target=hold, daemon=True)
    other.start()
    assert held.wait(10)
    score(out=out)
    other.join(10)
    assert waited == [1, 2, 3, 4]
    assert written == ([1, 2, 3, 4, 0] if by == "another that fails" else [1, 2, 3, 4])
    assert files(out) == whole


def test_a_block_that_is_done_meanwhile_is_passed_over(score: Score, whole: dict[str, bytes], tmp_path: Path) -> None:
    score(out=tmp_path, shard=(BLOCKS, BLOCKS))
    claimed = rm.ScoreStore.open(tmp_path).claim(range(BLOCKS))
    assert next(claimed) == 0
    for number in (0, 1, 2):  # by another, or by us
        (tmp_path / block(number)).write_bytes(whole[block(number)])
    assert list(claimed) == [3]


def test_half_of_a_write_is_swept_up(score: Score, tmp_path: Path) -> None:
    score(out=tmp_path, shard=(1, 2))
    (tmp_path / f".{block(1)}-x1y2z3").write_bytes(b"half")
    score(out=tmp_path)
    assert not (tmp_path / f".{block(1)}-x1y2z3").exists()
