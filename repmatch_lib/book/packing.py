"""The results behind a chapter's record, packed into the files that the book is built from."""

from __future__ import annotations

import itertools

from tqdm.auto import tqdm

from repmatch_lib.book import notebooks
from repmatch_lib.book.crate import write_crate
from repmatch_lib.experiments.recorded import Recorded
from repmatch_lib.experiments.requests import stages
from repmatch_lib.paths import project_file
from repmatch_lib.store import Store


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
    to, store, file = to or Recorded(), store or Store(), project_file(f"notebooks/{name}.ipynb")
    asked = itertools.chain(*stages(notebooks.plan(file, notebooks.settings(file, profile))))
    elsewhere = {one for one, entry in to.entries.items() if entry.pack != f"{name}.zip"}
    packed = dict(request.pack(store) for request in tqdm(list(asked), desc=name, unit="result", leave=False))
    own = {one: result for one, result in packed.items() if one not in elsewhere}
    if own:
        to.add(f"{name}.zip", own)
        write_crate(to)
    return len(own)
