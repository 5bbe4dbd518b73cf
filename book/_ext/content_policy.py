"""Sphinx extension: every page says which scripts may run in it, and that nothing may be asked of another host.

A Content-Security-Policy stands first in each finished page's head. It names the page's own inline scripts by their
hashes: whatever else gets into a page, such as a file's name with markup in it, does not run.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable
from html import escape, unescape
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

# Where pages are opened as files, browsers take 'self' to be nothing; 'file:' stands for what lies beside them.
OWN = "'self' file:"
POLICY = (
    f"default-src {OWN}",
    f"script-src {OWN} {{hashes}}",
    f"style-src {OWN} 'unsafe-inline'",  # MathJax and the theme set styles as they go
    f"img-src {OWN} data: blob:",
    f"font-src {OWN} data:",
    "worker-src blob:",  # the page that compares adapters keeps its worker's script in itself
    "object-src 'none'",
    "base-uri 'none'",
    "form-action 'self' file:",
)

_META = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')
_HEAD = re.compile(r"<head\b[^>]*>", re.IGNORECASE)
_SCRIPT = re.compile(r"<script\b(?P<attributes>[^>]*)>(?P<text>.*?)</script>", re.DOTALL | re.IGNORECASE)
_RUNS = re.compile(r"""(?!.*\bsrc\s*=)(?!.*\btype\s*=\s*["']?(?!(?:text|application)/javascript|module))""", re.DOTALL)
_HANDLER = re.compile(r"""<[a-z][^<>]*?\son[a-z]+="(?P<text>[^"]*)\"""", re.IGNORECASE)


def with_policy(html: str, handlers: Iterable[str] = (), inline: bool = False) -> str:
    """A page with its policy; one that has it already gets it anew.

    Parameters
    ----------
    html : str
    handlers : iterable of str
        Event handlers that may run beside the page's own: the search reads other pages for its excerpts.
    inline : bool
        Let any script run that the page holds.
    """
    html = _META.sub("", html)
    scripts = {found["text"] for found in _SCRIPT.finditer(html) if _RUNS.match(found["attributes"])}
    handlers = {*handlers, *handlers_of(html)}
    hashes = " ".join([*sorted(map(_hash, scripts | handlers)), *(["'unsafe-hashes'"] if handlers else [])])
    policy = "; ".join(POLICY).format(hashes="'unsafe-inline'" if inline else hashes).replace(" ;", ";")
    meta = f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">'
    return _HEAD.sub(lambda head: head[0] + meta, html, count=1)


def handlers_of(html: str) -> set[str]:
    """The scripts in a page's attributes, such as ``onclick``."""
    return {unescape(found["text"]) for found in _HANDLER.finditer(_SCRIPT.sub("", html))}


def _hash(text: str) -> str:
    """As a policy names a script."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def set_policies(app: Sphinx, exception: Exception | None) -> None:
    """Give every finished page its policy; the slides have theirs from what makes them."""
    if exception is None and app.builder.format == "html":
        files = [page for page in sorted(Path(app.outdir).rglob("*.html")) if not _apart(page.relative_to(app.outdir))]
        pages = {file: file.read_text(encoding="utf-8") for file in files}
        handlers = set().union(*map(handlers_of, pages.values()))
        for file, html in pages.items():
            file.write_text(with_policy(html, handlers), encoding="utf-8")


def _apart(page: Path) -> bool:
    """Whether it is a theme's template, or a deck."""
    return bool({"_static", "slides"} & {*page.parts})


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("build-finished", set_policies, priority=905)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
