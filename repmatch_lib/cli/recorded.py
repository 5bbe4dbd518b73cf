"""Commands for the recorded results: keep, verify, archive, fetch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.console import Console

console = Console()


def keep(
    names: Annotated[list[str], typer.Argument(help="Notebooks whose records to keep")],
    build: Annotated[Path, typer.Option(help="Folder of the build's pages and records")] = Path("book/executed"),
) -> None:
    """Make a build's records, and the results behind them, the recorded ones in data/recorded."""
    from repmatch_lib.book import ledger, packing

    ledger.fit_to_keep(build, names)
    for name in names:
        packing.pack(name, build)
    ledger.keep(build, names)
    console.print(f"Kept {', '.join(names)}")


def keep_small_runs() -> None:
    """Record what the chapters ask for at their defaults: small runs on the bundled corpora."""
    from repmatch_lib.book import packing

    console.print(f"{packing.pack_small_runs()} results in {packing.SMALL}")


def verify(
    sample: Annotated[int, typer.Option(help="How many, drawn at random")] = 1,
    seed: Annotated[int, typer.Option(help="Of the draw")] = 0,
    chapter: Annotated[Optional[str], typer.Option(help="Of this chapter alone")] = None,
    record: Annotated[bool, typer.Option("--record", help="Let the book show it")] = False,
) -> None:
    """Compute recorded results again from the corpora, and say how far off they are."""
    from repmatch_lib.experiments.verification import keep_verified, verify as verified

    results = []
    for found in verified(sample, seed, chapter):
        results.append(found)
        console.print(
            f"{found.pack}: {found.request.to_json()}\n"
            f"  {found.verdict}: off by {found.off:.1e} of the largest number, {found.seconds:.0f} s",
            soft_wrap=True, highlight=False,
        )  # fmt: skip
    if record:
        keep_verified(results)
    if any(found.verdict == "different" for found in results):
        raise ValueError("not all recorded results came out again")


def archive_recorded(
    file: Annotated[Path, typer.Argument(help="Where to write it, such as repmatch-recorded.zip")],
) -> None:
    """Put the recorded results into one file, for those who installed the package alone; says its SHA-256."""
    from repmatch_lib.experiments.fetching import archive

    console.print(f"{archive(file)}  {file}", soft_wrap=True, highlight=False)


def fetch_recorded(
    source: Annotated[str, typer.Argument(help="That file, or its https address")],
    sha256: Annotated[str, typer.Option(help="What its SHA-256 has to be")] = "",
) -> None:
    """Put the recorded results where notebooks look for them, each file checked by its hash."""
    from repmatch_lib.experiments.fetching import fetch

    names = fetch(source, sha256)
    console.print(f"{len(names)} files are in place: {', '.join(names)}", soft_wrap=True)
