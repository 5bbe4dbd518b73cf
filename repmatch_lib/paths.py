"""Where the project's own files are: beside the library in a checkout, inside it when installed."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_cache_path

PACKAGE = Path(__file__).parent


def project_file(name: str) -> Path:
    """A file or folder of the repository, such as ``data/mini``."""
    installed = PACKAGE / "_project" / name
    return installed if installed.exists() else PACKAGE.parent / name


def default_store() -> Path:
    """The folder in ``REPMATCH_STORE``, else one in the user's cache."""
    return Path(os.environ.get("REPMATCH_STORE") or user_cache_path("repmatch") / "store")
