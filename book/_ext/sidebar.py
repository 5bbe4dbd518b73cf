"""Sphinx extension: when a title changes, every page is written again, for each has all titles in its sidebar."""

from __future__ import annotations

from typing import Any

from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment


def pages_with_old_titles(app: Sphinx, env: BuildEnvironment) -> list[str]:
    """All pages if the titles are not those of the last time, else none."""
    titles = {page: title.astext() for page, title in env.titles.items()}
    earlier, env.repmatch_titles = getattr(env, "repmatch_titles", None), titles
    return [] if earlier in (None, titles) else sorted(titles)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("env-updated", pages_with_old_titles)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
