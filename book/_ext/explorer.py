"""Sphinx directive ``{explorer}``: the numbers that ``explorer.js`` shows, in the page, which opens from a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from repmatch_lib.book.records import Record
from repmatch_lib.data.tasks import task
from repmatch_lib.paths import project_file

# The kinds of number that the page may show; a reader looks at one at a time, the first one first.
KINDS = {"recorded": "the recorded run", "build": "this build"}


class Explorer(SphinxDirective):
    """The page's numbers, and the place where the script draws."""

    def run(self) -> list[nodes.Node]:
        """Read both records; one that is not there is left out, and a build that repeats the recorded one."""
        folders = {"recorded": project_file("data/recorded"), "build": Path(self.env.srcdir) / "book/executed"}
        files = {kind: folder / "explorer.json" for kind, folder in folders.items()}
        there = {kind: file for kind, file in files.items() if file.is_file()}
        for file in there.values():
            self.env.note_dependency(str(file))
        records = {kind: Record.load(file) for kind, file in there.items()}
        if len(records) == 2 and records["build"].repeats(records["recorded"]):
            del records["build"]
        shown = [page_numbers(kind, record) for kind, record in records.items()]
        return [nodes.raw("", page(shown), format="html")]


def page(shown: list[dict[str, Any]]) -> str:
    """The numbers as compact JSON, in which no text can end the script."""
    data = json.dumps(shown, separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c")
    return (
        f'<script type="application/json" id="explorer-data">{data}</script>\n'
        '<div id="explorer" class="interactive"></div>'
    )


def page_numbers(kind: str, record: Record) -> dict[str, Any]:
    """One kind of number as the page reads it.

    Returns
    -------
    dict
        ``name`` and ``class`` of the kind; ``tasks`` as titles by name; ``ranks``; ``layers``, their number;
        ``settings`` in words; ``entries`` by ``"a|b|rank|side"``, each with ``score`` and ``layers`` as [value, low,
        high], ``grids``, ``chance`` and ``chance_95``. A bound is None where there are too few seeds for an interval.
    """
    table = record.table
    entries = {}
    for (a, b, rank, side), rows in table.groupby(["a", "b", "rank", "side"], sort=False):
        whole = record.estimates[f"{a}|{b}, rank {rank}, {side}"]
        entries[f"{a}|{b}|{rank}|{side}"] = {
            "score": _rounded([whole.value, whole.low, whole.high]),
            "layers": [_rounded(row) for row in rows.reindex(columns=["score", "low", "high"]).to_numpy().tolist()],
            "grids": [[_rounded(line) for line in grid] for grid in rows.grid],
            "chance": round(rows.chance.iloc[0], 4),
            "chance_95": round(rows.chance_95.iloc[0], 4),
        }
    return {
        "name": KINDS[kind],
        "class": kind,
        "tasks": {name: task(name).title for name in dict.fromkeys(table.a)},
        "ranks": sorted(int(rank) for rank in table["rank"].unique()),
        "layers": int(table.layer.max()),
        "settings": _settings(kind, record),
        "entries": entries,
    }


def _settings(kind: str, record: Record) -> str:
    """What was run, in one sentence."""
    asked, sources = record.parameters, {corpus["source"].partition(":")[0] for corpus in record.provenance["corpora"]}
    corpora = "the bundled corpora" if sources == {"mini"} else "real corpora"
    rows = "all rows" if asked["rows"] is None else f"{asked['rows']:,} rows"
    seeds = asked["seed"]
    said = "; intervals are 95 %, over seeds" if len(seeds) > 2 else "; two seeds give no interval"
    return (
        f"Numbers of {KINDS[kind]}: {record.provenance['encoder']['name']} on {corpora}, {rows} of each, learning rate "
        f"{asked['lr']:g}, training seeds {', '.join(map(str, seeds))}{said}."
    )


def _rounded(values: list[float]) -> list[float | None]:
    return [None if value is None or value != value else round(value, 4) for value in values]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.add_directive("explorer", Explorer)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
