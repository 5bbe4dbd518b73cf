"""How fast the instance engine is, against the loops that it replaces and the passes that it is made of.

``make bench`` runs it on an otherwise idle machine. All contenders take turns in one process, so that what disturbs one
disturbs all; what counts is the ratios. Rows are of real SST-2 where ``REPMATCH_DATA`` is set, else of the bundle.
"""

from __future__ import annotations

import copy
import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Optional

import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table
from tqdm.auto import tqdm
from transformers import BertConfig, BertModel, logging

import repmatch_lib as rm
from repmatch_lib.book.records import Record
from repmatch_lib.instances.costs import instance_flops
from repmatch_lib.instances.job import Job
from repmatch_lib.instances.trainee import Scoring
from repmatch_lib.settings import Precision
from repmatch_lib.statistics import Estimate
from repmatch_lib.training.batching import within_budget
from repmatch_lib.training.devices import token_budget
from repmatch_lib.training.heads import frozen_model, lora_model
from repmatch_lib.versions import provenance

CONTENDERS = {
    "released": "one at a time, as released: state reloaded, padded to 512, full SVD of query and value",
    "careful": "one at a time, with care: one model, no padding, thin bases of value",
    "engine": "this library",
    "pass": "a bare forward and backward pass, same model, same batches",
    "forward": "the forward pass alone",
}
RATIOS = {
    "times released": ("released", "engine"),
    "times careful": ("careful", "engine"),
    "of pass": ("pass", "engine"),
    "forwards": ("engine", "forward"),
}
# Rows that each contender times in a round, by steps; and rounds.
SIZES = {
    "minilm": ({1: dict(released=3, careful=24, batched=3072), 10: dict(released=1, careful=6, batched=128)}, 5),
    "BERT-base size": ({1: dict(released=1, careful=8, batched=96), 10: dict(released=1, careful=2, batched=24)}, 3),
}
Case = tuple[str, Precision, int, int]  # model, precision, rank, steps
QUICK = dict(released=1, careful=1, batched=16)


class Bench:
    """One encoder, precision, rank and number of steps, ready to be timed."""

    def __init__(self, encoder: rm.Encoder, data: rm.Corpus, precision: Precision, rank: int, steps: int) -> None:
        self.encoder, self.steps, self.precision, self.rank = encoder, steps, precision, rank
        self.target = _random_adapter(encoder, rank)
        scoring = Scoring(steps=steps, rank=rank, precision=precision, max_length=128)
        self.job = Job(encoder, data, scoring, "cpu", None, None, (self.target,), same_base=True)
        self.tokenizer, self.data = encoder.tokenizer(), data

    def released(self, rows: np.ndarray) -> Iterator[None]:
        """The authors' loop."""
        model = self._model(("query", "value"), "sdpa")
        initial = copy.deepcopy(model.state_dict())
        theirs = [
            torch.linalg.svd(B @ A)[0] for module in ("query", "value") for A, B in self._factors(self.target, module)
        ]
        yield
        for row in rows:
            model.load_state_dict(initial)
            text = self.data.table["text"][int(row)].as_py()
            batch = dict(
                self.tokenizer(text, padding="max_length", truncation=True, max_length=512, return_tensors="pt")
            )
            self._train(model, batch | {"labels": torch.tensor([self.data.table["label"][int(row)].as_py()])})
            adapter = rm.Adapter.from_model(model)
            mine = [
                torch.linalg.svd(B @ A)[0] for module in ("query", "value") for A, B in self._factors(adapter, module)
            ]
            for U, V in zip(mine, theirs, strict=True):
                rm.grassmann_similarity(U[:, : self.rank], V[:, : self.rank]).max()

    def careful(self, rows: np.ndarray) -> Iterator[None]:
        """A loop as a careful user would write it with PEFT."""
        model = self._model(("value",), "eager")
        trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        initial = [p.detach().clone() for _, p in trained]
        theirs = rm.lora_basis(*self.target.factors("value")[1:])
        yield
        for row in rows:
            with torch.no_grad():
                for (_, parameter), start in zip(trained, initial, strict=True):
                    parameter.copy_(start)
            self._train(model, self.job.encoded.collate([row]))
            A, B = (torch.stack([p for name, p in trained if f"lora_{factor}" in name]) for factor in "AB")
            rm.repmatch_score(rm.grassmann_similarity(rm.lora_basis(A, B), theirs)).mean()

    def engine(self, rows: np.ndarray) -> Iterator[None]:
        """Updates, bases and scores of all rows."""
        with self.job.ready():
            yield
            self.job.score(rows, tqdm(disable=True))

    def bare(self, rows: np.ndarray, backward: bool) -> Iterator[None]:
        """As many passes as steps, over the engine's batches."""
        model = self._model(("value",), "eager")
        pieces = within_budget(rows, self.job.encoded.lengths, token_budget("scoring", "cpu"))
        batches = [self.job.encoded.collate(piece) for piece in pieces]
        parameters = [p for p in model.parameters() if p.requires_grad]
        yield
        for batch, _ in itertools.product(batches, range(self.steps)):
            with (
                torch.autocast("cpu", torch.bfloat16, enabled=self.precision == "bf16"),
                torch.set_grad_enabled(backward),
            ):
                loss = model(**batch).loss
            if backward:
                torch.autograd.grad(loss, parameters)

    def time(self, name: str, rows: np.ndarray) -> float:
        """Milliseconds an instance, without what is prepared once."""
        contenders: dict[str, Callable[[], Any]] = {
            "released": lambda: self.released(rows), "careful": lambda: self.careful(rows),
            "engine": lambda: self.engine(rows), "pass": lambda: self.bare(rows, True),
            "forward": lambda: self.bare(rows, False),
        }  # fmt: skip
        running = contenders[name]()
        next(running)
        started = time.perf_counter()
        next(running, None)
        return (time.perf_counter() - started) / len(rows) * 1e3

    @lru_cache  # noqa: B019
    def _model(self, modules: tuple[str, ...], attention: str) -> Any:
        model = frozen_model(self.encoder, "classification", 2)
        model.set_attn_implementation(attention)
        return lora_model(model, self.rank, modules).eval()

    def _train(self, model: Any, batch: dict[str, torch.Tensor]) -> None:
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
        for _ in range(self.steps):
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=self.precision == "bf16"):
                loss = model(**batch).loss
            loss.backward()
            optimizer.step()

    @staticmethod
    def _factors(adapter: rm.Adapter, module: str) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        return zip(*adapter.factors(module)[1:], strict=True)


