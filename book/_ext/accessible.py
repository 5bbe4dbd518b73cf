"""Sphinx extension: what the packages below this book get wrong for readers who do not see it."""

from __future__ import annotations

from typing import Any

from sphinx.application import Sphinx

MENDED = {
    # The fold's own words say what it does; a label of other words hides them.
    '<summary aria-label="Toggle hidden content">': "<summary>",
    # A list may hold list items only, and an entry of a bibliography is none.
    '<div role="list" class="citation-list">': '<div class="citation-list">',
}


def mend(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Put the mended tags into a page."""
    for wrong, right in MENDED.items():
        context["body"] = context.get("body", "").replace(wrong, right)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("html-page-context", mend)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
