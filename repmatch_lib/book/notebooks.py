"""Notebooks run with checked parameters: papermill, and what it leaves to chance."""

from __future__ import annotations

import ast
import itertools
import logging
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import yaml
from pydantic import TypeAdapter, ValidationError

from repmatch_lib.experiments.requests import Request, stages
from repmatch_lib.paths import project_file
from repmatch_lib.store import key, write_atomically

# Values that a file's name tells whole: words, with dashes within, and lists of words without any.
PLAIN = r"[\w.]+(-[\w.]+)*|\[[\w.]+(, [\w.]+)*\]|\['[\w.]+'(, '[\w.]+')*\]"
PROFILES = ("recorded", "mini", "laptop", "paper")


class ParameterError(ValueError):
    """A parameter that the notebook does not have, or a value that it cannot take."""


class NotebookError(RuntimeError):
    """A cell of a notebook failed."""


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
            raise ParameterError(
                f"{self.name} = {value!r} is not {self.annotation}: {self.help} (default {self.default!r})"
            ) from error


def parameters(notebook: str | Path) -> dict[str, Parameter]:
    """The parameters of a notebook, read from the cell tagged ``parameters``."""
    source = _tagged(Path(notebook), "parameters")
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
    known = parameters(notebook)
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
    content = yaml.safe_load(file.read_text())
    if "like" in content:
        return profile_values(content["like"], notebook, known) if notebook in content["chapters"] else {}
    common = {name: value for name, value in content.get("all", {}).items() if name in known}
    return common | content.get(notebook, {})


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
                values[name] = yaml.safe_load(text)
            except yaml.YAMLError as error:
                raise ParameterError(f"{assignment!r} has a value that cannot be read: close its brackets") from error
    return values


def plan(notebook: str | Path, values: Mapping[str, Any], profile: str = "mini") -> list[Request[Any]]:
    """What a notebook needs of the store: ``runs``, as its cell tagged ``plan`` sets it.

    Raises
    ------
    ParameterError
        If a value is impossible, or under the recorded profile asks for what is not recorded.
    """
    source = _tagged(Path(notebook), "plan", required=False)
    scope: dict[str, Any] = dict(values)
    try:
        exec(compile(source, f"{notebook} (plan)", "exec"), scope)
    except ValueError as error:
        raise ParameterError(str(error)) from error
    runs: list[Request[Any]] = scope.get("runs", [])
    if profile == "recorded":
        _refuse_unrecorded(Path(notebook).stem, runs)
    return runs


def _refuse_unrecorded(notebook: str, runs: list[Request[Any]]) -> None:
    for request in itertools.chain(*stages(runs)):
        if request.sources != {"mini"} and not request.recorded:
            raise ParameterError(
                f"{notebook} asks for what is not recorded. {request.near()} Run it on the bundled corpora instead "
                "(--profile mini), or on the real ones (--profile laptop, with REPMATCH_DATA or the hub)"
            )


def run(
    notebook: str | Path,
    out: str | Path,
    profile: str = "mini",
    overrides: Mapping[str, Any] | None = None,
    prepared: bool = False,
    progress: bool = True,
) -> Path:
    """Make what a notebook needs, then execute it.

    Parameters
    ----------
    notebook : path
    out : path
        The executed notebook; its record goes beside it, as JSON. Neither appears unless every cell ran.
    profile, overrides
        See `settings`.
    prepared : bool
        What the notebook needs has been planned and made.

    Raises
    ------
    ParameterError
        Before anything is run or written.
    NotebookError
        If a cell fails; the notebook up to there is kept as ``<out>.failed.ipynb``.
    """
    notebook, out = Path(notebook), Path(out)
    if out.resolve() == notebook.resolve() or out.resolve().parent == project_file("notebooks").resolve():
        raise ParameterError(f"--out {out} is a notebook to run, or lies among them: give another file or folder")
    values = settings(notebook, profile, overrides)
    folder = Path(os.path.relpath(out.parent))
    places = {"record": str(folder / f"{out.stem}.json"), "build": str(folder)}
    values |= {name: place for name, place in places.items() if name in values and name not in (overrides or {})}
    if not prepared:
        prepare(plan(notebook, values, profile), progress)
    out.parent.mkdir(parents=True, exist_ok=True)
    record = Path(values.get("record", out.with_suffix(".json")))
    earlier = record.read_text() if record.is_file() else None
    try:
        _execute(notebook, out, values, progress)
    except BaseException:
        record.unlink(missing_ok=True)
        if earlier is not None:
            write_atomically(record, earlier)
        raise
    return out