def main(
    out: Annotated[Path, typer.Option(help="The record")] = Path("benchmarks/performance.json"),
    model: Annotated[Optional[list[str]], typer.Option(help="minilm or 'BERT-base size'; both if not given")] = None,
    quick: Annotated[bool, typer.Option(help="One round of few rows, to see that it runs")] = False,
) -> None:
    """Time everything, print the table, write the record."""
    logging.set_verbosity_error()
    data = rm.load(rm.task("sst2"), source="local" if os.environ.get("REPMATCH_DATA") else "mini")
    settings: dict[str, Any] = {"rank": [1, 4], "steps": [1, 10], "precision": ["float32", "bf16"]}
    timed = [sizes[1]["batched"] for sizes, _ in SIZES.values()]
    origin = {
        "encoder": {"name": "minilm", "weights_sha256": rm.encoder("minilm").sha256},
        "corpora": [{"task": "sst2", "rows": len(data), "source": data.source, "fingerprint": data.fingerprint}],
        "training": settings | {"lr": 1e-3, "device": "cpu", "threads": torch.get_num_threads()},
        "software": provenance(),
    }
    record = Record(
        "performance", settings | {"rows": timed, "task": "sst2"}, {}, [], origin, {"training_seconds": 0.0}
    )
    if out.is_file() and (there := Record.load(out)).provenance == origin:
        record = there  # of the same code on the same machine: go on with it
    with tempfile.TemporaryDirectory() as folder:
        encoders = {"minilm": rm.encoder("minilm"), "BERT-base size": _random_bert(Path(folder) / "bert-base-size")}
        cases = itertools.product(model or encoders, settings["precision"], settings["rank"], settings["steps"])
        for case in tqdm(list(cases), desc="benchmark", unit="case"):
            if _title(*case) not in {row["case"] for row in record.rows}:
                record = _with_case(record, encoders[case[0]], data, case, quick).save(out)
    _print(record)


def _with_case(record: Record, encoder: rm.Encoder, data: rm.Corpus, case: Case, quick: bool) -> Record:
    started = time.perf_counter()
    row, ratios = _case(encoder, data, *case, quick=quick)
    seconds = round(record.measured["training_seconds"] + time.perf_counter() - started, 1)
    return replace(
        record,
        rows=[*record.rows, row],
        estimates=record.estimates | {f"{row['case']}, {name}": estimate for name, estimate in ratios.items()},
        measured={"training_seconds": seconds},
    )


