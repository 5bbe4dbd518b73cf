"""The pages' own extensions, and the examples that readers are to follow."""

import io
import json
import re
import shlex
import sys
from pathlib import Path

import nbformat
import pytest
from public_api import public_names
from pybtex.database import parse_file
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace

import repmatch_lib as rm
from repmatch_lib import cli

ROOT = Path(__file__).parents[1]


def build(folder: Path, extensions: str, **pages: str) -> tuple[dict[str, str], str]:
    """A small book of such pages, ``.md`` or, where the text is JSON, ``.ipynb``: HTML by name, and the warnings."""
    source, out, warnings = folder / "source", folder / "out", io.StringIO()
    source.mkdir()
    conf = f"import sys; sys.path.insert(0, {str(ROOT / 'book/_ext')!r})\nextensions = {extensions.split()}\n"
    conf += "nitpicky = True\nnb_execution_mode = 'off'\nmyst_enable_extensions = ['dollarmath', 'attrs_inline']\n"
    (source / "conf.py").write_text(conf)
    for name, text in pages.items():
        (source / f"{name}.{'ipynb' if text.startswith('{') else 'md'}").write_text(text)
    with docutils_namespace():
        Sphinx(source, source, out, folder / "doctrees", "html", status=None, warning=warnings).build()
    return {name: (out / f"{name}.html").read_text() for name in pages}, warnings.getvalue()


def test_recorded_numbers_come_from_the_records(tmp_path: Path) -> None:
    wanted = {"seed_robustness": "other heads", "cls_baseline": "cls hans, level"}
    text = "# Numbers\n\n" + "\n\n".join(f"{{recorded}}`{name}: {estimate}`" for name, estimate in wanted.items())
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(text)])
    pages, warnings = build(
        tmp_path,
        "myst_nb recorded_numbers",
        index=f"{text}\n\n```{{toctree}}\ncells\n```\n",
        cells=json.dumps(notebook),
    )
    assert not warnings
    for page in pages.values():
        spans = re.findall(r'<span class="recorded">(.*?)</span>', page)
        for span, (name, estimate), decimals in zip(spans, wanted.items(), (3, 1), strict=True):
            kept = json.loads((ROOT / f"data/recorded/{name}.json").read_text())["estimates"][estimate]
            value, low, high = (f"{kept[part]:.{decimals}f}" for part in ("value", "low", "high"))
            assert span.replace("\N{NO-BREAK SPACE}", " ") == f"{value} [{low}, {high}]"


@pytest.mark.parametrize(
    ("text", "known"),
    [("seed_robustnes: same head", "cls_baseline, dataset_heatmaps,"), ("seed_robustness: same hed", "; same head;")],
)
def test_an_unknown_recorded_number_is_a_warning_that_names_the_known(tmp_path: Path, text: str, known: str) -> None:
    _, warnings = build(tmp_path, "myst_nb recorded_numbers", index=f"# Page\n\nIt is {{recorded}}`{text}`.\n")
    assert known in warnings and "index.md:3: WARNING" in warnings


def test_the_reference_holds_every_public_name_with_its_parameters(tmp_path: Path) -> None:
    pages, warnings = build(tmp_path, "myst_nb public_api", index=(ROOT / "book/api.md").read_text())
    assert not warnings
    public = [f"repmatch_lib.{module}.{name}" for module, names in public_names().items() for name in names]
    missing = [name for name in public if f'id="{name}"' not in pages["index"]]
    assert not missing and len(public) > 50
    basis = pages["index"].split('id="repmatch_lib.similarity.subspaces.lora_basis"')[1]
    assert "Tensor, shape (..., r, in)" in re.sub(r"<[^>]+>", "", basis)[:1500]


def repmatch(monkeypatch: pytest.MonkeyPatch, command: str) -> int:
    """The exit status of a command line."""
    monkeypatch.setattr(sys, "argv", shlex.split(command))
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    return stopped.value.code or 0


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


def test_the_page_on_own_data_is_followed_to_the_letter(followed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All blocks in order, but for the chapter on a file, which the tests of the notebooks run."""
    scope: dict = {}
    for kind, text in BLOCKS:
        if kind == "python":
            exec(compile(text, "own_data.md", "exec"), scope)
        elif "repmatch run" not in text:
            for command in re.findall(r"^\s*\$ (.*)", text.replace("\\\n", " "), flags=re.MULTILINE):
                assert repmatch(monkeypatch, command) == 0, command
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
def test_each_wrong_file_has_its_line_on_the_page(
    wrong: str, followed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    content = WRONG[wrong]
    Path("wrong.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    assert repmatch(monkeypatch, "repmatch data films.csv wrong.csv --text comment --label stars") == 2
    message = capsys.readouterr().err
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
