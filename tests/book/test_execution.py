"""The execution status says what the records say."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from helpers import ROOT

import repmatch_lib as rm


def test_every_record_has_its_line() -> None:
    files = {path.stem: json.loads(path.read_text()) for path in (ROOT / "data/recorded").glob("*.json")}
    files = {name: made for name, made in files.items() if made["experiment"] == name}  # others stand beside one
    table = rm.execution().set_index("experiment")
    assert set(table.index) == set(files)
    for name, record in files.items():
        made, row = record["provenance"], table.loc[name]
        assert row.seconds == record["measured"]["training_seconds"]
        names = made["encoder"]["name"]
        assert row.encoder == (names if isinstance(names, str) else ", ".join(names))
        assert made["software"]["git_commit"].startswith(row.commit.rstrip("+"))
        assert made["software"]["packages"]["torch"] in row.torch.split(", ")
        assert {c["source"].split(":")[0] for c in made["corpora"]} == set(row.data.split(", "))
        assert {str(c["rows"]) for c in made["corpora"]} == set(row.rows.split(", "))


def test_the_pages_tables_hold_every_record_and_none_where_there_is_none(tmp_path: Path) -> None:
    shown, software = rm.execution_table().data, rm.software_table().data
    for name in rm.execution().experiment:
        assert f"[{name}]({name}.ipynb)" in shown and name in software
    assert "torch" in software and "torch" not in shown
    assert rm.execution_table(tmp_path).data == rm.software_table(tmp_path).data == "There is none."


def test_a_build_s_lines_leave_out_what_repeats_the_record(tmp_path: Path) -> None:
    record = rm.Record.load(ROOT / "data/recorded/seed_robustness.json")
    record.save(tmp_path / "seed_robustness.json")
    dataclasses.replace(record, experiment="layers").save(tmp_path / "layers.json")
    assert rm.execution(tmp_path).experiment.tolist() == ["layers"]
