"""The pages' examples hold, their references can be found, and their terms are said once."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from helpers import ROOT, Command
from pybtex.database import parse_file

import repmatch_lib as rm

OWN_DATA = (ROOT / "book/own_data.md").read_text()
FILES = re.findall(r":caption: (\S+)\n\n(.*?)```", OWN_DATA, flags=re.DOTALL)
BLOCKS = re.findall(r"```(python|console)\n(.*?)```", OWN_DATA, flags=re.DOTALL)


@pytest.fixture
def followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the page on own data gives."""
    monkeypatch.chdir(tmp_path)
    for name, content in FILES:
        Path(name).write_text(content, encoding="utf-8")
    return tmp_path


def test_the_page_on_own_data_is_followed_to_the_letter(followed: Path, command: Command) -> None:
    """All blocks in order, but for the chapter on a file, which the tests of the notebooks run."""
    scope: dict = {}
    for kind, text in BLOCKS:
        if kind == "python":
            exec(compile(text, "own_data.md", "exec"), scope)
        elif "repmatch run" not in text:
            for line in re.findall(r"^\s*\$ (.*)", text.replace("\\\n", " "), flags=re.MULTILINE):
                program, *arguments = shlex.split(line)
                assert program == "repmatch" and command(*arguments)[0] == 0, line
    assert 0 < scope["found"].chance < scope["found"].score < 1
    assert {path.name for path in followed.iterdir()} >= {"heat.png", "grids.png", "adapters", "scores"}
    assert len(scope["scores"]) == len(rm.load(scope["books"])) == 10


WRONG = {
    "no such column": "text,stars\na,good\nb,bad\n",
    "semicolons": "comment;stars\na;good\nb;bad\n",
    "an empty text": "comment,stars\na,good\n,bad\n",
    "an empty label": "comment,stars\na,good\nb,\nc,bad\n",
    "one label": "comment,stars\na,good\nb,good\n",
    "Latin-1": "comment,stars\ncaf\xe9,good\nb,bad\n".encode("latin-1"),
    "a bare comma": "comment,stars\na, or b,good\nb,bad\n",
    "a web page": "<!DOCTYPE html><html></html>\n",
    "other labels": "comment,stars\na,yes\nb,no\n",
}


@pytest.mark.parametrize("wrong", WRONG)
def test_each_wrong_file_has_its_line_on_the_page(wrong: str, followed: Path, command: Command) -> None:
    content = WRONG[wrong]
    Path("wrong.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    code, _, message = command("data", "films.csv", "wrong.csv", "--text", "comment", "--label", "stars")
    assert code == 2
    known = re.findall(r'^\| "(.*?)" \|', OWN_DATA, flags=re.MULTILINE)
    assert "wrong" in message and any(phrase in message for phrase in known)


def test_every_reference_can_be_found() -> None:
    entries = parse_file(ROOT / "book/references.bib").entries
    assert len(entries) > 20
    for key, entry in entries.items():
        assert {"doi", "eprint", "url", "isbn"} & {name.lower() for name in entry.fields}, key
        assert re.fullmatch(r"10\.\d{4,9}/\S+", entry.fields.get("doi", "10.1234/5")), key
        assert re.fullmatch(r"\d{4}\.\d{4,5}", entry.fields.get("eprint", "1234.5678")), key


def test_the_example_of_ten_minutes_holds() -> None:
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "book/ten_minutes.md").read_text(), flags=re.DOTALL)
    assert "assert found.score > found.chance_95" in block
    exec(compile(block, "ten_minutes.md", "exec"), {})


def test_glossary_terms_are_sorted_and_said_once() -> None:
    """In the order of the alphabet, so that a reader finds them on paper too."""
    (entries,) = re.findall(r"```\{glossary\}\n(.*?)```", (ROOT / "book/glossary.md").read_text(), flags=re.DOTALL)
    terms = [line.strip("[]").lower() for line in entries.splitlines() if line and not line.startswith(" ")]
    assert len(terms) > 30 and len(set(terms)) == len(terms)
    heads = [term for term in terms if term != "right side"]  # explained with the left
    assert heads == sorted(heads)


def test_method_page_examples_hold() -> None:
    """Every Python block of the page, in order; they hold assertions of the worked example."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "book/method.md").read_text(), flags=re.DOTALL)
    assert blocks and any("assert" in block for block in blocks)
    scope: dict = {}
    for block in blocks:
        exec(compile(block, "method.md", "exec"), scope)
