"""Sphinx extension: what the packages below this book get wrong for readers who do not see it."""

from __future__ import annotations

import re
from typing import Any

from sphinx.application import Sphinx

MENDED = {
    # The fold's own words say what it does; a label of other words hides them.
    '<summary aria-label="Toggle hidden content">': "<summary>",
    # A list may hold list items only, and an entry of a bibliography is none.
    '<div role="list" class="citation-list">': '<div class="citation-list">',
    # On a phone tables scroll sideways, by keyboard too.
    '<div class="pst-scrollable-table-container">': '<div class="pst-scrollable-table-container" tabindex="0">',
}
# The parameters of a signature: descriptions without terms are no description list.
SIGNATURE = re.compile(r'<dl>\s*((?:<dd><em class="sig-param">.*?</dd>\s*)+)</dl>', re.DOTALL)


def mend(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Put the mended tags into a page."""
    body = context.get("body", "")
    for wrong, right in MENDED.items():
        body = body.replace(wrong, right)
    context["body"] = SIGNATURE.sub(lambda found: f'<div class="parameters">{_as_blocks(found[1])}</div>', body)


def _as_blocks(descriptions: str) -> str:
    return descriptions.replace("<dd>", "<div>").replace("</dd>", "</div>")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("html-page-context", mend)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
