"""Sphinx extension: numbers in tables stand with their decimal points under one another.

Markdown's tables and pandas' are the same to a reader, so both are set where they meet, in the finished body. A column
whose every cell is a number, with a unit or an interval or not, is padded by invisible digits; columns and rows headed
"paper", "recorded" and "this build" take the colours of the three kinds of number. Cells of a wide table carry the
name of their column, by which a narrow screen sets each line as a block of its own.
"""

from __future__ import annotations

import re
from typing import Any

from bs4 import BeautifulSoup, Tag
from sphinx.application import Sphinx

KINDS = {"paper": "paper", "recorded": "recorded", "recorded run": "recorded", "this build": "build"}
NONE = {"", "–", "-", "NaN", "nan", "None"}
WIDE = 4  # columns that a narrow screen does not hold side by side

_TABLE = re.compile(r"<table\b.*?</table>", re.DOTALL)
_NUMBER = re.compile(
    r"(?P<whole>[-−]?\d[\d,]*)(?P<part>\.\d+)?(?P<unit>e[-+]?\d+|\s?[%×A-Za-zµ]{1,8})?"
    r"(?P<interval>\s*\[[-−]?\d[\d.,]*,\s*[-−]?\d[\d.]*\])?"
)
_NO_SIGN = re.compile(r"(?<![\w.)\]])[-−](?=0(\.0+)?(?![\d.]))")  # of a number that rounds to nothing
_INTERVAL = re.compile(r"\[[-−]?\d[\d.,]*,\s*[-−]?\d[\d.]*\]")


def align(html: str) -> str:
    """A page's body with the numbers of its tables aligned."""
    return _TABLE.sub(lambda found: str(_aligned(BeautifulSoup(found[0], "html.parser"))), html)


def _aligned(table: BeautifulSoup) -> BeautifulSoup:
    for text in table.find_all(string=_NO_SIGN):
        text.replace_with(_NO_SIGN.sub("", text))
    grid = _grid(table)
    heads = len(table.select("thead tr"))
    for column in range(1 + max((c for _, c in grid), default=-1)):
        cells = {row: cell for (row, c), cell in grid.items() if c == column and row >= heads}
        head = next((grid[row, column].get_text(strip=True) for row in range(heads) if (row, column) in grid), "")
        for row, cell in cells.items():
            first = next(above for above in range(row, -1, -1) if (above, 0) in grid)  # a name may span several rows
            name = grid[first, 0].get_text(strip=True) if column else ""
            text = cell.get_text(strip=True)
            kind = next((KINDS[part] for part in (head, head.partition(",")[0]) if part in KINDS), None)
            if kind is None and _NUMBER.match(text):
                kind = KINDS.get(name)
            if kind and re.search(r"\d", text):
                cell["class"] = [*cell.get("class", []), kind]
        _pad([cell for cell in cells.values() if cell.get_text(strip=True) not in NONE])
    _label(table)
    return table


def _label(table: BeautifulSoup) -> None:
    """Say in each cell of a wide table what its column is called, where every line has one cell a column."""
    heads, *more = table.select("thead tr") or [table]
    names = [head.get_text(" ", strip=True) for head in heads.find_all(["th", "td"])]
    lines = [line.find_all(["th", "td"], recursive=False) for line in table.select("tbody tr")]
    spans = table.select("[rowspan], [colspan]")
    if more or spans or len(names) < WIDE or any(len(line) != len(names) for line in lines):
        return
    table.table["class"] = [*table.table.get("class", []), "stacks"]
    for line in lines:
        for name, cell in zip(names[1:], line[1:], strict=True):
            cell["data-label"] = name
            value = table.new_tag("div")
            value.extend(list(cell.contents))
            cell.append(value)


def _grid(table: BeautifulSoup) -> dict[tuple[int, int], Tag]:
    """The cells by row and column; one that spans several rows or columns is named once."""
    grid: dict[tuple[int, int], Tag] = {}
    taken: set[tuple[int, int]] = set()
    for row, line in enumerate(table.find_all("tr")):
        column = 0
        for cell in line.find_all(["th", "td"]):
            while (row, column) in taken:
                column += 1
            grid[row, column] = cell
            down, across = int(cell.get("rowspan", 1)), int(cell.get("colspan", 1))
            taken |= {(row + d, column + a) for d in range(down) for a in range(across)}
    return grid


def _pad(cells: list[Tag]) -> None:
    """Set a column in spans, if it holds numbers only; elsewhere keep intervals on one line."""
    found = [_NUMBER.fullmatch((cell.string or "").strip()) for cell in cells]
    if not all(found):
        for text in [text for cell in cells for text in cell.find_all(string=_INTERVAL)]:
            marked = _INTERVAL.sub(r'<span class="interval">\g<0></span>', str(text.output_ready("html")))
            text.replace_with(BeautifulSoup(marked, "html.parser"))
        return
    soup = BeautifulSoup("", "html.parser")
    for cell, number in zip(cells, found, strict=True):
        span = soup.new_tag("span", attrs={"class": "number"})
        span.string = number["whole"] + (number["part"] or "") + (number["unit"] or "")
        span["data-lead"] = "".join(mark * _more(found, number, "whole", mark) for mark in ("-", "0", ","))
        span["data-tail"] = "".join(mark * _more(found, number, "part", mark) for mark in (".", "0"))
        new = [span]
        if number["interval"]:
            interval = soup.new_tag("span", attrs={"class": "interval"})
            interval.string = number["interval"].strip()
            new += [" ", interval]
        cell.string.replace_with(*new)


def _more(column: list[re.Match[str]], number: re.Match[str], part: str, mark: str) -> int:
    """How many more such marks the column's fullest number has; "0" stands for any digit."""

    def count(one: re.Match[str]) -> int:
        text = re.sub(r"\d", "0", (one[part] or "").replace("−", "-"))
        return text.count(mark)

    return max(map(count, column)) - count(number)


def set_tables(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Align the tables of a page."""
    if "body" in context:
        context["body"] = align(context["body"])


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("html-page-context", set_tables, priority=910)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
