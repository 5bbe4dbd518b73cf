"""Recorded results: found by the request alone, checked when they are read, refused with what is near."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers import Tiny

import repmatch_lib as rm
from repmatch_lib.experiments import recorded, requests
from repmatch_lib.experiments.recorded import Recorded
from repmatch_lib.experiments.verification import Verified, off, verify
from repmatch_lib.store import Store


@pytest.fixture
def run(tiny: Tiny, toy: rm.Corpus) -> rm.Run:
    return rm.Run(str(toy.task.file), encoder=str(tiny("bert").folder), rank=2, lr=1e-2, epochs=2, max_length=32)


@pytest.fixture
def store(tmp_path: Path, run: rm.Run, monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorded]:
    """One recorded run; requests look for it here."""
    there = Recorded(tmp_path / "results")
    monkeypatch.setattr(requests, "Recorded", lambda: there)
    there.add("toy.zip", dict([run.pack(Store(tmp_path / "maker"))]))
    yield there


def refuse(*_: object, **__: object) -> None:
    raise AssertionError("trained or loaded")


def test_a_result_is_found_without_corpus_or_training(
    run: rm.Run, store: Recorded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = run.make(Store(tmp_path / "maker"), progress=False)
    monkeypatch.setattr(rm.Run, "rows_of", refuse)
    monkeypatch.setattr(rm.Run, "folder", refuse)
    found = run.make(progress=False)
    assert all(torch.equal(found.tensors[name], tensor) for name, tensor in trained.tensors.items())
    assert found.provenance == trained.provenance
    with pytest.raises(AssertionError, match="trained or loaded"):
        replace(run, lr=2e-2).make(progress=False)
    monkeypatch.setenv(recorded.FRESH, "1")
    with pytest.raises(AssertionError, match="trained or loaded"):
        run.make(progress=False)


def test_a_new_setting_or_another_default_is_another_request(
    run: rm.Run, store: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run.recorded and not replace(run, seed=1).recorded
    entry = next(iter(store.entries.values()))
    entry.settings["batch_size"] = 7  # as if the default had been another when it was recorded
    assert not run.recorded
    entry.settings["batch_size"] = run.batch_size
    del entry.settings["precision"]  # as if the setting had not been there
    assert run.recorded


@pytest.mark.parametrize("place", [0.2, 0.5, 0.8])
def test_a_flipped_bit_names_the_file(run: rm.Run, store: Recorded, place: float) -> None:
    pack = store.root / "toy.zip"
    content = bytearray(pack.read_bytes())
    content[int(len(content) * place)] ^= 4
    pack.write_bytes(content)
    with pytest.raises(ValueError, match=r"recorded results in .*toy\.zip are damaged .*fetch the file again"):
        run.make(progress=False)


def test_content_that_is_whole_but_not_what_was_recorded_is_refused(run: rm.Run, store: Recorded) -> None:
    pack = store.root / "toy.zip"
    with zipfile.ZipFile(pack) as zipped:
        content = {name: zipped.read(name) for name in zipped.namelist()}
    with zipfile.ZipFile(pack, "w") as zipped:
        for name, data in content.items():
            zipped.writestr(name, data + b" " if name.endswith("adapter_config.json") else data)
    with pytest.raises(ValueError, match="adapter_config.json is not what the index says"):
        run.make(progress=False)


def test_what_is_recorded_nearby_is_told(run: rm.Run, store: Recorded) -> None:
    assert replace(run, lr=0.5, seed=3).near() == (
        "The nearest recorded run has seed = 0 (asked: 3); lr = 0.01 (asked: 0.5)."
    )
    assert rm.Ranking(run).near() == "No ranking is recorded."


def test_the_same_results_give_the_same_bytes(run: rm.Run, store: Recorded, tmp_path: Path) -> None:
    first = {file.name: file.read_bytes() for file in store.root.iterdir()}
    store.add("toy.zip", dict([run.pack(Store(tmp_path / "maker"))]))
    assert {file.name: file.read_bytes() for file in store.root.iterdir()} == first
    store.add("other.zip", dict([replace(run, seed=1).pack(Store(tmp_path / "maker"))]))
    assert len(store.entries) == 2 and (store.root / "toy.zip").read_bytes() == first["toy.zip"]


def test_a_result_is_computed_again(run: rm.Run, store: Recorded) -> None:
    (found,) = verify(sample=5, there=store)
    assert found.request == run and found.pack == "toy.zip" and found.verdict == "equal" and found.seconds > 0
    with pytest.raises(ValueError, match="sample = 0, chapter = None: give at least 1, and one of toy"):
        next(verify(0, there=store))
    with pytest.raises(ValueError, match="chapter = 'other': give at least 1, and one of toy"):
        next(verify(chapter="other", there=store))


def test_every_chapter_has_its_turn(run: rm.Run, store: Recorded, tmp_path: Path) -> None:
    more = [replace(run, seed=seed, epochs=1).pack(Store(tmp_path / "maker")) for seed in range(1, 6)]
    store.add("other.zip", dict(more))
    for seed in range(4):
        assert {found.pack for found in verify(2, seed, there=store)} == {"toy.zip", "other.zip"}
    assert {found.pack for found in verify(9, chapter="toy", there=store)} == {"toy.zip"}


def test_how_far_off_a_result_is(run: rm.Run, tmp_path: Path) -> None:
    adapter = run.make(Store(tmp_path), progress=False)
    name, tensor = next(iter(adapter.tensors.items()))
    largest = max(float(t.abs().max()) for t in adapter.tensors.values())
    moved = replace(adapter, tensors=adapter.tensors | {name: tensor + 0.01})
    assert off(adapter, moved) == pytest.approx(0.01 / largest, rel=1e-4)
    assert off(adapter, replace(adapter, tensors=adapter.tensors | {name: tensor[:1]})) == float("inf")
    assert Verified(run, "toy.zip", 1e-5, 1.0).verdict.startswith("within")
    assert Verified(run, "toy.zip", 1e-2, 1.0).verdict == "different"
