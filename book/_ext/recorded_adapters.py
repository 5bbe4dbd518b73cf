"""Sphinx directive ``{compare}``: what the page that compares two adapters needs, so that it opens from a folder."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from repmatch_lib.data.tasks import task
from repmatch_lib.experiments.catalogue import parse
from repmatch_lib.experiments.recorded import Recorded
from repmatch_lib.experiments.runs import Run
from repmatch_lib.similarity.adapters import WEIGHTS
from repmatch_lib.store import Store

# A worker's scripts, in the order in which they run; a browser gives a page in a folder no worker from a file.
WORKER = ("vendor/matrix.umd.js", "adapters.js")
PACK, SAMPLE = "dataset_heatmaps.zip", 0  # those of one head and draw of rows, which can be compared


class Compare(SphinxDirective):
    """The worker's source, and the place where the script draws."""

    def run(self) -> list[nodes.Node]:
        """Put the worker into the page, as text."""
        static = Path(self.env.srcdir) / "book/_static"
        source = "\n".join((static / name).read_text() for name in WORKER)
        text = source.replace("</script", "<\\/script")
        return [
            nodes.raw("", f'<script type="text/plain" id="compare-worker">{text}</script>\n', format="html"),
            nodes.raw("", '<div id="compare" class="interactive"></div>', format="html"),
        ]


def write_adapters(app: Sphinx) -> None:
    """The recorded adapters that the page offers, as a script: pages in a folder may not fetch files."""
    store, offered = Store(Path(app.outdir).parent / ".adapters"), {}
    for key, entry in Recorded().entries.items():
        settings = entry.settings
        if (entry.pack, settings["kind"], settings.get("sample_seed")) == (PACK, Run.kind, SAMPLE):
            request = parse(json.dumps(settings))
            content = (Recorded().folder(entry, store) / WEIGHTS).read_bytes()
            name = f"{task(request.task).title}, training seed {request.seed}"
            offered[key] = {"name": name, "data": base64.b64encode(content).decode()}
    ordered = dict(sorted(offered.items(), key=lambda item: item[1]["name"]))
    file = Path(app.srcdir) / "book/_static/built/adapters.js"
    text = f"const recordedAdapters = {json.dumps(ordered)};\n"
    if not file.is_file() or file.read_text() != text:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.add_directive("compare", Compare)
    app.connect("builder-inited", write_adapters)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
