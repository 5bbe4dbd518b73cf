"""Sphinx directive ``{state}``: how many of the paper's claims are reproduced so far, in one line from the ledger."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from repmatch_lib.book.ledger import NOT_RUN, REFUTED, REPRODUCED, UNDECIDED, ledger
from repmatch_lib.paths import project_file


class State(SphinxDirective):
    """The line."""

    def run(self) -> list[nodes.Node]:
        """Count the verdicts."""
        sources = [project_file("data/published/claims.yaml"), *project_file("data/recorded").glob("*.json")]
        for source in sources:
            self.env.note_dependency(str(source))
        lines = ledger()
        verdicts = lines.verdict[~lines["where"].str.startswith("beside")]  # our own questions are not the paper's
        line = nodes.paragraph("", f"Of {len(verdicts)} claims of the paper: ", classes=["state"])
        for verdict in (REPRODUCED, REFUTED, UNDECIDED, NOT_RUN):
            count = nodes.strong("", str((verdicts == verdict).sum()))
            line += nodes.inline("", "", count, nodes.Text(f" {verdict}"), classes=[verdict.replace(" ", "-")])
            line += nodes.Text("" if verdict == NOT_RUN else ", ")
        return [line]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.add_directive("state", State)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
