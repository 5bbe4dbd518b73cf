"""What the book's own extensions make of tables, tags and the state of the reproduction."""

import re
from pathlib import Path
from types import SimpleNamespace

import accessible
import own_host
import pandas as pd
import pytest
from aligned_tables import align
from bs4 import BeautifulSoup
from test_pages import build

import repmatch_lib as rm


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


def test_the_state_counts_the_ledger(tmp_path: Path) -> None:
    pages, warnings = build(tmp_path, "myst_nb state", index="# Cover\n\n```{state}\n```\n")
    line = BeautifulSoup(pages["index"], "html.parser").select_one(".state")
    counts = {span.text.partition(" ")[2]: int(span.strong.text) for span in line.find_all("span")}
    verdicts = [row.verdict for row in rm.ledger().itertuples() if "beside" not in row.where]
    assert 0 < len(verdicts) < len(rm.ledger())
    assert counts == {v: verdicts.count(v) for v in ("reproduced", "not reproduced", "undecided", "not run")}
    assert line.text.startswith(f"Of {len(verdicts)} claims of the paper: ") and not warnings


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
