"""The recorded results as one file, for a package without them."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import pytest
from conftest import Command

from repmatch_lib.experiments.fetching import archive, fetch
from repmatch_lib.experiments.recorded import INDEX, PACKS, Recorded, fetched
from repmatch_lib.store import Store


@pytest.fixture
def without(tmp_path: Path) -> Recorded:
    """The recorded results as the package alone has them: an index and hashes, no pack."""
    root = tmp_path / "installed"
    root.mkdir()
    for name in (INDEX, PACKS):
        (root / name).write_bytes((Recorded().root / name).read_bytes())
    return Recorded(root)


@pytest.fixture
def archived(tmp_path: Path, own_store: Path) -> Path:
    archive(tmp_path / "all.zip")
    return tmp_path / "all.zip"


def test_what_was_fetched_answers(without: Recorded, archived: Path) -> None:
    asked, entry = next(iter(without.entries.items()))
    assert without.find(asked, entry.settings) is None
    assert "fetch-recorded" in without.near(entry.settings)
    digest = hashlib.sha256(archived.read_bytes()).hexdigest()
    assert fetch(archived, digest.upper(), without) == sorted(without.hashes)
    found = without.find(asked, entry.settings)
    assert found == entry and without.folder(entry, Store()).is_dir()


def test_packs_that_are_not_there_cannot_be_archived(without: Recorded, own_store: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"seed_robustness\.zip.* are not installed: get them with"):
        archive(tmp_path / "none.zip", without)
    assert not (tmp_path / "none.zip").exists()


def test_the_same_results_give_the_same_archive(archived: Path, tmp_path: Path) -> None:
    assert archive(tmp_path / "again.zip") == hashlib.sha256(archived.read_bytes()).hexdigest()


def test_a_damaged_archive_is_refused_and_leaves_nothing(without: Recorded, archived: Path, tmp_path: Path) -> None:
    content = bytearray(archived.read_bytes())
    content[len(content) // 2] ^= 1
    archived.write_bytes(content)
    with pytest.raises(ValueError, match=r"all\.zip is damaged|is not that of this release"):
        fetch(archived, there=without)
    with pytest.raises(ValueError, match="has the SHA-256 [0-9a-f]{64}, not 12: fetch it again"):
        fetch(archived, "12", without)
    other = tmp_path / "other.zip"
    with zipfile.ZipFile(other, "w") as zipped:
        zipped.writestr("../../escaped.zip", "x")
    with pytest.raises(ValueError, match="lacks .*zip: give the archive of this release"):
        fetch(other, there=without)
    assert not fetched().exists() and not list(tmp_path.rglob("escaped.zip"))


def test_an_address_is_safe(without: Recorded) -> None:
    with pytest.raises(ValueError, match="give a file or an https address"):
        fetch("http://example.org/all.zip", there=without)
    with pytest.raises(OSError, match="cannot be fetched .*: check the address, or give a file"):
        fetch("https://127.0.0.1:9/all.zip", there=without, progress=False)


def test_the_commands(command: Command, archived: Path, tmp_path: Path) -> None:
    code, out, _ = command("archive-recorded", str(tmp_path / "one.zip"))
    assert code in (0, None) and hashlib.sha256(archived.read_bytes()).hexdigest() in out
    code, out, _ = command("fetch-recorded", str(tmp_path / "one.zip"))
    assert code in (0, None) and "files are in place" in out
