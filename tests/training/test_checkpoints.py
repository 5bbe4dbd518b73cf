"""A training that was stopped goes on to the same bits, and leaves the adapters of its steps on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import repmatch_lib as rm
from repmatch_lib.training import loop
from repmatch_lib.training.checkpoints import Position, log_steps

Tiny = Callable[[str], rm.Encoder]
HOW = {"rank": 2, "lr": 1e-2, "epochs": 3, "batch_size": 4, "max_length": 32, "seed": 5, "progress": False}
STEPS = 30  # three passes over forty rows in batches of four


class Stop(BaseException):
    """Ends a training between two steps."""


def same(a: rm.Adapter, b: rm.Adapter) -> bool:
    return a.tensors.keys() == b.tensors.keys() and all(torch.equal(a.tensors[k], b.tensors[k]) for k in a.tensors)


@pytest.fixture
def stop_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """``stop_after(7)``: the state is saved after every step, and the seventh is the last."""
    save = loop.save_state
    monkeypatch.setattr(loop, "SAVED_EVERY", -1.0)

    def at(step: int) -> None:
        def stopping(file: Path, model: object, optimizer: object, position: Position) -> None:
            save(file, model, optimizer, position)
            if position.step == step:
                raise Stop

        monkeypatch.setattr(loop, "save_state", stopping)

    return at


def test_stopped_at_any_step_it_goes_on_to_the_same_bits(
    tiny: Tiny, toy: rm.Corpus, tmp_path: Path, stop_after: Callable[[int], None]
) -> None:
    whole = rm.train_adapter(tiny("bert"), toy, **HOW)
    for step in (1, 4, 10, 17, 29, 30):  # 10, 20 and 30 end a pass
        stop_after(step)
        with pytest.raises(Stop):
            rm.train_adapter(tiny("bert"), toy, work=tmp_path / "work", **HOW)
    stop_after(0)
    resumed = rm.train_adapter(tiny("bert"), toy, work=tmp_path / "work", **HOW)
    assert same(resumed, whole) and resumed.provenance["loss"] == whole.provenance["loss"]


def test_a_step_is_not_taken_twice(
    tiny: Tiny, toy: rm.Corpus, tmp_path: Path, stop_after: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    taken, backward = [], loop._backward
    monkeypatch.setattr(loop, "_backward", lambda *of: taken.append(1) or backward(*of))
    stop_after(12)
    with pytest.raises(Stop):
        rm.train_adapter(tiny("bert"), toy, work=tmp_path, **HOW)
    stop_after(0)
    rm.train_adapter(tiny("bert"), toy, work=tmp_path, **HOW)
    assert len(taken) == STEPS


def test_the_time_is_that_of_all_processes(
    tiny: Tiny, toy: rm.Corpus, tmp_path: Path, stop_after: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    load = loop.load_state

    def long_ago(*of: Any) -> Position:
        position = load(*of)
        assert (position.seconds > 0) == (position.step > 0)
        position.seconds += 1000.0
        return position

    monkeypatch.setattr(loop, "load_state", long_ago)
    stop_after(12)
    with pytest.raises(Stop):
        rm.train_adapter(tiny("bert"), toy, work=tmp_path, **HOW)
    stop_after(0)
    seconds = rm.train_adapter(tiny("bert"), toy, work=tmp_path, **HOW).provenance["measured"]["seconds"]
    assert 2000 < seconds < 2600


def test_a_snapshot_is_the_adapter_of_a_training_that_stops_there(tiny: Tiny, toy: rm.Corpus, tmp_path: Path) -> None:
    whole = rm.train_adapter(tiny("bert"), toy, work=tmp_path, **HOW)
    snapshots = {path.name: rm.Adapter.load(path) for path in tmp_path.glob("step-*")}
    assert set(snapshots) == {f"step-{step}" for step in (1, 2, 5, 10, 20)}
    for step, epochs in ((10, 1), (20, 2)):
        shorter = rm.train_adapter(tiny("bert"), toy, **HOW | {"epochs": epochs})
        assert same(snapshots[f"step-{step}"], shorter) and not same(shorter, whole)
    assert rm.repmatch(snapshots["step-20"], whole).same_head and snapshots["step-20"].weights == whole.weights


def test_steps_of_snapshots() -> None:
    assert log_steps(1) == [] and log_steps(2) == [1] and log_steps(10) == [1, 2, 5]
    assert log_steps(101) == [1, 2, 5, 10, 20, 50, 100]


def test_a_folder_of_another_training_is_refused(tiny: Tiny, toy: rm.Corpus, tmp_path: Path) -> None:
    rm.train_adapter(tiny("bert"), toy, work=tmp_path, **HOW)
    with pytest.raises(ValueError, match="holds the state of another training"):
        rm.train_adapter(tiny("bert"), toy, work=tmp_path, **HOW | {"lr": 2e-2})


def test_a_state_that_was_cut_is_left_and_said(
    tiny: Tiny, toy: rm.Corpus, tmp_path: Path, stop_after: Callable[[int], None], caplog: pytest.LogCaptureFixture
) -> None:
    stop_after(7)
    with pytest.raises(Stop):
        rm.train_adapter(tiny("bert"), toy, work=tmp_path, **HOW)
    state = tmp_path / "state.safetensors"
    state.write_bytes(state.read_bytes()[:500])
    stop_after(0)
    assert same(rm.train_adapter(tiny("bert"), toy, work=tmp_path, **HOW), rm.train_adapter(tiny("bert"), toy, **HOW))
    assert "state.safetensors is damaged" in caplog.text


def test_a_run_has_its_steps(tiny: Tiny, toy: rm.Corpus, own_store: Path) -> None:
    how = {name: HOW[name] for name in ("rank", "lr", "epochs", "batch_size", "max_length", "seed")}
    run = rm.Run(str(toy.task.file), encoder=str(tiny("bert").folder), **how)
    last, early = run.make(progress=False), rm.Run(**vars(run) | {"step": 5}).make(progress=False)
    assert not same(last, early) and early.provenance["step"] == 5
    assert len(list((own_store / "adapters").glob("[!.]*"))) == 2  # one training has them all, and this one is judged
    assert not list((own_store / "adapters").glob(".*unfinished"))
    with pytest.raises(ValueError, match="step = 6: this training left snapshots at 1, 2, 5, 10, 20"):
        rm.Run(**vars(run) | {"step": 6}).make(progress=False)


def test_a_snapshot_says_what_it_knows(tiny: Tiny, toy: rm.Corpus, own_store: Path) -> None:
    how = {name: HOW[name] for name in ("rank", "lr", "batch_size", "max_length", "seed")}
    run = rm.Run("sst2", encoder=str(tiny("bert").folder), source="mini", rows=40, **how | {"batch_size": 4})
    two, one = rm.Run(**vars(run) | {"epochs": 2, "step": 10}), rm.Run(**vars(run) | {"epochs": 1})
    early, whole = (request.make(progress=False).provenance for request in (two, one))
    assert early["learned"] == whole["learned"] and early["evaluated_on"] == whole["evaluated_on"]
    assert early["loss"] == pytest.approx(whole["loss"]) and early["measured"]["seconds"] == 0


SCRIPT = """
import sys, torch
import repmatch_lib as rm
from repmatch_lib.training import loop

