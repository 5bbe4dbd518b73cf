"""What SemDeDup costs: time and peak memory for many rows.

``python benchmarks/semdedup.py`` on an otherwise idle machine. The vectors lie around random centres, one for every
hundred rows, so clusters differ in size. The peak is of this whole process, libraries and vectors included; what the
libraries take alone stands beside it. With ``--folder`` clusters are kept there, and a run that was stopped goes on.
The record goes to ``data/recorded`` by hand; the chapter shows it from there.
"""

from __future__ import annotations

import resource
import time
from pathlib import Path
from typing import Annotated, Optional

import numpy as np
import torch
import typer
from rich.console import Console

import repmatch_lib as rm
from repmatch_lib.versions import provenance


def draw(rows: int, width: int) -> np.ndarray:
    """Vectors in float32, in parts: a normal draw of all of them would take them twice."""
    random = np.random.default_rng(0)
    centres = random.standard_normal((max(1, rows // 100), width), dtype=np.float32)
    vectors = np.empty((rows, width), np.float32)
    for part in np.array_split(np.arange(rows), max(1, rows // 10_000)):
        near = centres[random.integers(len(centres), size=len(part))]
        vectors[part] = near + 0.7 * random.standard_normal(near.shape, dtype=np.float32)
    return vectors


def peak() -> float:
    """Gigabytes; the system counts in kilobytes on Linux."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def main(
    rows: Annotated[int, typer.Option(help="Vectors")] = 500_000,
    width: Annotated[int, typer.Option(help="Of a vector; MiniLM's is 384")] = 384,
    clusters: Annotated[Optional[int], typer.Option(help="One for each 1,000 rows, if not given")] = None,
    folder: Annotated[Optional[Path], typer.Option(help="Keep every cluster there")] = None,
    out: Annotated[Path, typer.Option(help="The record")] = Path("benchmarks/semdedup--cost.json"),
) -> None:
    """Time it, say what it took, and write the record."""
    rm.near_duplicates(np.eye(4), 2, progress=False)  # loads scikit-learn
    before = peak()
    vectors = draw(rows, width)
    started = time.perf_counter()
    found = rm.near_duplicates(vectors, clusters, out=folder)
    seconds = time.perf_counter() - started
    sizes = np.bincount(found.cluster)
    row = {
        "rows": rows,
        "width": width,
        "clusters": len(sizes),
        "largest cluster": int(sizes.max()),
        "cosines, millions": round(float((sizes * (sizes - 1.0)).sum() / 2e6), 1),
        "seconds": round(seconds, 1),
        "threads": torch.get_num_threads(),
        "memory, GB": round(peak(), 2),
        "of it libraries, GB": round(before, 2),
    }
    made = {"encoder": {}, "corpora": [], "training": {}, "software": provenance()}
    rm.Record("semdedup", {"rows": rows, "width": width}, {}, [row], made, {"training_seconds": 0.0}).save(out)
    Console().print("\n".join(f"{name}: {value:,}" for name, value in row.items()))


if __name__ == "__main__":
    typer.run(main)
