"""How each chapter was executed: software, device, data, precision and seconds, from the records."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
from IPython.display import Markdown

from repmatch_lib.book.ledger import records
from repmatch_lib.book.records import Record
from repmatch_lib.book.tables import as_markdown, chapter_link, listed
from repmatch_lib.experiments.recorded import Recorded, flat
from repmatch_lib.experiments.verification import VERIFIED
from repmatch_lib.paths import project_file

PACKAGES = ("torch", "transformers", "peft", "numpy")

TOLD = ("kind", "task", "one.task", "rank", "seed", "head_seed", "lr")  # of a request, in a table

NONE = "There is none."

SOFTWARE = ["python", *PACKAGES, "machine"]


def execution(folder: str | Path | None = None) -> pd.DataFrame:
    """What the records of a folder say of their execution, one row an experiment.

    Parameters
    ----------
    folder : path, optional
        Of a build's records, those left out that repeat the recorded ones; ``data/recorded`` if not given.

    Returns
    -------
    DataFrame
        ``experiment``; ``seconds`` of training, added up over its runs, each of which took one core; ``device``,
        ``precision``, ``encoder``, ``data`` (where the rows came from), ``rows`` (of each corpus), ``python``, one
        column for each of the main packages, ``machine`` and ``commit`` (of this project; ``+`` for changed files).
        Several values of one kind are joined by commas.
    """
    known = records(project_file("data/recorded"))
    built = records(folder) if folder else known
    own = [one for name, one in built.items() if not (folder and name in known and one.repeats(known[name]))]
    return pd.DataFrame([_row(record) for record in own])


def execution_table(folder: str | Path | None = None) -> Markdown:
    """The same as a table for a page, with links to the chapters and without the software."""
    table = execution(folder)
    if table.empty:
        return Markdown(NONE)
    table["experiment"] = [chapter_link(name, name) for name in table["experiment"]]
    table["seconds"] = table["seconds"].map("{:,.0f}".format)
    return as_markdown(table.drop(columns=SOFTWARE).rename(columns={"seconds": "training, s"}).to_dict("records"))


def software_table(folder: str | Path | None = None) -> Markdown:
    """Which versions and machines there were, and which experiments were made with each, as a table for a page."""
    table = execution(folder)
    if table.empty:
        return Markdown(NONE)
    together = table.groupby(SOFTWARE, sort=False)["experiment"].agg(", ".join).reset_index()
    return as_markdown(together.to_dict("records"))


def verification_table() -> Markdown:
    """The recorded results that were computed again last, and what came out, as a table for a page."""
    file = Recorded().root / VERIFIED
    if not file.is_file():
        return Markdown("No verification is recorded yet.")
    content = json.loads(file.read_text())
    rows = [
        {
            "chapter": chapter_link(name := one["pack"].removesuffix(".zip"), name),
            "what": ", ".join(f"{key} {value}" for key, value in flat(one["asked"]).items() if key in TOLD),
            "came out": one["verdict"],
            "off by": f"{one['off']:.0e}" if one["off"] else "0",
            "seconds": f"{one['seconds']:,.0f}",
        }
        for one in content["results"]
    ]
    software, whole = content["software"], sum(entry.real for entry in Recorded().entries.values())
    versions = ", ".join(f"{name} {software['packages'][name]}" for name in PACKAGES)
    made = f"{content['date']}, {software['machine']}, Python {software['python']}, {versions}"
    return Markdown(f"{made}; {len(rows)} of {whole} results from real corpora.\n\n{as_markdown(rows).data}")


def _row(record: Record) -> dict[str, Any]:
    provenance = record.provenance
    trained, software = provenance["training"], [provenance["software"], *provenance.get("trained_with", [])]
    return {
        "experiment": record.experiment,
        "seconds": record.measured["training_seconds"],
        "device": listed(trained["device"]),
        "precision": listed(trained["precision"]),
        "encoder": listed(provenance["encoder"]["name"]),
        "data": _distinct(corpus["source"].partition(":")[0] for corpus in provenance["corpora"]),
        "rows": _distinct(corpus["rows"] for corpus in provenance["corpora"]),
        "python": _distinct(each["python"] for each in software),
        **{name: _distinct(each["packages"].get(name, "–") for each in software) for name in PACKAGES},
        "machine": _distinct(each["machine"] for each in software),
        "commit": _commit(provenance["software"]["git_commit"]),
    }


def _distinct(values: Iterable[Any]) -> str:
    return ", ".join(map(str, sorted(set(values))))


def _commit(commit: str | None) -> str:
    """Its first digits, with the mark of changed files; none outside a checkout."""
    return f"{commit[:8]}{'+' * commit.endswith('+')}" if commit else "–"
