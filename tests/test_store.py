"""Results are there whole or not at all, once, and never stale."""

from __future__ import annotations

import errno
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

import repmatch_lib as rm
from repmatch_lib import store


def write(folder: Path) -> None:
    (folder / "result").write_text("whole")


def left(root: Path) -> list[str]:
    """Everything in a store but locks and hashes."""
    files = [p for p in root.rglob("*") if p.is_file() and p.suffix != ".lock" and p.name != store.HASHES]
    return sorted(str(p.relative_to(root)) for p in files)


def test_the_second_time_it_is_found(own_store: Path) -> None:
    calls = []

    def count(folder: Path) -> None:
        calls.append(folder)
        write(folder)

    paths = {rm.Store().make("things", "k1", count) for _ in range(2)}
    assert paths == {own_store / "things" / "k1"} and len(calls) == 1
    rm.Store().make("things", "k2", count)
    assert len(calls) == 2 and left(own_store) == ["things/k1/result", "things/k2/result"]


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt(), RuntimeError("diverged")], ids=repr
)
def test_a_write_that_fails_leaves_nothing(own_store: Path, error: BaseException) -> None:
    def fail(folder: Path) -> None:
        write(folder)
        raise error

    with pytest.raises(type(error)) as caught:
        rm.Store().make("things", "k", fail)
    if isinstance(error, OSError):
        assert all(part in str(caught.value) for part in ("No space left", str(own_store), "REPMATCH_STORE"))
    assert not left(own_store) and not [p for p in own_store.rglob("*") if p.is_dir() and p.name != "things"]
    assert (rm.Store().make("things", "k", write) / "result").read_text() == "whole"


def test_a_file_that_the_writer_misses_is_not_the_store_s_fault() -> None:
    def fail(folder: Path) -> None:
        raise FileNotFoundError("no tokenizer in /models/mine")

    with pytest.raises(OSError, match="no tokenizer") as caught:
        rm.Store().make("things", "k", fail)
    assert "cannot be written" not in str(caught.value)


def test_a_read_only_store_is_found_out_first(own_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    def never(folder: Path) -> None:
        raise AssertionError("the writer was called")

    monkeypatch.setattr(tempfile, "mkdtemp", refuse)
    with pytest.raises(OSError, match="(?s)Permission denied.*REPMATCH_STORE") as caught:
        rm.Store().make("things", "k", never)
    assert str(own_store) in str(caught.value)


def test_a_file_in_the_place_of_the_store_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(OSError, match="taken cannot be written.*REPMATCH_STORE"):
        rm.Store(tmp_path / "taken").make("things", "k", write)


def test_abandoned_folders_go_and_others_stay(own_store: Path) -> None:
    kind = own_store / "things"
    for name in (".k-killed", ".other-running"):
        (kind / name).mkdir(parents=True)
        write(kind / name)
    rm.Store().make("things", "k", write)
    assert left(own_store) == ["things/.other-running/result", "things/k/result"]


WRITER = """
import sys, time
from pathlib import Path
from repmatch_lib.store import Store

root, log, name = sys.argv[1:]
Path(f"{log}-{name}").touch()
while not all(Path(f"{log}-{k}").exists() for k in "ab"):  # start together
    time.sleep(0.01)

def write(folder):
    (folder / "result").write_text(name)
    with open(log, "a") as stream:
        stream.write(name)
    time.sleep(0.5)

print(Path(Store(root).make("things", "k", write) / "result").read_text())
"""


def test_two_processes_write_once(tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = [sys.executable, "-c", WRITER, str(tmp_path / "store"), str(log)]
    both = [subprocess.Popen([*command, name], stdout=subprocess.PIPE, text=True) for name in "ab"]
    printed = [process.communicate(timeout=60)[0].strip() for process in both]
    assert all(process.returncode == 0 for process in both)
    assert len(log.read_text()) == 1 and printed == [log.read_text()] * 2
    assert left(tmp_path / "store") == ["things/k/result"]


def test_write_atomically_keeps_the_old_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "new" / "record.json"
    store.write_atomically(file, "old")

    def fail(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(store.os, "replace", fail)
    with pytest.raises(OSError, match="No space"):
        store.write_atomically(file, "new")
    assert file.read_text() == "old" and list(file.parent.iterdir()) == [file]


def test_keys_do_not_depend_on_order() -> None:
    parts = {"rank": 4, "task": "sst2", "modules": ("value",), "rows": None}
    keys = {store.key(**parts), store.key(**dict(reversed(parts.items())))}
    assert len(keys) == 1
    others = [parts | {name: "else"} for name in parts]
    assert len(keys | {store.key(**other) for other in others}) == 5


@pytest.mark.parametrize("damage", ["a bit", "cut", "gone", "another file", "hashes gone"])
def test_a_result_that_was_changed_is_made_again(
    own_store: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder = rm.Store().make("things", "k", write)
    file = folder / "result"
    if damage == "a bit":
        file.write_text("whOle")
    elif damage == "cut":
        file.write_text("who")
    elif damage == "gone":
        file.unlink()
    elif damage == "another file":
        (folder / "more").write_text("")
    else:
        (folder / store.HASHES).unlink()
    with caplog.at_level("WARNING"):
        rm.Store().make("things", "k", write)
    assert "things/k was changed after it was made" in caplog.text
    assert file.read_text() == "whole" and left(own_store) == ["things/k/result"]


def test_a_file_appears_whole_readable_by_all_and_alone(tmp_path: Path) -> None:
    file = tmp_path / "new" / "table.bin"
    with store.whole(file) as temporary:
        temporary.write_bytes(b"half")
        assert not file.exists() and temporary.parent == file.parent
    assert file.read_bytes() == b"half" and file.stat().st_mode & 0o777 == 0o644
    with pytest.raises(KeyboardInterrupt), store.whole(file) as temporary:
        temporary.write_bytes(b"other")
        raise KeyboardInterrupt
    assert file.read_bytes() == b"half" and list(file.parent.iterdir()) == [file]
