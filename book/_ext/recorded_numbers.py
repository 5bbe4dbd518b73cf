"""Sphinx role ``{recorded}`experiment: estimate` ``: a number of the recorded run in a sentence, with its interval.

The page holds a name and the record the number, so that the text follows when an experiment is recorded anew.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxRole

from repmatch_lib.book.ledger import records
from repmatch_lib.paths import project_file
from repmatch_lib.statistics import Estimate

log = logging.getLogger(__name__)
FOLDER = "data/recorded"
known = cache(lambda: records(project_file(FOLDER)))


def shown(estimate: Estimate) -> str:
    """An estimate as text; the interval stays on one line."""
    return str(estimate).replace(", ", ",\N{NO-BREAK SPACE}")


def find(text: str) -> Estimate:
    """The estimate of an ``experiment: estimate``.

    Raises
    ------
    ValueError
        Naming what there is.
    """
    experiment, _, name = (part.strip() for part in text.partition(":"))
    if experiment not in known():
        raise ValueError(f"no recorded experiment {experiment!r}; there are {', '.join(known())}")
    estimates = known()[experiment].estimates
    if name not in estimates:
        raise ValueError(f"{experiment} has no recorded estimate {name!r}; it has {'; '.join(estimates)}")
    return estimates[name]


class Recorded(SphinxRole):
    """The role; a name that no record has is a warning at its place."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Make the node."""
        try:
            number = shown(find(self.text))
        except ValueError as error:
            log.warning("{recorded}`%s`: %s", self.text, error, location=self.get_location())
            number = "?"
        else:
            self.env.note_dependency(str(project_file(f"{FOLDER}/{self.text.partition(':')[0].strip()}.json")))
        return [nodes.inline(self.rawtext, number, classes=["recorded"])], []


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.add_role("recorded", Recorded())
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
