"""What the book's own extensions make of numbers, tables, tags, titles and the state of the reproduction."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from types import SimpleNamespace

import accessible
import nbformat
import own_host
import pandas as pd
import pytest
import sidebar
import small_runs
from aligned_tables import align
from bs4 import BeautifulSoup
from content_policy import with_policy
from docutils import nodes
from helpers import ROOT
from public_api import public_names
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace

import repmatch_lib as rm
from repmatch_lib.book import parameters


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
    assert "A (Tensor, shape (…, r, in))" in re.sub(r"<[^>]+>", "", basis)[:1500]
    both = pages["index"].split('id="repmatch_lib.similarity.comparison.repmatch"')[1]
    assert "a, b (Adapter, folder" in re.sub(r"<[^>]+>", "", both)[:1500]


def column(html: str, place: int) -> list[str]:
    """A column of the first table as a reader sees it, invisible digits shown as they are."""
    for number in (soup := BeautifulSoup(html, "html.parser")).select(".number"):
        number.string = number["data-lead"] + number.text + number["data-tail"]
    return [row.find_all(["th", "td"])[place].text for row in soup.select("tbody tr")]


def markdown(*cells: str) -> str:
    rows = "".join(f"<tr><td><p>a claim</p></td><td><p>{cell}</p></td></tr>" for cell in cells)
    return f"<table><thead><tr><th>claim</th><th>recorded</th></tr></thead><tbody>{rows}</tbody></table>"


@pytest.mark.parametrize(
    "cells",
    [
        ("0.5", "12.25", "-3"),
        ("0.480 [0.223, 0.737]", "83.2 [80.1,\N{NO-BREAK SPACE}85.0]", "-0.01 [-0.2, 0.1]"),
        ("1,598", "12", "–"),
        ("7.70 %", "21.344 %", ""),
    ],
)
def test_decimal_points_stand_under_one_another(cells: tuple[str, ...]) -> None:
    shown = [cell for cell in column(align(markdown(*cells)), 1) if cell not in ("", "–")]
    heads = [re.match(r"[-\d,]*", cell)[0] for cell in shown]
    assert len(shown) > 1 and len({len(head) for head in heads}) == 1
    assert len({cell.index("[") for cell in shown if "[" in cell}) <= 1


def test_text_and_numbers_keep_their_wording() -> None:
    html = markdown("76.18 > 72.25", "0.48 [0.22, 0.73] in words", "3")
    aligned = BeautifulSoup(align(html), "html.parser")
    assert aligned.text == BeautifulSoup(html, "html.parser").text
    assert not aligned.select(".number") and aligned.select_one(".interval").text == "[0.22, 0.73]"


def test_pandas_tables_with_spanning_rows_align() -> None:
    index = pd.MultiIndex.from_tuples([("mnli", "full"), ("mnli", "mid"), ("snli", "full")], names=["corpus", "group"])
    html = pd.DataFrame({"share": [0.5, 23.75, 1.0], "rows": [7, 1598, 12]}, index).to_html()
    aligned = BeautifulSoup(align(html), "html.parser")
    numbers = [(n["data-lead"], n.text) for n in aligned.select(".number")]
    assert numbers == [("0", "0.50"), ("000", "7"), ("", "23.75"), ("", "1598"), ("0", "1.00"), ("00", "12")]


def test_kinds_of_number_are_coloured_by_column_and_by_row() -> None:
    html = pd.DataFrame({"paper": [0.4, 0.5], "this build": [0.1, 0.2]}, ["a", "b"]).to_html()
    cells = BeautifulSoup(align(html), "html.parser").select("tbody td")
    assert [cell["class"] for cell in cells] == [["paper"], ["build"]] * 2
    html = pd.DataFrame({"mnli": [0.4, 0.5]}, ["the rule", "paper"]).to_html()
    cells = BeautifulSoup(align(html), "html.parser").select("tbody td")
    assert [cell.get("class") for cell in cells] == [None, ["paper"]]
    rows = "<tr><th rowspan=2>this build</th><td>1</td></tr><tr><td>2</td></tr>"
    html = f"<table><thead><tr><th>of</th><th>recorded, float32</th></tr></thead><tbody>{rows}</tbody></table>"
    cells = BeautifulSoup(align(html.replace("recorded, float32", "rank")), "html.parser").select("td")
    assert [cell["class"] for cell in cells] == [["build"], ["build"]]  # a name that spans two rows is that of both
    cells = BeautifulSoup(align(html), "html.parser").select("td")
    assert [cell["class"] for cell in cells] == [["recorded"], ["recorded"]]


def test_a_wide_table_s_cells_say_their_column() -> None:
    wide = pd.DataFrame({"a": [1], "b": [-0.0], "c": ["x"]}, ["first"]).to_html()
    table = BeautifulSoup(align(wide), "html.parser").table
    assert [cell["data-label"] for cell in table.select("td")] == ["a", "b", "c"] and "stacks" in table["class"]
    assert [cell.get_text(strip=True) for cell in table.select("td")] == ["1", "0.0", "x"]
    assert "stacks" not in align(pd.DataFrame({"a": [1], "b": [2]}).to_html())


def test_a_page_s_policy_lets_its_own_scripts_run_and_no_other() -> None:
    page = (
        '<html><head lang="en"><title>x</title></head><body><script>a = 1;</script><script src="b.js"></script>'
        '<script type="application/json">{"no": "script"}</script><p onclick="go(&quot;x&quot;)">p</p></body></html>'
    )
    made = with_policy(page)
    assert with_policy(made) == made == with_policy(page, ['go("x")']) and made.count("Content-Security-Policy") == 1
    head = BeautifulSoup(made, "html.parser").head
    assert next(head.children)["http-equiv"] == "Content-Security-Policy"  # ahead of all that it is about
    scripts = dict(rule.strip().split(" ", 1) for rule in head.meta["content"].split(";"))["script-src"].split()
    # As openssl has them.
    hashes = ("+B4P3mELzC9+K6hvRZAJzBhAm2vqILTv5LBWPkH5ONA=", "lvqDDRHHabLt5CZkuiO+A4+IF2n5Jk22flVtezagqfY=")
    assert {*scripts} == {"'self'", "file:", "'unsafe-hashes'", *(f"'sha256-{one}'" for one in hashes)}


def test_the_state_counts_the_ledger(tmp_path: Path) -> None:
    pages, warnings = build(tmp_path, "myst_nb state", index="# Cover\n\n```{state}\n```\n")
    line = BeautifulSoup(pages["index"], "html.parser").select_one(".state")
    counts = {span.text.partition(" ")[2]: int(span.strong.text) for span in line.find_all("span")}
    lines = rm.ledger()
    verdicts = [v.split(":")[0] for v, kind in zip(lines.verdict, lines.kind, strict=True) if kind == "finding"]
    assert 0 < len(verdicts) < len(lines)
    assert counts == {v: verdicts.count(v) for v in ("reproduced", "not reproduced", "undecided", "not run")}
    assert line.text.startswith(f"Of {len(verdicts)} findings of the paper: ") and not warnings


def test_folds_are_named_by_their_own_words() -> None:
    context = {"body": '<details><summary aria-label="Toggle hidden content">\n<p>Show code</p></summary></details>'}
    accessible.mend(None, "page", "page.html", context, None)
    assert context["body"].startswith("<details><summary>")


@pytest.mark.parametrize(
    ("body", "needed"),
    [("<p>words</p>", False), ('<div class="math notranslate">', True), ("<p>\\(x\\)</p>", True)],
)
def test_mathjax_is_loaded_where_there_is_a_formula(body: str, needed: bool) -> None:
    app = SimpleNamespace(config=SimpleNamespace(mathjax_path="vendor/tex-svg.js"))
    files = [SimpleNamespace(filename=f"_static/{name}") for name in ("doctools.js", "vendor/tex-svg.js")]
    context = {"body": body, "script_files": files}
    own_host.drop_unused(app, "page", "page.html", context, None)
    assert context["script_files"] == (files if needed else files[:1])


def test_pages_are_written_again_only_when_a_title_changes() -> None:
    env = SimpleNamespace(titles={"a": nodes.title("", "A"), "b": nodes.title("", "B")})
    assert sidebar.pages_with_old_titles(None, env) == []  # all are new, and written anyway
    assert sidebar.pages_with_old_titles(None, env) == []
    env.titles["a"] = nodes.title("", "Another")
    assert sidebar.pages_with_old_titles(None, env) == ["a", "b"]
    assert sidebar.pages_with_old_titles(None, env) == []


@pytest.mark.parametrize(
    ("chapter", "profile", "small"),
    [("layers", "mini", True), ("layers", "laptop", False), ("images", "mini", True), ("performance", "mini", False)],
)
def test_a_small_run_is_told_from_the_recorded_one(chapter: str, profile: str, small: bool, tmp_path: Path) -> None:
    file = tmp_path / f"{chapter}.ipynb"
    values = parameters.settings(ROOT / f"notebooks/{chapter}.ipynb", profile) | {"record": "elsewhere"}
    file.write_text(json.dumps({"metadata": {"papermill": {"parameters": values}}}))
    assert small_runs.is_small(file) is small
