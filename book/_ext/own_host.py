"""Sphinx extension: every page asks only its own host.

Drops the scripts and styles that the theme's extensions would fetch from elsewhere or that no page uses, stops the
build if the bundled MathJax is missing, and warns of any finished page that still loads something from another host.
MathJax is loaded where there is a formula. Pages also get an icon.
"""

from __future__ import annotations

import re
from html import escape
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.errors import ConfigError
from sphinx.util import logging

log = logging.getLogger(__name__)

# Else a browser asks for /favicon.ico. Two lines at an angle: what RepMatch measures.
ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32'%3E%3Cg fill='none' "
    "stroke-width='5' stroke-linecap='round'%3E%3Cpath stroke='%231b6ca8' d='M4 26H28'/%3E%3Cpath stroke='%23b3530b' "
    "d='M4 26L25 7'/%3E%3C/g%3E%3C/svg%3E"
)

# No page starts a kernel. Thebe's scripts raise an error in the browser's console where none is configured.
UNUSED = ("thebe",)

_KERNEL = re.compile(
    r"""<script type="text/x-thebe-config">.*?</script>|<script>kernelName = '[^']*'</script>""", re.DOTALL
)
_FORMULA = re.compile(r"""class="[^"]*\bmath\b|\\[(\[]""")
_LOADING_TAG = re.compile(r"<(?:script|link|img|iframe|source|video|audio|object|embed)\b[^>]*>", re.IGNORECASE)
_ELSEWHERE = re.compile(r"""\b(?:src|href|data|srcset)\s*=\s*["']?(?:https?:)?//""", re.IGNORECASE)
_ONLY_NAMED = re.compile(r"""\brel\s*=\s*["']?(?:canonical|license|author|me)\b""", re.IGNORECASE)
_REQUESTS = ("requirejs.config", "cdn.plot.ly", "fonts.googleapis", "cdnjs.", "cdn.jsdelivr", "unpkg.com")


def foreign_requests(html: str) -> list[str]:
    """Tags of a page that load something from another host, and addresses of networks that serve scripts."""
    tags = [tag for tag in _LOADING_TAG.findall(html) if _ELSEWHERE.search(tag) and not _ONLY_NAMED.search(tag)]
    scripts = re.findall(r"<script\b[^>]*>(.*?)</script>", html, re.DOTALL | re.IGNORECASE)
    return tags + [name for name in _REQUESTS if any(name in script for script in scripts)]


def drop_unused(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Keep the scripts and styles that are ours and used."""
    unused = UNUSED if _FORMULA.search(context.get("body", "")) else (*UNUSED, app.config.mathjax_path)
    for kind in ("script_files", "css_files"):
        context[kind] = [file for file in context.get(kind, []) if not _unwanted(file, unused)]
    if "body" in context:
        context["body"] = _KERNEL.sub("", context["body"])
    context["metatags"] = f'{context.get("metatags", "")}\n<link rel="icon" href="{ICON}" />'


def _unwanted(file: Any, unused: tuple[str, ...]) -> bool:
    name = str(getattr(file, "filename", None) or "")
    body = str(getattr(file, "attributes", {}).get("body") or "")
    return name.startswith(("http:", "https:", "//")) or any(word in name or word in body for word in unused)


def require_mathjax(app: Sphinx, config: Config) -> None:
    """Stop if the formulas could not be drawn."""
    path = config.mathjax_path
    if not any((Path(app.confdir) / folder / path).is_file() for folder in config.html_static_path):
        raise ConfigError(f"no {path} in {', '.join(config.html_static_path)}: 'make book' puts MathJax there")


def redirect_root(app: Sphinx, exception: Exception | None) -> None:
    """A whole page at the root, with an icon and a link, where the table of contents leaves a bare redirect."""
    root = Path(app.outdir) / "index.html"
    if exception is None and app.builder.format == "html" and app.config.root_doc != "index":
        target, title = f"{app.config.root_doc}.html", escape(app.config.html_title)
        root.write_text(
            f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
            f'<link rel="icon" href="{ICON}"><meta http-equiv="refresh" content="0; url={target}"></head>'
            f'<body><a href="{target}">{title}</a></body></html>\n',
            encoding="utf-8",
        )


def check_pages(app: Sphinx, exception: Exception | None) -> None:
    """Warn of pages that would ask another host for something."""
    if exception is None and app.builder.format == "html":
        for page in sorted(Path(app.outdir).rglob("*.html")):
            if "_static" not in page.relative_to(app.outdir).parts:
                for found in foreign_requests(page.read_text(encoding="utf-8")):
                    log.warning("%s loads from another host: %s", page.relative_to(app.outdir), found[:200])


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("config-inited", require_mathjax, priority=900)
    app.connect("html-page-context", drop_unused, priority=900)
    app.connect("build-finished", redirect_root, priority=900)
    app.connect("build-finished", check_pages, priority=910)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
