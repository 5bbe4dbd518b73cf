"""Sphinx extension: the reference of every public name, module by module, where a page says ``<!-- public API -->``.

The names come from the library itself, so that none can be forgotten; autodoc and napoleon read their docstrings.
"""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import Any

from sphinx.application import Sphinx

import repmatch_lib as rm

MARK = "<!-- public API -->"
SETTINGS = {
    "add_module_names": False,
    "autodoc_class_signature": "mixed",
    "autodoc_preserve_defaults": True,
    "autodoc_typehints_format": "short",
    "default_role": "py:obj",
    "napoleon_google_docstring": False,
    "napoleon_use_ivar": True,
    "napoleon_use_rtype": False,
    "python_maximum_signature_line_length": 88,
}
# Types of other libraries, and words in backticks that are no names.
UNLINKED = ("py:.*", ".*")


def reference() -> str:
    """The reference as Markdown around autodoc's directives."""
    return "\n".join(section(name, names) for name, names in rm._PUBLIC.items())


def section(name: str, names: list[str]) -> str:
    """One module: what it is about, and its public names."""
    module = import_module(f"repmatch_lib.{name}")
    about = inspect.getdoc(module).splitlines()[0]
    directives = "\n\n".join(directive(each, getattr(module, each)) for each in names)
    return f"## {name}\n\n{about}\n\n```{{eval-rst}}\n.. currentmodule:: {module.__name__}\n\n{directives}\n```\n"


def directive(name: str, value: object) -> str:
    """One name: a class with its members, a function, or a table by its keys."""
    if isinstance(value, dict):
        return f".. py:data:: {name}\n   :type: dict\n\n   Keys: {', '.join(f'``{key}``' for key in value)}."
    return f".. autoclass:: {name}\n   :members:" if inspect.isclass(value) else f".. autofunction:: {name}"


def fill(app: Sphinx, page: str, source: list[str]) -> None:
    """Put the reference in its place."""
    if MARK in source[0]:
        source[0] = source[0].replace(MARK, reference())


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    for extension in ("sphinx.ext.autodoc", "sphinx.ext.napoleon"):
        app.setup_extension(extension)
    for name, value in SETTINGS.items():
        app.config[name] = value
    app.config.nitpick_ignore_regex = [*app.config.nitpick_ignore_regex, UNLINKED]
    app.connect("source-read", fill)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