def prepare(requests: list[Request[Any]], progress: bool = True) -> None:
    """Make what is not in the store yet: on a processor one request a core, on a GPU one after the other."""
    import joblib
    import torch
    from tqdm.auto import tqdm

    wanted = stages(requests)
    jobs = 1 if torch.cuda.is_available() else joblib.cpu_count()
    with tqdm(total=sum(map(len, wanted)), desc="runs", unit="run", disable=not progress, leave=False) as bar:
        for stage in wanted:
            work = (joblib.delayed(_make)(request, progress and jobs == 1) for request in stage)
            for _ in joblib.Parallel(min(jobs, len(stage)), return_as="generator_unordered")(work):
                bar.update()


def _make(request: Request[Any], progress: bool) -> None:
    request.make(progress=progress)


def output_name(notebook: str | Path, overrides: Mapping[str, Any]) -> str:
    """``seed_robustness--rank-8--seeds-3-4`` for ``rank=8 seeds=[3,4]``; a hash where a value is not told whole."""
    parts = [f"{name}-{value}" for name, value in sorted(overrides.items())]
    name = "--".join([Path(notebook).stem, *(re.sub(r"[^A-Za-z0-9._]+", "-", part).strip("-") for part in parts)])
    told = all(re.fullmatch(PLAIN, str(value), re.ASCII) for value in overrides.values())
    return name if told and len(name) <= 100 else f"{name[:90]}--{key(overrides=dict(overrides))[:8]}"


def _execute(notebook: Path, out: Path, values: Mapping[str, Any], progress: bool) -> None:
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    # The parameters were checked; papermill would warn of each whose type it cannot read, such as int | None.
    logging.getLogger("papermill").setLevel(logging.ERROR)

    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    with tempfile.TemporaryDirectory(prefix=f".{out.stem}-", dir=out.parent) as folder:
        working = Path(folder) / out.name
        try:
            papermill.execute_notebook(
                notebook, working, parameters=dict(values), kernel_name="python3", progress_bar=progress
            )
        except PapermillExecutionError as error:
            failed = out.with_suffix(".failed.ipynb")
            os.replace(working, failed)
            raise NotebookError(f"{notebook.name} failed ({error.ename}: {error.evalue}); see {failed}") from error
        except DeadKernelError as error:
            raise NotebookError(f"the kernel of {notebook.name} died, perhaps for want of memory") from error
        executed = nbformat.read(working, as_version=4)
        _publishable(executed)
        nbformat.write(executed, working)
        os.replace(working, out)


def _publishable(executed: nbformat.NotebookNode) -> None:
    """Leave out progress bars and the machine's paths, and fold the cell that repeats the parameters."""
    for name in ("input_path", "output_path"):
        executed.metadata.papermill.pop(name, None)
    for cell in executed.cells:
        if "injected-parameters" in cell.metadata.get("tags", []):
            cell.metadata.tags.append("hide-input")
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if o.get("name") != "stderr"]


def _tagged(notebook: Path, tag: str, required: bool = True) -> str:
    if not notebook.is_file():
        names = sorted(p.stem for p in notebook.parent.glob("*.ipynb"))
        raise ParameterError(f"no notebook {notebook}; there are {', '.join(names) or 'none'}")
    for cell in nbformat.read(notebook, as_version=4).cells:
        if tag in cell.metadata.get("tags", []):
            return cell.source
    if required:
        raise ParameterError(f"{notebook} has no cell tagged {tag!r}")
    return ""
