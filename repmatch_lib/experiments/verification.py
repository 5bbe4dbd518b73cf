"""Recorded results computed again from the corpora, and how far off they are."""

from __future__ import annotations

import itertools
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pandas as pd

from repmatch_lib.experiments.catalogue import parse
from repmatch_lib.experiments.instance_likeness import Likeness
from repmatch_lib.experiments.recorded import Entry, Recorded
from repmatch_lib.experiments.requests import Request
from repmatch_lib.instances.scores import Scores
from repmatch_lib.similarity.adapters import Adapter
from repmatch_lib.store import Store, write_atomically
from repmatch_lib.training.fine_tuning import Outcome
from repmatch_lib.versions import provenance

VERIFIED = "verification.json"
TOLERANCE = 1e-3  # of what another processor's order of summing may come to, as a share of a result's largest number


@dataclass(frozen=True)
class Verified:
    """A recorded result and a new one.

    Attributes
    ----------
    request : Request
    pack : str
        Where it is recorded.
    off : float
        Largest difference of two numbers, as a share of the largest number; infinite where their shapes differ.
    seconds : float
        That the new one took.
    """

    request: Request[Any]
    pack: str
    off: float
    seconds: float

    @property
    def verdict(self) -> str:
        """``"equal"``, ``"within the arithmetic's tolerance"`` or ``"different"``."""
        return (
            "equal" if self.off == 0 else "within the arithmetic's tolerance" if self.off < TOLERANCE else "different"
        )


def keep_verified(results: Sequence[Verified], there: Recorded | None = None) -> None:
    """Write what came out, by which software and machine, beside the recorded results."""
    lines = [
        {"pack": one.pack, "asked": json.loads(one.request.to_json()), "verdict": one.verdict}
        | {"off": one.off, "seconds": round(one.seconds, 1)}
        for one in results
    ]
    content = {"date": date.today().isoformat(), "software": provenance(), "results": lines}
    write_atomically((there or Recorded()).root / VERIFIED, json.dumps(content, indent=1) + "\n")


def verify(
    sample: int = 1, seed: int = 0, chapter: str | None = None, there: Recorded | None = None
) -> Iterator[Verified]:
    """Compute some recorded results again, each into a store of its own.

    Parameters
    ----------
    sample : int
        So many of those from real corpora, drawn at random, of as many chapters as there are; all if there are no
        more.
    seed : int
        Of the draw.
    chapter : str, optional
        Of this one alone.
    there : Recorded, optional
        ``data/recorded/results`` of the project if not given.

    Raises
    ------
    FileNotFoundError
        If a corpus is not at hand.
    ValueError
        If there is nothing to draw from, or ``sample`` is below 1.
    """
    there = there or Recorded()
    entries = list(there.entries.values())
    by_chapter: dict[str, list[tuple[Request[Any], Entry]]] = {}
    for k in np.random.default_rng(seed).permutation(len(entries)):
        if entries[k].real:
            request: Request[Any] = parse(json.dumps(entries[k].settings))
            by_chapter.setdefault(entries[k].pack.removesuffix(".zip"), []).append((request, entries[k]))
    drawn = by_chapter if chapter is None else {chapter: by_chapter.get(chapter, [])}
    if not any(drawn.values()) or sample < 1:
        known = ", ".join(sorted(by_chapter)) or "none, for none is recorded"
        raise ValueError(f"sample = {sample}, chapter = {chapter!r}: give at least 1, and one of {known}")
    # The first of every chapter, then the second of every chapter, and so on.
    turns = filter(None, itertools.chain(*itertools.zip_longest(*drawn.values())))
    for request, entry in itertools.islice(turns, sample):
        yield _again(request, entry, there)


def _again(request: Request[Any], entry: Entry, there: Recorded) -> Verified:
    with tempfile.TemporaryDirectory() as place:
        store, started = Store(place), time.perf_counter()
        anew = request.read(request.folder(store, progress=False))
        seconds = time.perf_counter() - started
        return Verified(request, entry.pack, off(request.read(there.folder(entry, store)), anew), seconds)


def off(one: Any, other: Any) -> float:
    """Largest difference between the numbers of two results, as a share of the first one's largest number."""
    numbers, others = _numbers(one), _numbers(other)
    if numbers.keys() != others.keys() or any(numbers[name].shape != others[name].shape for name in numbers):
        return float("inf")
    largest = max(float(np.abs(values).max()) for values in numbers.values())
    return max(float(np.abs(values - others[name]).max()) for name, values in numbers.items()) / (largest or 1.0)


def _numbers(result: Any) -> dict[str, np.ndarray]:
    match result:
        case Adapter() | Likeness():
            return {name: tensor.double().numpy() for name, tensor in result.tensors.items()}
        case Scores():
            return _numbers(result.to_pandas())
        case pd.DataFrame():
            return {name: column.to_numpy() for name, column in result.select_dtypes("number").items()}
        case Outcome():
            return {result.metric: np.array(result.value)}
    raise TypeError(f"results of type {type(result).__name__} cannot be compared yet")
