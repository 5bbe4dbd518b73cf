"""Scores on disk: stopped anywhere, continued by anyone, the same in the end."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from conftest import WORDS
from filelock import FileLock
from test_updates import random_adapter

import repmatch_lib as rm
from repmatch_lib import cli, store as stores
from repmatch_lib.instances import job as scoring, scores, scoring as instances
from repmatch_lib.training.heads import frozen_model, lora_model

Tiny = Callable[[str], rm.Encoder]
Score = Callable[..., rm.Scores | None]
ROWS, BLOCKS = 30, 5
CALL: dict[str, Any] = {"max_length": 48, "precision": "float32", "same_base": True, "progress": False, "tokens": 60}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> rm.Corpus:
    """Thirty sentences of different lengths, in a file."""
    file = tmp_path_factory.mktemp("data") / "own.csv"
    texts = [" ".join(WORDS[(3 * k + j) % len(WORDS)] for j in range(2 + 7 * k % 23)) for k in range(ROWS)]
    file.write_text("\n".join(["text,label", *(f"{text},{k % 2}" for k, text in enumerate(texts))]) + "\n")
    return rm.load(rm.task(str(file)))


@pytest.fixture(scope="module")
def target(tiny: Tiny) -> rm.Adapter:
    return random_adapter(tiny("bert"), "classification", ("value",), 3)


@pytest.fixture(scope="module")
def model(tiny: Tiny) -> peft.PeftModel:
    return lora_model(frozen_model(tiny("bert"), "classification", 2), 2).eval()


@pytest.fixture
def score(model: peft.PeftModel, data: rm.Corpus, target: rm.Adapter, monkeypatch: pytest.MonkeyPatch) -> Score:
    """`score_instances` of the thirty rows, in five blocks of six."""
    monkeypatch.setattr(instances, "BLOCK", 7)
    return partial(rm.score_instances, model, data, target, **CALL)


@pytest.fixture(scope="module")
def whole(
    model: peft.PeftModel, data: rm.Corpus, target: rm.Adapter, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes]:
    """The files of a run that nothing stopped."""
    folder = tmp_path_factory.mktemp("whole") / "scores"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(instances, "BLOCK", 7)
        rm.score_instances(model, data, target, out=folder, **CALL)
    return files(folder)


def files(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.glob("*")) if not p.name.startswith(".")}


def times(folder: Path) -> dict[str, int]:
    return {p.name: p.stat().st_mtime_ns for p in folder.glob("block-*")}


def block(number: int) -> str:
    return f"block-{number:05d}.parquet"


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of the blocks that are computed, as they are written."""
    put, found = scores.ScoreStore.put, []

    def logged(store: scores.ScoreStore, number: int, table: pa.Table) -> None:
        found.append(number)
        put(store, number, table)

    monkeypatch.setattr(scores.ScoreStore, "put", logged)
    return found


# --- Stopped and continued -------------------------------------------------------------------------------------------


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
        "within a block": (scoring.InstanceModel, "update", 8),
        "within a write": (stores.os, "fsync", 4),
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
    before, store = files(tmp_path), rm.ScoreStore.open(tmp_path)

    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(stores.os, "replace", fail)
    for write in (partial(store.put, 1, pq.read_table(tmp_path / block(0))), store.gather):
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
        time.sleep(0.1)

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
    script: subprocess.Popen[str], tiny: Tiny, data: rm.Corpus, target: rm.Adapter, tmp_path: Path
) -> Callable[..., None]:
    """``start("a")``: score into ``tmp_path / "scores"`` in another process, once all of ``others`` have started."""
    common = {"encoder": tiny("bert").folder, "target": target.save(tmp_path / "target"), "file": data.task.file}
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


