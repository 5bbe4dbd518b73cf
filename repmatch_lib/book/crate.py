"""The recorded results described for machines, as RO-Crate 1.1 (https://w3id.org/ro/crate/1.1)."""

from __future__ import annotations

import json
from collections import Counter
from datetime import date
from typing import Any

from repmatch_lib.experiments.recorded import Recorded
from repmatch_lib.store import write_atomically

CRATE = "ro-crate-metadata.json"
PAPER = "https://arxiv.org/abs/2410.09642"
LICENCE = "https://creativecommons.org/licenses/by/4.0/"


def write_crate(there: Recorded | None = None, published: date | None = None) -> None:
    """Write the description beside the packs.

    Parameters
    ----------
    there : Recorded, optional
        ``data/recorded/results`` of the project if not given.
    published : date, optional
        Today if not given.
    """
    there = there or Recorded()
    files = [_file(there, name, digest) for name, digest in there.hashes.items()]
    graph = [
        {
            "@id": CRATE, "@type": "CreativeWork", "about": {"@id": "./"},
            "conformsTo": {"@id": "https://w3id.org/ro/crate/1.1"},
        },
        {
            "@id": "./", "@type": "Dataset", "name": "Recorded results of the RepMatch companion",
            "description": "LoRA adapters, scores and outcomes that a reproduction of RepMatch rests on.",
            "datePublished": (published or date.today()).isoformat(), "license": {"@id": LICENCE},
            "author": {"@id": "#authors"}, "citation": {"@id": PAPER}, "hasPart": [{"@id": f["@id"]} for f in files],
        },
        {"@id": "#authors", "@type": "Organization", "name": "the RepMatch companion's authors"},
        {"@id": LICENCE, "@type": "CreativeWork", "name": "Creative Commons Attribution 4.0 International"},
        {
            "@id": PAPER, "@type": "ScholarlyArticle",
            "name": "RepMatch: Quantifying Cross-Instance Similarities in Representation Space",
        },
        *files,
    ]  # fmt: skip
    content = {"@context": "https://w3id.org/ro/crate/1.1/context", "@graph": graph}
    write_atomically(there.root / CRATE, json.dumps(content, indent=1) + "\n")


def _file(there: Recorded, name: str, digest: str) -> dict[str, Any]:
    kinds = Counter(entry.settings["kind"] for entry in there.entries.values() if entry.pack == name)
    return {
        "@id": name, "@type": "File", "name": f"Results of the chapter {name.removesuffix('.zip')}",
        "description": "; ".join(f"{kind}: {count}" for kind, count in sorted(kinds.items())),
        "encodingFormat": "application/zip", "contentSize": str(there.pack_file(name).stat().st_size), "sha256": digest,
    }  # fmt: skip