torch.set_num_threads(1)
loop.SAVED_EVERY, slow = -1.0, loop.save_state

def save(file, *rest):
    slow(file, *rest)
    print(rest[-1].step, flush=True)

loop.save_state = save
rm.Run(**eval(sys.argv[1])).make(progress=False)
print("done", flush=True)
"""


def test_a_killed_run_goes_on_in_the_store(tiny: Tiny, toy: rm.Corpus, own_store: Path) -> None:
    how = {name: HOW[name] for name in ("rank", "lr", "epochs", "batch_size", "max_length", "seed")}
    settings = {"task": str(toy.task.file), "encoder": str(tiny("bert").folder)} | how
    command = [sys.executable, "-c", SCRIPT, repr(settings)]
    steps: list[str] = []
    for target in ("8", "21", "done"):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ)
        for line in process.stdout or ():
            steps.append(line.strip())
            if steps[-1] == target != "done":
                process.send_signal(signal.SIGKILL)
                break
        process.wait(timeout=300)
        time.sleep(0.1)
    numbers = [int(step) for step in steps if step != "done"]
    assert steps[-1] == "done" and len(numbers) >= STEPS and max(numbers) == STEPS
    assert len(numbers) <= STEPS + 2  # at most the step in hand is taken again, once a kill
    stored = rm.Run(**settings).make(progress=False)
    assert same(stored, rm.train_adapter(tiny("bert"), toy, **HOW))