@pytest.fixture
def by_encoder(
    tiny: Tiny, data: rm.Corpus, target: rm.Adapter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Score:
    """What the script does, here."""
    monkeypatch.setattr(instances, "BLOCK", 7)
    return partial(rm.score_instances, tiny("bert"), data, target, **CALL)


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


# --- Damage ----------------------------------------------------------------------------------------------------------


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


# --- Something else --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lr", 2e-3), ("steps", 2), ("side", "right"), ("seed", 4), ("head_seed", 9), ("rank", 3), ("max_length", 40),
        ("precision", "bf16"), ("weight_decay", 0.5), ("eps", 1e-6), ("dropout", True),
    ],
)  # fmt: skip
def test_other_settings_are_refused(by_encoder: Score, tmp_path: Path, name: str, value: Any) -> None:
    start = {"lr": 1e-3, "steps": 1, "side": "left", "rank": 2, "head_seed": 0}
    by_encoder(out=tmp_path, shard=(1, 5), **start)
    before = files(tmp_path)
    changed = CALL | start | {name: value}
    match = rf"holds scores of something else: {name} was .*, now {re.escape(repr(value))}(; .*)?. Give another folder"
    with pytest.raises(ValueError, match=match):
        by_encoder(out=tmp_path, **changed)
    assert files(tmp_path) == before


def test_under_dropout_another_number_of_tokens_a_pass_is_something_else(by_encoder: Score, tmp_path: Path) -> None:
    for dropout in (False, True):
        out = tmp_path / str(dropout)
        by_encoder(out=out, shard=(1, 5), dropout=dropout, tokens=60)
        if dropout:
            with pytest.raises(ValueError, match="tokens_a_pass was 60, now 90. Give another folder"):
                by_encoder(out=out, dropout=dropout, tokens=90)
        else:
            by_encoder(out=out, dropout=dropout, tokens=90)


