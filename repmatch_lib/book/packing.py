"""The results behind the book, packed into the files that it is built from."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from repmatch_lib.book import notebooks, parameters
from repmatch_lib.book.crate import write_crate
from repmatch_lib.experiments.recorded import UNPACKED, Recorded
from repmatch_lib.experiments.requests import Request, stages
from repmatch_lib.paths import project_file
from repmatch_lib.store import Store

SMALL = "small_runs.zip"  # of all chapters, at their defaults


class _Finished(Store):
    """A store that makes nothing: what a build rests on is there, or the build is another."""

    def make(self, kind: str, key: str, write: Callable[[Path], object]) -> Path:
        if kind != UNPACKED and not self.path(kind, key).is_dir():
            raise LookupError(f"{self.root} lacks {kind}/{key}")
        return super().make(kind, key, write)  # which checks what is there, or unpacks what is recorded


def pack(name: str, build: str | Path, to: Recorded | None = None, root: str | Path | None = None) -> int:
    """Record everything that a chapter of a build rests on, but what another chapter's pack holds.

    Parameters
    ----------
    name : str
        The notebook's.
    build : folder
        Of the executed notebook, which says its parameters.
    to : Recorded, optional
        ``data/recorded/results`` if not given.
    root : folder, optional
        The store's.

    Returns
    -------
    int
        Results in the pack.

    Raises
    ------
    ValueError
        If a result is not in the store: nothing is made here.
    """
    executed = Path(build) / f"{name}.ipynb"
    given = json.loads(executed.read_text())["metadata"].get("papermill", {}).get("parameters", {})
    file = project_file(f"notebooks/{name}.ipynb")
    try:
        return _pack(
            f"{name}.zip", _asked(name, parameters.settings(file, "mini", given)), to or Recorded(), _Finished(root)
        )
    except LookupError as error:
        raise ValueError(
            f"{executed} does not rest on this store and this code: {error}. Build it again, and keep that one"
        ) from error


def pack_small_runs(to: Recorded | None = None, store: Store | None = None) -> int:
    """Record what the chapters ask for at their defaults: small runs on the bundled corpora.

    So that the book is built without training, and a notebook opened alone shows something at once; parameters as for
    `pack`.
    """
    to = to or Recorded()
    names = sorted(file.stem for file in project_file("notebooks").glob("*.ipynb"))
    return _pack(SMALL, itertools.chain(*(asked(name, "mini") for name in names)), to, store or Store())


def asked(name: str, profile: str) -> list[Request[Any]]:
    """Everything that a chapter asks for under a profile, what comes first before what needs it."""
    return _asked(name, parameters.settings(project_file(f"notebooks/{name}.ipynb"), profile))


def _asked(name: str, values: Mapping[str, Any]) -> list[Request[Any]]:
    return list(itertools.chain(*stages(notebooks.plan(project_file(f"notebooks/{name}.ipynb"), values))))


def _pack(file: str, requests: Iterable[Request[Any]], to: Recorded, store: Store) -> int:
    elsewhere = {one for one, entry in to.entries.items() if entry.pack != file}
    each = list(dict.fromkeys(requests))
    packed = dict(request.pack(store) for request in tqdm(each, desc=file, unit="result", leave=False))
    own = {one: result for one, result in packed.items() if one not in elsewhere}
    if own:
        to.add(file, own)
        write_crate(to)
    return len(own)
