"""The results that the book is built from: whole, answered without corpora, loadable by plain PEFT, small."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from typing import Any

import peft
import pytest
import torch
from helpers import ROOT

import repmatch_lib as rm
from repmatch_lib.book import notebooks, packing, parameters
from repmatch_lib.book.crate import CRATE
from repmatch_lib.experiments.catalogue import KINDS
from repmatch_lib.experiments.recorded import INDEX, PACKS, Recorded
from repmatch_lib.experiments.requests import stages
from repmatch_lib.experiments.verification import VERIFIED
from repmatch_lib.store import Store
from repmatch_lib.training.heads import frozen_model

RECORDED = ("dataset_heatmaps", "explorer", "instance_robustness", "layers", "seed_robustness", "top100_selection")


def asked(name: str) -> list[Any]:
    file = ROOT / f"notebooks/{name}.ipynb"
    runs = notebooks.plan(file, parameters.settings(file, "recorded"), "recorded")
    return list(itertools.chain(*stages(runs)))


@pytest.mark.parametrize("name", RECORDED)
def test_a_chapter_needs_no_training(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("trained")

    for kind in KINDS.values():
        monkeypatch.setattr(kind, "folder", refuse)
    found = [request.make(progress=False) for request in asked(name)]
    made_of = [one.provenance["corpus"] for one in found if getattr(one, "provenance", {}).get("corpus")]
    assert len(found) >= 10 and made_of and all(corpus["source"].startswith("local") for corpus in made_of)


def test_another_setting_is_refused_with_both_ways_on() -> None:
    file = ROOT / "notebooks/seed_robustness.ipynb"
    values = parameters.settings(file, "recorded", {"rank": 8})
    with pytest.raises(parameters.ParameterError, match=r"not recorded\. .*rank = 4 \(asked: 8\).*mini.*REPMATCH_DATA"):
        notebooks.plan(file, values, "recorded")


def test_every_file_is_sound_and_the_whole_is_small(tmp_path: Any) -> None:
    there = Recorded()
    for entry in there.entries.values():
        there.folder(entry, Store(tmp_path))
    sizes = [file.stat().st_size for file in there.root.iterdir()]
    assert sum(sizes) < 80e6 and max(sizes) < 45e6
    assert {file.name for file in there.root.iterdir()} - {VERIFIED} == {INDEX, PACKS, CRATE} | {
        e.pack for e in there.entries.values()
    }


def test_plain_peft_loads_what_is_recorded(tmp_path: Any) -> None:
    run = asked("dataset_heatmaps")[0]
    folder = Recorded().folder(run.recorded, Store(tmp_path))
    base = frozen_model(rm.encoder("minilm"), "classification", 2, run.head_seed)
    model = peft.PeftModel.from_pretrained(base, folder)
    loaded = {name: p for name, p in model.named_parameters() if "lora_B" in name}
    assert len(loaded) == 6 and all(p.abs().max() > 1e-3 for p in loaded.values())
    assert rm.repmatch(model, folder).score == pytest.approx(1, abs=1e-6)
    assert torch.isfinite(torch.stack([p.norm() for p in loaded.values()])).all()


def test_the_crate_describes_every_pack(tmp_path: Any) -> None:
    there = Recorded()
    graph = {part["@id"]: part for part in json.loads((there.root / CRATE).read_text())["@graph"]}
    assert {part["@id"] for part in graph["./"]["hasPart"]} == {*there.hashes}
    for name in there.hashes:
        content = (there.root / name).read_bytes()
        assert graph[name]["sha256"] == hashlib.sha256(content).hexdigest() == there.hashes[name]
        assert int(graph[name]["contentSize"]) == len(content)
        held = sum(int(part.rpartition(" ")[2]) for part in graph[name]["description"].split("; "))
        assert held == sum(entry.pack == name for entry in there.entries.values())


def test_the_card_s_code_runs(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    code = re.findall(r"```python\n(.*?)```", (ROOT / "data/recorded/README.md").read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    scope: dict[str, Any] = {}
    for part in code:
        exec(part.replace("sentence-transformers/all-MiniLM-L6-v2", str(rm.encoder("minilm").folder)), scope)
    assert isinstance(scope["model"], peft.PeftModel)
    assert any(p.abs().max() > 1e-3 for name, p in scope["model"].named_parameters() if "lora_B" in name)


def test_what_a_build_does_not_rest_on_is_not_made_to_be_kept(tmp_path: Any) -> None:
    def executed(**given: object) -> None:
        page = {"metadata": {"papermill": {"parameters": given}}}
        (tmp_path / "seed_robustness.ipynb").write_text(json.dumps(page))

    executed(rank=3)
    with pytest.raises(ValueError, match=r"does not rest on this store.* lacks adapters/\w+.* Build it again"):
        packing.pack("seed_robustness", tmp_path, Recorded(tmp_path / "results"), tmp_path / "store")
    assert not (tmp_path / "results").exists()
    executed()  # all of it is recorded, for other chapters too
    assert packing.pack("seed_robustness", tmp_path, root=tmp_path / "store") == 0


def test_the_book_is_built_without_training() -> None:
    """Each request of the default profile is answered by a pack: after a change, 'repmatch keep-small-runs'."""
    names = sorted(file.stem for file in (ROOT / "notebooks").glob("*.ipynb"))
    assert not [one.to_json() for name in names for one in packing.asked(name, "recorded") if not one.recorded]
