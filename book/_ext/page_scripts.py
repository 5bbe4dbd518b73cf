"""Sphinx extension: scripts for the pages that use them, and for no other."""

from __future__ import annotations

from typing import Any

from sphinx.application import Sphinx

# In the order in which they run; all under book/_static.
SHARED = ("vendor/d3.min.js", "vendor/plot.umd.min.js", "subspaces.js", "drawing.js")
SCRIPTS = {
    "book/executed/explorer": (*SHARED, "explorer.js"),
    "book/playground": (*SHARED, "playground.js"),
    "book/compare": (*SHARED, "built/adapters.js", "compare.js"),
}


def add_scripts(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """The page's scripts, run once the page is there."""
    for script in SCRIPTS.get(page, ()):
        app.add_js_file(script, loading_method="defer")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("html-page-context", add_scripts)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
