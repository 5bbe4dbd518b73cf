"""What the [CLS] baseline costs: cosines counted over all pairs, against the bare product of the same blocks.

``python benchmarks/cosines.py`` on an otherwise idle machine. Both take turns in one process; what counts is the ratio.
The peak is of this whole process, libraries and vectors included.
"""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable
from typing import Annotated

import torch
import typer
from rich.console import Console

import repmatch_lib as rm
from repmatch_lib.embeddings.cosines import row_blocks

BLOCK = 1024


def product(a: torch.Tensor, b: torch.Tensor) -> None:
    """The blocks, and nothing done with them."""
    for _, left in row_blocks(len(a), 1, BLOCK):
        for _, right in row_blocks(len(b), 1, BLOCK):
            a[left] @ b[right].T


def seconds(work: Callable[[], object]) -> float:
    """How long it takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main(
    rows: Annotated[int, typer.Option(help="Rows of each of the two sets.")] = 10_000,
    width: Annotated[int, typer.Option(help="Of a vector; MiniLM's is 384.")] = 384,
    rounds: Annotated[int, typer.Option(help="Turns of each.")] = 7,
) -> None:
    """Time both, in turns, and say what memory the process took at most."""
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, rows, width, generator=generator)
    times = [(seconds(lambda: product(a, b)), seconds(lambda: rm.cosines(a, b, block=BLOCK))) for _ in range(rounds)]
    ratios = [counted / bare for bare, counted in times]
    bare, counted = (statistics.median(column) for column in zip(*times, strict=True))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # kilobytes on Linux
    Console().print(
        f"{rows:,} x {rows:,} rows, {width} wide, {torch.get_num_threads()} threads, {rounds} rounds (medians)\n"
        f"bare product {bare:.2f} s, counted {counted:.2f} s\n"
        f"ratio {statistics.median(ratios):.2f} [{min(ratios):.2f}, {max(ratios):.2f}]\n"
        f"peak memory {peak:.2f} GB"
    )


if __name__ == "__main__":
    typer.run(main)
