"""The results behind the book, packed into the files that it is built from."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

from tqdm.auto import tqdm

from repmatch_lib.book import notebooks, parameters
from repmatch_lib.book.crate import write_crate
from repmatch_lib.experiments.recorded import Recorded
from repmatch_lib.experiments.requests import Request, stages
from repmatch_lib.paths import project_file
from repmatch_lib.store import Store

SMALL = "small_runs.zip"  # of all chapters, at their defaults


def pack(name: str, profile: str = "laptop", to: Recorded | None = None, store: Store | None = None) -> int:
    """Record everything that a chapter asks for, but what another chapter's pack holds.

    Parameters
    ----------
    name : str
        The notebook's.
    profile : str
        Whose requests.
    to : Recorded, optional
        ``data/recorded/results`` if not given.
    store : Store, optional
        Where the results are, or are made.

    Returns
    -------
    int
        Results in the pack.
    """
    return _pack(f"{name}.zip", asked(name, profile), to or Recorded(), store or Store())


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
    file = project_file(f"notebooks/{name}.ipynb")
    return list(itertools.chain(*stages(notebooks.plan(file, parameters.settings(file, profile)))))


def _pack(file: str, requests: Iterable[Request[Any]], to: Recorded, store: Store) -> int:
    elsewhere = {one for one, entry in to.entries.items() if entry.pack != file}
    each = list(dict.fromkeys(requests))
    packed = dict(request.pack(store) for request in tqdm(each, desc=file, unit="result", leave=False))
    own = {one: result for one, result in packed.items() if one not in elsewhere}
    if own:
        to.add(file, own)
        write_crate(to)
    return len(own)
