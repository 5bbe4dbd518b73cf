"""Sphinx directive ``{state}``: how many of the paper's findings are reproduced so far, in one line from the ledger."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from repmatch_lib.book.ledger import ledger
from repmatch_lib.book.tables import state
from repmatch_lib.paths import project_file


class State(SphinxDirective):
    """The line."""

    def run(self) -> list[nodes.Node]:
        """Count the verdicts."""
        sources = [project_file("data/published/claims.yaml"), *project_file("data/recorded").glob("*.json")]
        for source in sources:
            self.env.note_dependency(str(source))
        counted = state(ledger())["finding"]  # values of another encoder and our own guesses are no findings
        line = nodes.paragraph("", f"Of {sum(counted.values())} findings of the paper: ", classes=["state"])
        for place, (verdict, number) in enumerate(counted.items()):
            count = nodes.strong("", str(number))
            line += nodes.Text(", " if place else "")
            line += nodes.inline("", "", count, nodes.Text(f" {verdict}"), classes=[verdict.replace(" ", "-")])
        return [line]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.add_directive("state", State)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
