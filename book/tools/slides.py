"""The two decks of slides, from ``book/slides.yaml`` and the executed notebooks.

Each slide of that file has a title and, as it needs them, a text, the output or the source of one notebook cell, the
minutes it takes and notes for the speaker. The decks are pages for reveal.js, which the site carries; a number of the
recorded run is named in a text as ``{recorded}`experiment: estimate` `` and comes from its record.
"""

from __future__ import annotations

import argparse
import re
import sys
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

import jinja2
import nbformat
import yaml
from markdown_it import MarkdownIt
from mdit_py_plugins.attrs import attrs_block_plugin, attrs_plugin
from mdit_py_plugins.dollarmath import dollarmath_plugin

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "book/_ext"))
import recorded_numbers  # noqa: E402
from content_policy import with_policy  # noqa: E402

DECKS = ROOT / "book/slides.yaml"
EXECUTED = ROOT / "book/executed"
SITE = ROOT / "_build/html"
TEMPLATE = jinja2.Environment(loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True)


def decks() -> dict[str, dict[str, Any]]:
    """The decks by name, each with title, minutes and slides."""
    return yaml.safe_load(DECKS.read_text())


def html(text: str) -> str:
    """Markdown with formulas, attributes, fragments of a table, and recorded numbers, as HTML."""
    text = re.sub(r"\{recorded\}`([^`]+)`", lambda found: f"[{_recorded(found[1])}]{{.recorded}}", text)
    markdown = MarkdownIt("commonmark").enable("table").use(attrs_plugin, spans=True).use(attrs_block_plugin)
    return markdown.use(dollarmath_plugin, renderer=_formula).render(text)


@cache
def cell(address: str, folder: Path = EXECUTED) -> nbformat.NotebookNode:
    """The code cell of a ``notebook/cell-id``.

    Raises
    ------
    KeyError
        If the notebook has no such cell of code.
    """
    name, _, wanted = address.partition("/")
    for found in nbformat.read(folder / f"{name}.ipynb", as_version=4).cells:
        if found.id == wanted and found.cell_type == "code":
            return found
    raise KeyError(f"{address}: {name}.ipynb has no code cell of this id")


def output(address: str) -> str:
    """What a cell shows: a figure with its alternative text, a table, or text."""
    found = cell(address)
    alt = found.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
    parts = [_shown(one.data, alt) for one in found.outputs if "data" in one]
    if not parts:
        raise ValueError(f"{address} shows nothing")
    return "\n".join(parts)


def render(deck: dict[str, Any]) -> str:
    """The page of a deck."""
    slides = [
        {
            "title": html(slide["title"]).removeprefix("<p>").removesuffix("</p>\n"),
            "text": html(slide.get("text", "")),
            "shown": output(slide["cell"]) if "cell" in slide else "",
            "code": cell(slide["code"]).source if "code" in slide else "",
            "chapter": slide.get("cell", slide.get("code", "")).partition("/")[0],
            "seconds": round(60 * slide["minutes"]),
            "notes": html(slide["notes"]),
        }
        for slide in deck["slides"]
    ]
    return TEMPLATE.get_template("slides.html.j2").render(title=deck["title"], slides=slides)


def _shown(data: dict[str, str], alt: str) -> str:
    if "image/png" in data:
        return f'<img class="figure" alt="{escape(alt)}" src="data:image/png;base64,{data["image/png"].strip()}">'
    if "text/html" in data:
        return data["text/html"]
    if "text/markdown" in data:
        text = re.sub(r"^:::.*$", "", data["text/markdown"], flags=re.MULTILINE)
        text = re.sub(r"\]\((\w+)\.ipynb\)", r"](../book/executed/\1.html)", text)
        return f'<div class="ledger">{html(text)}</div>'
    return f"<pre>{escape(data['text/plain'])}</pre>"


def _recorded(text: str) -> str:
    # The brackets of an interval would end the span that the number stands in.
    return re.sub(r"([\[\]])", r"\\\1", recorded_numbers.shown(recorded_numbers.find(text)))


def _formula(tex: str, options: dict[str, Any]) -> str:
    return rf"\[{escape(tex)}\]" if options["display_mode"] else rf"\({escape(tex)}\)"


def main() -> None:
    """Write each deck into the built site."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", default=SITE / "slides")
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    for name, deck in decks().items():
        # The speaker's view is written by a script into a window that inherits the policy.
        (folder / f"{name}.html").write_text(with_policy(render(deck), inline=True), encoding="utf-8")


if __name__ == "__main__":
    main()