def test_another_target_model_or_text_is_refused(
    tiny: Tiny, model: peft.PeftModel, data: rm.Corpus, target: rm.Adapter, tmp_path: Path, score: Score,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    score(out=tmp_path)
    before = files(tmp_path)
    tensors = {k: v + 1e-3 * ("layer.1" in k and "lora_B" in k) for k, v in target.tensors.items()}
    fewer = replace(data, table=data.table.slice(1))
    other = data.table.set_column(1, "text", [["a plot", *data.table["text"].to_pylist()[1:]]])
    flipped_label = data.table.set_column(2, "label", [[1 - k for k in data.table["label"].to_pylist()]])
    moved = data.table.take(list(range(ROWS))[::-1])
    seeded = lora_model(frozen_model(tiny("bert"), "classification", 2), 2, seed=3).eval()
    headed = lora_model(frozen_model(tiny("bert"), "classification", 2, head_seed=3), 2).eval()
    for name, changed in {
        "target": (model, data, replace(target, tensors=tensors)),
        "rows": (model, fewer, target),
        "data": (model, replace(data, table=other), target),
        "data ": (model, replace(data, table=flipped_label), target),
        "ids": (model, replace(data, table=moved), target),
        "task": (model, replace(data, task=replace(data.task, name="else")), target),
        "weights": (seeded, data, target),
        "weights ": (headed, data, target),
    }.items():
        with pytest.raises(ValueError, match=f"holds scores of something else: .*{name.strip()} was"):
            rm.score_instances(*changed, out=tmp_path, **CALL)
    monkeypatch.setattr(scoring, "code_version", lambda modules: "changed")
    with pytest.raises(ValueError, match="something else: code was '.*', now 'changed'"):
        score(out=tmp_path)
    assert files(tmp_path) == before


# --- Shards, and what is gathered ------------------------------------------------------------------------------------


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


def test_shards_may_run_on_different_processors(score: Score, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last digits of a QR and an SVD are not the same on all."""
    score(out=tmp_path, shard=(1, 2))
    basis = scoring.trained_basis
    monkeypatch.setattr(scoring, "trained_basis", lambda *arguments: basis(*arguments) * (1 + 4e-16))
    assert score(out=tmp_path, shard=(2, 2)) is not None


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


# --- The commands ----------------------------------------------------------------------------------------------------


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """``command("gather", folder)``: the exit code, what was printed, and the messages."""

    def call(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["repmatch", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        printed = capsys.readouterr()
        return stopped.value.code or 0, printed.out.replace("\n", ""), printed.err

    return call


@pytest.fixture
def asked(tiny: Tiny, target: rm.Adapter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str | Path]:
    """Options that score thirty rows of the bundled SST-2."""
    monkeypatch.setattr(instances, "BLOCK", 7)
    folder = target.save(tmp_path / "target")
    options = {"task": "sst2", "source": "mini", "rows": "30", "encoder": tiny("bert").folder, "target": folder}
    options |= {"max-length": "64", "out": tmp_path / "out", "precision": "float32"}
    return ["score", "--same-base", *(text for name, value in options.items() for text in (f"--{name}", value))]


def test_the_commands_score_and_gather(
    tiny: Tiny, target: rm.Adapter, asked: list[str | Path], command: Callable[..., Any], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    code, printed, _ = command(*asked, "--shard", "1/2")
    assert code == 0 and "Shard 1/2 is done; other parts of" in printed and not (out / "scores.parquet").exists()
    code, printed, errors = command("gather", out)
    assert code == 2 and not printed and "lacks 2 of 5 blocks (the first is 1)" in errors
    code, printed, _ = command(*asked)
    expected = rm.score_instances(
        tiny("bert"), rm.load(rm.task("sst2"), source="mini", rows=30), target, max_length=64, precision="float32",
        same_base=True, progress=False,
    )  # fmt: skip
    mean = expected.to_pandas().score.mean()
    assert code == 0 and f"30 instances scored, mean {mean:.4f}: {out}/scores.parquet" in printed
    assert rm.Scores.load(out / "scores.parquet").table.equals(expected.table)
    (out / "scores.parquet").unlink()
    code, printed, _ = command("gather", out)
    assert code == 0 and f"30 instances: {out}/scores.parquet" in printed
    assert rm.Scores.load(out / "scores.parquet").table.equals(expected.table)


def test_the_command_passes_every_option_on(
    asked: list[str | Path], command: Callable[..., Any], tmp_path: Path, tiny: Tiny
) -> None:
    adapter = random_adapter(tiny("bert"), "classification", ("query", "value"), 3).save(tmp_path / "both")
    more = {"steps": "2", "lr": "0.002", "side": "right", "rank": "2", "seed": "5", "head-seed": "6", "rows": "12"}
    more |= {"sample-seed": "4", "split": "validation", "max-length": "32", "precision": "bf16", "target": str(adapter)}
    options = [text for name, value in more.items() for text in (f"--{name}", value)]
    code, _, errors = command(*asked, *options, "--module", "query", "--module", "value", "--threads", "1")
    assert code == 0, errors
    found = rm.Scores.load(tmp_path / "out" / "scores.parquet")
    expected = {"steps": 2, "lr": 0.002, "side": "right", "rank": 2, "seed": 5, "head_seed": 6, "max_length": 32}
    expected |= {"precision": "bf16", "modules": ["query", "value"], "rows": 12}
    data = rm.load(rm.task("sst2"), "validation", "mini", 12, 4)
    expected |= {"data": data.fingerprint, "task": "sst2", "model": tiny("bert").base_model}
    assert {name: found.made_of[name] for name in expected} == expected
    assert found.table["id"].to_pylist() == data.table["id"].to_pylist() and len(found.layers) == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--shard", "3"], "--shard '3': write k/n, such as 3/16"),
        (["--shard", "a/b"], "--shard 'a/b': write k/n"),
        (["--shard", "1/2/3"], "--shard '1/2/3': write k/n"),
        (["--shard", "4/3"], "shard 4/3: give k/n with k from 1 to n"),
        (["--shard", "0/3"], "shard 0/3: give k/n with k from 1 to n"),
        (["--target", "nowhere"], "nowhere holds no adapter_model.safetensors"),
        (["--encoder", "nowhere"], "unknown encoder 'nowhere'"),
        (["--task", "nothing"], "unknown task 'nothing': give one of sst2"),
        (["--max-length", "256"], "max_length 256 is above what the model reads: give at most 64"),
        (["--lr", "-1"], "lr = -1.0: it should be greater than 0"),
        (["--steps", "0"], "steps = 0: it should be greater than or equal to 1"),
        (["--side", "up"], "side = 'up': it should be 'left' or 'right'"),
        (["--module", "key"], "adapts no 'key' matrix; it adapts attention.self.value"),
        (["--precision", "fp8"], "precision = 'fp8': it should be 'auto', 'float32' or 'bf16'"),
    ],
    ids=lambda value: "=".join(value) if isinstance(value, list) else "",
)
def test_a_bad_option_is_one_message(
    asked: list[str | Path], command: Callable[..., Any], tmp_path: Path, options: list[str], message: str
) -> None:
    code, printed, errors = command(*asked, *options)
    assert code == 2 and not printed and errors.startswith("error: ")
    assert message in errors and errors.count("\n") == 1 and "Traceback" not in errors
    assert not (tmp_path / "out").exists()


def test_gathering_nothing_is_one_message(command: Callable[..., Any], tmp_path: Path) -> None:
    code, _, errors = command("gather", tmp_path)
    assert code == 2 and "holds no scores.json: give a folder that 'repmatch score --out' wrote" in errors
    assert errors.count("\n") == 1 and not list(tmp_path.glob("*"))


# --- Once wrong ------------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("what", ["classes", "scale", "tokenizer"])
def test_other_scores_are_not_mixed_in(
    tiny: Tiny, data: rm.Corpus, target: rm.Adapter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr(instances, "BLOCK", 7)
    encoder = tiny("bert")
    model: Any = encoder
    options, changed = CALL | {"steps": 3, "rank": 2}, {}
    if what != "classes":
        config = partial(peft.LoraConfig, r=2, target_modules=["value"])
        torch.manual_seed(0)
        model = peft.get_peft_model(frozen_model(encoder, "classification", 2), config(lora_alpha=2)).eval()
        options["tokenizer"] = encoder.tokenizer()
    rm.score_instances(model, data, target, out=tmp_path, shard=(1, 2), **options)
    if what == "classes":
        data = replace(data, task=replace(data.task, labels=(*data.task.labels, "2")))
    elif what == "scale":
        torch.manual_seed(0)
        model = peft.get_peft_model(frozen_model(encoder, "classification", 2), config(lora_alpha=64)).eval()
    else:
        changed["tokenizer"] = tiny("llama").tokenizer()  # other numbers for the same words
    with pytest.raises(ValueError, match="something else"):
        rm.score_instances(model, data, target, out=tmp_path, shard=(2, 2), **(options | changed))


def test_scores_without_a_folder_are_read_as_they_were_saved(score: Score, tmp_path: Path) -> None:
    found = score()
    assert rm.Scores.load(found.save(tmp_path / "scores.parquet")).made_of == found.made_of


def test_half_of_a_write_is_swept_up(score: Score, tmp_path: Path) -> None:
    score(out=tmp_path, shard=(1, 2))
    (tmp_path / f".{block(1)}-x1y2z3").write_bytes(b"half")
    score(out=tmp_path)
    assert not (tmp_path / f".{block(1)}-x1y2z3").exists()


def test_a_printed_path_is_whole(
    score: Score, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / ("long" * 20)
    score(out=folder)
    monkeypatch.setattr(sys, "argv", ["repmatch", "gather", str(folder)])
    with pytest.raises(SystemExit):
        cli.main()
    assert f"{folder}/scores.parquet" in capsys.readouterr().out
