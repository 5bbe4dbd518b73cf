"""Notebooks run with checked parameters: papermill, and what it leaves to chance."""

from __future__ import annotations

import itertools
import json
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import nbformat
from filelock import FileLock, Timeout

from repmatch_lib.book.parameters import ParameterError, settings, tagged
from repmatch_lib.experiments.requests import Request, stages
from repmatch_lib.paths import project_file
from repmatch_lib.store import key

# Values that a file's name tells whole: words, with dashes within, and lists of words without any.
PLAIN = r"[\w.]+(-[\w.]+)*|\[[\w.]+(, [\w.]+)*\]|\['[\w.]+'(, '[\w.]+')*\]"


class NotebookError(RuntimeError):
    """A cell of a notebook failed."""


def plan(notebook: str | Path, values: Mapping[str, Any], profile: str = "mini") -> list[Request[Any]]:
    """What a notebook needs of the store: ``runs``, as its cell tagged ``plan`` sets it.

    Raises
    ------
    ParameterError
        If a value is impossible, or under the recorded profile asks for what is not recorded.
    """
    source = tagged(Path(notebook), "plan", required=False)
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
    _execute(notebook, out, values, progress)
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
    record = Path(values.get("record", out.with_suffix(".json")))
    with _workplace(out) as folder:
        working, recording = folder / out.name, folder / record.name
        own = dict(values) | ({"record": str(recording)} if "record" in values else {})
        # Papermill fills in parameters where a path has braces.
        source, target = (str(path).replace("{", "{{").replace("}", "}}") for path in (notebook, working))
        try:
            papermill.execute_notebook(source, target, parameters=own, kernel_name="python3", progress_bar=progress)
        except PapermillExecutionError as error:
            failed = out.with_suffix(".failed.ipynb")
            os.replace(working, failed)
            raise NotebookError(f"{notebook.name} failed ({error.ename}: {error.evalue}); see {failed}") from error
        except DeadKernelError as error:
            raise NotebookError(f"the kernel of {notebook.name} died, perhaps for want of memory") from error
        # The record's place while it was made is nobody's business.
        text = working.read_text().replace(json.dumps(str(recording))[1:-1], json.dumps(str(record))[1:-1])
        executed = nbformat.reads(text, as_version=4)
        _publishable(executed)
        nbformat.write(executed, working)
        record.parent.mkdir(parents=True, exist_ok=True)
        if recording.is_file():
            os.replace(recording, record)
        os.replace(working, out)


@contextmanager
def _workplace(out: Path) -> Iterator[Path]:
    """A folder beside a notebook to make it in. Those that killed runs left are swept; a lock says who is alive."""
    for left in out.parent.glob(f".{out.stem}-*"):
        with suppress(Timeout), FileLock(left / "lock", timeout=0):
            shutil.rmtree(left)
    with (
        tempfile.TemporaryDirectory(prefix=f".{out.stem}-", dir=out.parent) as folder,
        FileLock(Path(folder) / "lock"),
    ):
        yield Path(os.path.relpath(folder))


def _publishable(executed: nbformat.NotebookNode) -> None:
    """Leave out progress bars and the machine's paths, and fold the cell that repeats the parameters."""
    for name in ("input_path", "output_path"):
        executed.metadata.papermill.pop(name, None)
    for cell in executed.cells:
        if "injected-parameters" in cell.metadata.get("tags", []):
            cell.metadata.tags.append("hide-input")
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if o.get("name") != "stderr"]
