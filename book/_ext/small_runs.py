"""Sphinx extension: figures that are drawn from a small run say so in their captions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

from repmatch_lib.book.parameters import settings
from repmatch_lib.paths import project_file

NOTE = "A small run on the bundled corpora, until this chapter is recorded. "


OVERVIEWS = ("ledger", "execution", "performance")  # these draw what others have recorded


def is_small(notebook: Path) -> bool:
    """Whether an executed notebook draws a run of the small profile: its parameters are the notebook's own defaults."""
    parameters = json.loads(notebook.read_text())["metadata"].get("papermill", {}).get("parameters", {})
    small = settings(project_file(f"notebooks/{notebook.name}"), "mini")
    of_place = ("record", "build")
    return notebook.stem not in OVERVIEWS and all(
        value == small.get(name) for name, value in parameters.items() if name not in of_place
    )


def mark(app: Sphinx, doctree: nodes.document) -> None:
    """Begin the captions of a small run's page with the note."""
    page = Path(app.srcdir) / f"{app.env.docname}.ipynb"
    if app.env.docname.startswith("book/executed/") and page.is_file() and is_small(page):
        for figure in doctree.findall(nodes.figure):
            for caption in figure.findall(nodes.caption):
                caption.insert(0, nodes.strong("", NOTE, classes=["small-run"]))


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("doctree-read", mark)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
