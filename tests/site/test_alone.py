"""Every solution has a check that catches a stated mistake, and a notebook alone leaves nothing but its record."""

from __future__ import annotations

import ast
from pathlib import Path

import alone
import nbformat
import pytest


def test_every_solution_has_a_check_and_a_known_mistake() -> None:
    notebooks = {path: nbformat.read(path, 4) for path in alone.NOTEBOOKS}
    found = {
        f"{path.stem}/{cell.id}": cell.source for path, book in notebooks.items() for cell in alone.solutions(book)
    }
    assert len(found) > 20 and found.keys() == alone.MISTAKES.keys()
    for address, source in found.items():
        assert any(isinstance(node, ast.Assert) for node in ast.walk(ast.parse(source))), address
        assert source.count(alone.MISTAKES[address][0]) == 1, address


@pytest.mark.parametrize(
    ("mistake", "outcome"), [("== 4", AssertionError), ("> 4", None), ("> four", NameError)], ids=str
)
def test_a_mistake_has_to_fail_the_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mistake: str, outcome: type[Exception] | None
) -> None:
    """One that passes the check fails the copy; so does one that never gets to it."""
    solution = nbformat.v4.new_code_cell("assert five > 4", id="two", metadata={"tags": ["solution"]})
    nbformat.write(nbformat.v4.new_notebook(cells=[solution]), tmp_path / "one.ipynb")
    monkeypatch.setitem(alone.MISTAKES, "one/two", ("> 4", mistake))
    before, after = alone.checked(tmp_path / "one.ipynb").cells
    names = {"five": 5}
    if outcome is AssertionError:
        exec(before.source, names)
    else:
        with pytest.raises(outcome or AssertionError, match="one/two" if outcome is None else "four"):
            exec(before.source, names)
    exec(after.source, names)
    assert names["five"] == 5


def test_a_notebook_that_leaves_more_than_its_record_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("one.ipynb", "one.json"):
        (tmp_path / name).touch()
    exec(alone.guard(Path("one.ipynb"), alone.ROOT).source, {})
    with pytest.raises(AssertionError):
        exec(alone.guard(Path("one.ipynb"), tmp_path).source, {})  # the library comes from elsewhere
    (tmp_path / "more.txt").touch()
    with pytest.raises(AssertionError, match=r"more\.txt"):
        exec(alone.guard(Path("one.ipynb"), alone.ROOT).source, {})
