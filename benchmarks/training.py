"""What a training costs beside a bare pass, and several targets beside one.

``make bench`` runs it on an otherwise idle machine, contenders in turn, so that what disturbs one disturbs all; what
counts is the ratios. Rows are of real SST-2 where ``REPMATCH_DATA`` is set, else of the bundle.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table

import repmatch_lib as rm
from repmatch_lib.settings import Precision
from repmatch_lib.training.batching import encode, shuffled_batches
from repmatch_lib.training.heads import frozen_model, lora_model
from repmatch_lib.training.loop import Training, fit

RANK, BATCH, MAX_LENGTH = 4, 40, 128
TARGETS = 8


def passes(data: rm.Corpus, precision: Precision) -> dict[str, Callable[[], object]]:
    """A training, and a bare forward and backward pass with dropout over its batches."""
    encoder = rm.encoder("minilm")
    encoded = encode(encoder.tokenizer(), data, MAX_LENGTH)
    batches = [encoded.collate(rows) for rows in shuffled_batches(encoded.lengths, BATCH, 0, 0)]

    def bare() -> None:
        model = lora_model(frozen_model(encoder, "classification", 2), RANK).train()
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        for batch in batches:
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                loss = model(**batch).loss
            torch.autograd.grad(loss, trained)

    def training() -> None:
        model = lora_model(frozen_model(encoder, "classification", 2), RANK).train()
        fit(
            model,
            encoded,
            Training(epochs=1, batch_size=BATCH, max_length=MAX_LENGTH, precision=precision, device="cpu"),
        )

    return {"training": training, "bare pass": bare}


def targets(data: rm.Corpus) -> dict[str, Callable[[], object]]:
    """One pass for several targets, and one for one."""
    encoder = rm.encoder("minilm")
    few = data.take(np.arange(40))
    adapters = [rm.train_adapter(encoder, few, seed=k, rank=1, epochs=1, progress=False) for k in range(TARGETS)]
    how: dict[str, Any] = {"max_length": MAX_LENGTH, "progress": False, "device": "cpu"}
    return {
        f"{TARGETS} targets": lambda: rm.score_against_each(encoder, data, adapters, **how),
        "one target": lambda: rm.score_against_each(encoder, data, adapters[:1], **how),
    }


def main(
    rounds: Annotated[int, typer.Option(help="How often each is timed")] = 5,
    rows: Annotated[int, typer.Option(help="Of SST-2")] = 2000,
) -> None:
    """Time each pair in turn, and print the ratios of the rounds."""
    data = rm.load(rm.task("sst2"), source="local" if os.environ.get("REPMATCH_DATA") else "mini", rows=rows)
    cases = {f"training, {p}": passes(data, p) for p in ("float32", "bf16")} | {"scoring": targets(data)}
    table = Table("case", "ms a row", "beside", "ms a row", "ratio [lowest, highest]", title="Medians of the rounds")
    for case, contenders in cases.items():
        times: dict[str, list[float]] = {name: [] for name in contenders}
        for turn in range(rounds + 1):
            for name, work in contenders.items():
                started = time.perf_counter()
                work()
                if turn:  # the first warms up
                    times[name].append((time.perf_counter() - started) / len(data) * 1e3)
        (name, above), (other, below) = times.items()
        ratios = sorted(a / b for a, b in zip(above, below, strict=True))
        cells = [f"{statistics.median(times[n]):.2f}" for n in (name, other)]
        ratio = f"{statistics.median(ratios):.2f} [{ratios[0]:.2f}, {ratios[-1]:.2f}]"
        table.add_row(f"{case}: {name}" if name not in case else case, cells[0], other, cells[1], ratio)
    Console(width=120).print(table)


if __name__ == "__main__":
    typer.run(main)
