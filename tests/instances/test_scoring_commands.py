"""``repmatch score`` and ``repmatch gather``."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import Command, Score, Tiny, random_adapter

import repmatch_lib as rm
from repmatch_lib.instances import scoring


@pytest.fixture
def asked(tiny: Tiny, random_target: rm.Adapter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str | Path]:
    """Options that score thirty rows of the bundled SST-2."""
    monkeypatch.setattr(scoring, "BLOCK", 7)
    folder = random_target.save(tmp_path / "target")
    options = {"task": "sst2", "source": "mini", "rows": "30", "encoder": tiny("bert").folder, "target": folder}
    options |= {"max-length": "64", "out": tmp_path / "out", "precision": "float32"}
    return ["score", "--same-base", *(text for name, value in options.items() for text in (f"--{name}", value))]


def test_the_commands_score_and_gather(
    tiny: Tiny, random_target: rm.Adapter, asked: list[str | Path], command: Command, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    code, printed, _ = command(*asked, "--shard", "1/2")
    assert code == 0 and "Shard 1/2 is done; other parts of" in printed and not (out / "scores.parquet").exists()
    code, printed, errors = command("gather", out)
    assert code == 2 and not printed and "lacks 2 of 5 blocks (the first is 1)" in errors
    code, printed, _ = command(*asked)
    expected = rm.score_instances(
        tiny("bert"), rm.load(rm.task("sst2"), source="mini", rows=30), random_target, max_length=64,
        precision="float32", same_base=True, progress=False,
    )  # fmt: skip
    mean = expected.to_pandas().score.mean()
    assert code == 0 and f"30 instances scored, mean {mean:.4f}: {out}/scores.parquet" in printed
    assert rm.Scores.load(out / "scores.parquet").table.equals(expected.table)
    (out / "scores.parquet").unlink()
    code, printed, _ = command("gather", out)
    assert code == 0 and f"30 instances: {out}/scores.parquet" in printed
    assert rm.Scores.load(out / "scores.parquet").table.equals(expected.table)


def test_the_command_passes_every_option_on(
    asked: list[str | Path], command: Command, tmp_path: Path, tiny: Tiny
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
        (["--encoder", "a/b/c"], "unknown encoder 'a/b/c'"),
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
    asked: list[str | Path], command: Command, tmp_path: Path, options: list[str], message: str
) -> None:
    code, printed, errors = command(*asked, *options)
    assert code == 2 and not printed and errors.startswith("error: ")
    assert message in errors and errors.count("\n") == 1 and "Traceback" not in errors
    assert not (tmp_path / "out").exists()


def test_gathering_nothing_is_one_message(command: Command, tmp_path: Path) -> None:
    code, _, errors = command("gather", tmp_path)
    assert code == 2 and "holds no scores.json: give a folder that 'repmatch score --out' wrote" in errors
    assert errors.count("\n") == 1 and not list(tmp_path.glob("*"))


def test_a_printed_path_is_whole(score: Score, command: Command, tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 20)
    score(out=folder)
    assert f"{folder}/scores.parquet" in command("gather", folder)[1]
