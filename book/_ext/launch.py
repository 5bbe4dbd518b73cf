"""Sphinx extension: buttons that open a chapter's notebook on Binder and Colab, and that download it.

A chapter's page is made of a notebook in ``book/executed``, which the repository does not hold; what opens elsewhere is
its source in ``notebooks``. The repository's address is known only where the book is published: it comes from
``REPMATCH_REPOSITORY``, as owner/name on GitHub, and ``REPMATCH_BRANCH``. Without it there are only the downloads.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.errors import ConfigError

PAGES, SOURCES = "book/executed", "notebooks"
DOWNLOADS = "_sources"  # where Sphinx puts what pages are made of


def services(repository: str, branch: str, notebook: str) -> dict[str, tuple[str, str]]:
    """Where a notebook of the repository can be run: an address and a logo of the theme's, by name."""
    binder = f"https://mybinder.org/v2/gh/{repository}/{quote(branch, safe='')}?urlpath=lab/tree/{notebook}"
    colab = f"https://colab.research.google.com/github/{repository}/blob/{quote(branch)}/{notebook}"
    return {
        "Binder": (binder, "_static/images/logo_binder.svg"),
        "Colab": (colab, "_static/images/logo_colab.png"),
    }


def require_address(app: Sphinx, config: Config) -> None:
    """Stop if the repository's address leads nowhere."""
    if config.launch_repository and not re.fullmatch(r"[\w.-]+/[\w.-]+", config.launch_repository):
        raise ConfigError(f"REPMATCH_REPOSITORY = {config.launch_repository!r}: give owner/name, as on GitHub")


def add_buttons(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Put the buttons beside the theme's own at the head of a chapter."""
    folder, _, name = page.rpartition("/")
    source = Path(app.srcdir) / SOURCES / f"{name}.ipynb"
    if folder != PAGES or not source.is_file():
        return
    copy = Path(app.outdir) / DOWNLOADS / SOURCES / source.name
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, copy)

    # The theme offers what a page is made of as its source; here there are two notebooks to tell apart.
    (downloads,) = (group for group in context["header_buttons"] if group.get("label") == "download-buttons")
    downloads["tooltip"] = "Download this chapter"
    downloads["buttons"] = [
        _link("Notebook as executed", f"{DOWNLOADS}/{page}.ipynb", "fas fa-file", "with its results", context),
        _link("Notebook to run", f"{DOWNLOADS}/{SOURCES}/{source.name}", "fas fa-code", "without results", context),
        *(button for button in downloads["buttons"] if button["type"] != "link"),
    ]
    if app.config.launch_repository:
        found = services(app.config.launch_repository, app.config.launch_branch, f"{SOURCES}/{source.name}")
        buttons = [
            {"type": "link", "text": where, "url": url, "icon": logo, "tooltip": f"Run this notebook on {where}"}
            for where, (url, logo) in found.items()
        ]
        launch = {"type": "group", "tooltip": "Run this chapter elsewhere", "icon": "fas fa-rocket", "buttons": buttons}
        context["header_buttons"].insert(0, launch | {"label": "launch-buttons"})


def _link(text: str, path: str, icon: str, what: str, context: dict[str, Any]) -> dict[str, str]:
    """A download."""
    tooltip = f"Download the notebook {what}"
    return {"type": "link", "text": text, "url": context["pathto"](path, 1), "icon": icon, "tooltip": tooltip}


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.add_config_value("launch_repository", os.environ.get("REPMATCH_REPOSITORY", ""), "html", str)
    app.add_config_value("launch_branch", os.environ.get("REPMATCH_BRANCH") or "main", "html", str)
    app.connect("config-inited", require_address)
    app.connect("html-page-context", add_buttons, priority=600)  # after the theme's
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
