"""Values of a notebook's parameters: declared in its first cell, set by a profile, given on a command line."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import yaml
from pydantic import TypeAdapter, ValidationError

from repmatch_lib.paths import project_file

PROFILES = ("recorded", "mini", "laptop", "paper")


class ParameterError(ValueError):
    """A parameter that the notebook does not have, or a value that it cannot take."""


@dataclass(frozen=True)
class Parameter:
    """A line of a notebook's parameters cell: ``name: type = default  # what it is``."""

    name: str
    annotation: str
    default: Any
    help: str

    def check(self, value: Any) -> Any:
        """The value, if it is of the parameter's type."""
        try:
            return TypeAdapter(_type(ast.parse(self.annotation, mode="eval").body)).validate_python(value, strict=True)
        except ValidationError as error:
            quoted = f"; as a text it needs quotes: {self.name}='\"{value}\"'" if "str" in self.annotation else ""
            raise ParameterError(
                f"{self.name} = {value!r} is not {self.annotation}: {self.help} (default {self.default!r}){quoted}"
            ) from error


def declared(notebook: str | Path) -> dict[str, Parameter]:
    """The parameters of a notebook, read from the cell tagged ``parameters``."""
    source = tagged(Path(notebook), "parameters")
    lines = source.splitlines()
    by_name = {}
    for node in ast.parse(source).body:
        if not (
            isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value and node.end_lineno
        ):
            raise ValueError(f"{notebook}: the parameters cell may only hold lines like 'rank: int = 4  # its meaning'")
        after = lines[node.end_lineno - 1].encode()[node.end_col_offset :].decode()  # columns count bytes
        comment = after.partition("#")[2].strip()
        name = node.target.id
        try:
            _type(node.annotation)
        except ValueError as error:
            raise ValueError(f"{notebook}, parameter {name}: {error}") from error
        by_name[name] = Parameter(name, ast.unparse(node.annotation), ast.literal_eval(node.value), comment)
    return by_name


TYPES: dict[str, Any] = {t.__name__: t for t in (bool, dict, float, int, list, str, tuple)}


def _type(node: ast.expr) -> Any:
    """The type that an annotation names; only read, since a notebook may come from anywhere."""
    match node:
        case ast.Name(id=name) if name in TYPES:
            return TYPES[name]
        case ast.Constant(value=None):
            return None
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _type(left) | _type(right)
        case ast.Subscript(value=ast.Name() as outer, slice=ast.Tuple(elts=inner)):
            return _type(outer)[*map(_type, inner)]
        case ast.Subscript(value=ast.Name() as outer, slice=inner):
            return _type(outer)[_type(inner)]
    raise ValueError(f"unknown type {ast.unparse(node)}: give {', '.join(TYPES)}, None, list[int] or int | None, say")


def settings(notebook: str | Path, profile: str = "mini", overrides: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Values of all parameters: the notebook's defaults, under the profile's, under the given ones.

    Raises
    ------
    ParameterError
        Naming the parameter and the valid ones.
    """
    known = declared(notebook)
    chosen = profile_values(profile, Path(notebook).stem, known) | dict(overrides or {})
    for name in chosen:
        if name not in known:
            valid = "\n".join(f"  {p.name}: {p.annotation} = {p.default!r}  # {p.help}" for p in known.values())
            raise ParameterError(f"{Path(notebook).name} has no parameter {name!r}; it has\n{valid}")
    return {name: p.check(chosen.get(name, p.default)) for name, p in known.items()}


def profile_values(profile: str, notebook: str, known: Mapping[str, Parameter]) -> dict[str, Any]:
    """What a profile sets for a notebook: its common values where the notebook has them, then the notebook's own.

    A profile that is ``like`` another has that one's values for its ``chapters``, and none for the rest.
    """
    file = Path(profile) if profile.endswith(".yaml") else project_file(f"notebooks/profiles/{profile}.yaml")
    if not file.is_file():
        raise ParameterError(f"unknown profile {profile!r}: give {', '.join(PROFILES)}, or a YAML file")
    content = _profile(file)
    if "like" in content:
        return profile_values(content["like"], notebook, known) if notebook in content["chapters"] else {}
    common = {name: value for name, value in content.get("all", {}).items() if name in known}
    return common | content.get(notebook, {})


def _profile(file: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(file.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ParameterError(f"the profile {file} is no YAML: {error}") from error
    values = content if isinstance(content, dict) else {"the file": content}
    bad = {name: of for name, of in values.items() if name not in ("like", "chapters") and not isinstance(of, dict)}
    if bad or ("like" in values and not isinstance(values.get("chapters"), list)):
        raise ParameterError(
            f"the profile {file} holds {bad or values!r:.200}: write the parameters of each notebook under its name, "
            "and those of all notebooks under all"
        )
    return values


class _Words(yaml.SafeLoader):
    """YAML in which a date, a time, ``on`` or ``010`` is a text: only what looks like a plain number is a number."""

    yaml_implicit_resolvers = {}  # noqa: RUF012


for _tag, _pattern, _first in (
    ("null", r"null|~|", ["n", "~", ""]),
    ("bool", r"true|false", ["t", "f"]),
    ("int", r"[-+]?(0|[1-9][0-9_]*)", list("-+0123456789")),
    (
        "float",
        r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?|[-+]?\.inf|\.nan",
        list("-+.0123456789"),
    ),
):
    _Words.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), _first)


def parse(assignments: list[str]) -> dict[str, Any]:
    """``["rank=8", "seeds=[3,4]", "task=sst5"]`` as values: Python literals, else YAML, which needs no quotes."""
    values = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals or not name.isidentifier():
            raise ParameterError(f"{assignment!r} is no parameter: write name=value, without spaces")
        try:
            values[name] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            try:
                values[name] = yaml.load(text, _Words)
            except yaml.YAMLError as error:
                raise ParameterError(f"{assignment!r} has a value that cannot be read: close its brackets") from error
    return values


def tagged(notebook: Path, tag: str, required: bool = True) -> str:
    """The source of the cell with a tag; empty if there is none and none is required."""
    if not notebook.is_file():
        names = sorted(p.stem for p in notebook.parent.glob("*.ipynb"))
        raise ParameterError(f"no notebook {notebook}; there are {', '.join(names) or 'none'}")
    for cell in nbformat.read(notebook, as_version=4).cells:
        if tag in cell.metadata.get("tags", []):
            return cell.source
    if required:
        raise ParameterError(f"{notebook} has no cell tagged {tag!r}")
    return ""
