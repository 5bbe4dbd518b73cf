"""Sphinx extension: the reference of every public name, room by room, where a page says ``<!-- public API -->``.

The names come from the library itself, so that none can be forgotten; autodoc and napoleon read their docstrings.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterable
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import nbformat
from sphinx.application import Sphinx

import repmatch_lib as rm
from repmatch_lib.paths import project_file

MARK = "<!-- public API -->"
FIRST = (
    "repmatch", "Adapter", "task", "load", "encoder", "train_adapter", "train_pair", "compare_all", "score_instances",
    "select", "lora_basis", "grassmann_similarity",
)  # fmt: skip
# From the measure outwards.
ORDER = (
    "similarity", "data", "training", "instances", "selection", "embeddings", "experiments", "book", "figures",
    "statistics", "store",
)  # fmt: skip
SETTINGS = {
    "add_module_names": False,
    "autodoc_class_signature": "mixed",
    "autodoc_preserve_defaults": True,
    "autodoc_typehints_format": "short",
    "default_role": "py:obj",
    "napoleon_google_docstring": False,
    "napoleon_use_ivar": True,
    "napoleon_use_param": False,  # with it, "a, b" becomes a parameter b of type "a,"
    "napoleon_use_rtype": False,
    "python_maximum_signature_line_length": 88,
}
# Types of other libraries, and words in backticks that are no names.
UNLINKED = ("py:.*", ".*")


def public_names() -> dict[str, list[str]]:
    """Public names by module, as the library's stub has them."""
    stub = ast.parse(Path(rm.__file__).with_suffix(".pyi").read_text())
    found: dict[str, list[str]] = {}
    for node in stub.body:
        if isinstance(node, ast.ImportFrom) and node.module:
            found.setdefault(node.module, []).extend(alias.name for alias in node.names)
    return found


def reference(pages: Iterable[str] = ()) -> str:
    """The reference as Markdown around autodoc's directives: a dozen names first, then room by room.

    ``pages`` are the chapters that the book has, to be linked where they use a name.
    """
    names = public_names()
    rooms = list(dict.fromkeys(module.partition(".")[0] for module in names))
    pages = list(pages)
    return "\n".join([first(names), *(section(room, names, pages) for room in sorted(rooms, key=ORDER.index))])


def first(names: dict[str, list[str]]) -> str:
    """The names that most people need, a line each."""
    where = {name: module for module, of_module in names.items() for name in of_module}
    lines = [
        f"- {{py:obj}}`rm.{name} <repmatch_lib.{where[name]}.{name}>`: {summary(getattr(rm, name))}" for name in FIRST
    ]
    return "## A dozen to begin with\n\n" + "\n".join(lines) + "\n"


def section(room: str, names: dict[str, list[str]], pages: Iterable[str]) -> str:
    """One room: what it is about, and its public names, module by module."""
    parts = [f"## {room}\n\n{summary(import_module(f'repmatch_lib.{room}'))}\n"]
    for module, of_module in names.items():
        if module.partition(".")[0] == room:
            found = import_module(f"repmatch_lib.{module}")
            about = (
                f"**{module.rpartition('.')[2]}**: {summary(found)}{chapters(of_module, pages)}\n\n"
                if "." in module
                else ""
            )
            directives = "\n\n".join(directive(each, getattr(found, each)) for each in of_module)
            parts.append(f"{about}```{{eval-rst}}\n.. currentmodule:: {found.__name__}\n\n{directives}\n```\n")
    return "\n".join(parts)


def chapters(names: list[str], pages: Iterable[str]) -> str:
    """Links to the chapters whose code uses one of the names, if those are few enough to say something."""
    using = [page for page in sorted(pages) if names_of_chapters().get(page, set()) & {*names}]
    links = ", ".join(f"[](executed/{chapter}.ipynb)" for chapter in using)
    return f" In {links}." if 0 < len(using) <= 6 else ""


@cache
def names_of_chapters() -> dict[str, set[str]]:
    """The public names that each notebook uses."""
    used = {}
    for file in sorted(project_file("notebooks").glob("*.ipynb")):
        cells = [cell for cell in nbformat.read(file, as_version=4).cells if cell.cell_type == "code"]
        used[file.stem] = set(re.findall(r"\brm\.(\w+)", "\n".join(cell.source for cell in cells)))
    return used


def summary(value: object) -> str:
    """The first line of its docstring."""
    return (inspect.getdoc(value) or "").splitlines()[0]


def directive(name: str, value: object) -> str:
    """One name: a class with its members, a function, or a table by its keys."""
    if isinstance(value, dict):
        return f".. py:data:: {name}\n   :type: dict\n\n   Keys: {', '.join(f'``{key}``' for key in value)}."
    return f".. autoclass:: {name}\n   :members:" if inspect.isclass(value) else f".. autofunction:: {name}"


def fill(app: Sphinx, page: str, source: list[str]) -> None:
    """Put the reference in its place."""
    if MARK in source[0]:
        executed = [Path(name) for name in app.env.found_docs if Path(name).parent.name == "executed"]
        source[0] = source[0].replace(MARK, reference(name.name for name in executed))


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    for extension in ("sphinx.ext.autodoc", "sphinx.ext.napoleon"):
        app.setup_extension(extension)
    for name, value in SETTINGS.items():
        app.config[name] = value
    app.config.nitpick_ignore_regex = [*app.config.nitpick_ignore_regex, UNLINKED]
    app.connect("source-read", fill)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