def _title(model: str, precision: str, rank: int, steps: int) -> str:
    return f"{model}, {precision}, rank {rank}, {steps} {'step' if steps == 1 else 'steps'}"


def _case(
    encoder: rm.Encoder, data: rm.Corpus, model: str, precision: Precision, rank: int, steps: int, quick: bool
) -> tuple[dict[str, Any], dict[str, Estimate]]:
    """One line of the table, and its ratios."""
    sizes, rounds = ({steps: QUICK}, 1) if quick else SIZES[model]
    sample = np.random.default_rng(0).permutation(len(data))[: sizes[steps]["batched"]]
    part = data.take(sample)
    bench = Bench(encoder, part, precision, rank, steps)
    lengths = bench.job.encoded.lengths
    batched = np.argsort(lengths, kind="stable")
    typical = np.argsort(np.abs(lengths - lengths.mean()), kind="stable")  # single instances of the mean length
    rows = {name: typical[: sizes[steps][name]] if name in sizes[steps] else batched for name in CONTENDERS}
    for name in CONTENDERS:
        if rows[name] is batched:
            bench.time(name, batched[-16:])  # warm up
    times: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    peaks = []
    for _ in range(rounds):
        for name in CONTENDERS:
            times[name].append(bench.time(name, rows[name]))
        peaks.append(_peak(precision))
    model_timed: Any = bench.job.engine.model.get_base_model()
    flops = float(np.mean([instance_flops(model_timed.config, int(n)) for n in lengths])) * steps
    medians = {f"{name} ms": statistics.median(values) for name, values in times.items()}
    row = {
        "case": _title(model, precision, rank, steps),
        "model": model, "precision": precision, "rank": rank, "steps": steps, "tokens": float(lengths.mean()),
        **medians,
        "gigaflops": flops / 1e9, "peak gigaflops a second": statistics.median(peaks) / 1e9,
        "share of peak": flops / (medians["engine ms"] / 1e3) / statistics.median(peaks),
    }  # fmt: skip
    ratios = {
        name: _estimate([a / b for a, b in zip(times[above], times[below], strict=True)])
        for name, (above, below) in RATIOS.items()
    }
    return row, ratios


def _estimate(values: list[float]) -> Estimate:
    """The median over rounds, with the lowest and the highest."""
    return Estimate(statistics.median(values), min(values), max(values), len(values), "round")


def _peak(precision: str) -> float:
    """Operations a second of a large matrix product: what the machine can do at best."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    a, b = torch.randn(1536, 1536).to(dtype), torch.randn(1536, 1536).to(dtype)
    a @ b
    started, repeats = time.perf_counter(), 20
    for _ in range(repeats):
        a @ b
    return repeats * 2 * 1536**3 / (time.perf_counter() - started)


def _random_adapter(encoder: rm.Encoder, rank: int) -> rm.Adapter:
    """A target; its values do not matter for the time."""
    model = lora_model(frozen_model(encoder, "classification", 2), rank, ("query", "value"))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(generator=torch.Generator().manual_seed(len(name)))
    return rm.Adapter.from_model(model)


def _random_bert(folder: Path) -> rm.Encoder:
    """Random weights in BERT-base's shape, with MiniLM's tokenizer, which is BERT's."""
    folder.mkdir()
    torch.manual_seed(0)
    BertModel(BertConfig()).save_pretrained(folder)
    rm.encoder("minilm").tokenizer().save_pretrained(folder)
    return rm.encoder(folder)


def _print(record: Record) -> None:
    table = Table(title="Milliseconds an instance; ratios [lowest, highest of the rounds]")
    times = [f"{name} ms" for name in CONTENDERS]
    for name in ("case", *times, *RATIOS, "share of peak"):
        table.add_column(name, justify="left" if name == "case" else "right")
    for row in record.rows:
        ratios = [format(record.estimates[f"{row['case']}, {name}"], ".2f") for name in RATIOS]
        table.add_row(row["case"], *(f"{row[name]:.2f}" for name in times), *ratios, f"{row['share of peak']:.2f}")
    Console(width=200).print(table)


if __name__ == "__main__":
    typer.run(main)
