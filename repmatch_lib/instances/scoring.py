"""Instance-level RepMatch: every instance of a corpus against one adapter, at about the price of one training pass.

Section 5.1, instance level; the book's page on why one backward pass is enough derives it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor
from tqdm.auto import tqdm

from repmatch_lib.data.corpora import Corpus
from repmatch_lib.instances.job import Factors, Job, Scoring
from repmatch_lib.instances.scores import Scores, ScoreStore, described
from repmatch_lib.settings import Measure
from repmatch_lib.similarity.adapters import Adapter
from repmatch_lib.similarity.comparison import as_adapter
from repmatch_lib.similarity.subspaces import Side, thin_basis
from repmatch_lib.training.encoders import Encoder

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedTokenizerBase

BLOCK = 1024  # rows that are computed, written and, after a stop, lost together


@dataclass(frozen=True)
class Updates:
    """Instances' own updates, on the CPU.

    Attributes
    ----------
    ids : list
    losses : Tensor, shape (n,)
        Before the first step.
    A : dict of str to Tensor, shape (n, L, r, in)
    B : dict of str to Tensor, shape (n, L, out, r)
        One of each for every compared module.
    provenance : dict
        Encoder, corpus, settings and seconds, as a trained adapter has.
    """

    ids: list[Any]
    losses: Tensor
    A: dict[str, Tensor]
    B: dict[str, Tensor]
    provenance: dict[str, Any]

    def basis(self, module: str = "value", side: Side = "left") -> Tensor:
        """Singular vectors of every instance's update, shape (n, L, width, r), float64."""
        return thin_basis(self.A[module], self.B[module], side)


def score_instances(
    model: Encoder | PeftModel,
    data: Corpus,
    target: Adapter | str | Path | PeftModel,
    steps: int = 1,
    lr: float = 1e-3,
    side: Side = "left",
    modules: tuple[str, ...] = ("value",),
    measure: Measure = "repmatch",
    *,
    out: str | Path | None = None,
    shard: tuple[int, int] = (1, 1),
    device: str = "auto",
    tokens: int | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
    same_base: bool = False,
    progress: bool = True,
    **settings: Any,
) -> Scores | None:
    """Train every instance of a corpus by itself, and compare its update with an adapter's.

    All instances of a batch share one pass; see `engine`.

    Parameters
    ----------
    model : Encoder or PeftModel
        A PEFT model in its initial state (``B = 0``) is used in place and left as it was.
    data : Corpus
    target : Adapter, folder of a saved PEFT LoRA adapter, or PeftModel
    steps, lr, side, modules, measure, **settings
        See `Scoring`.
    out : folder, optional
        Keep the scores there block by block, and continue what is there.
    shard : (k, n)
        Compute only the k-th of n parts, with ``out``; returns None while other parts are missing.
    device : str
    tokens : int, optional
        Padded tokens in one pass: 1,024 on a CPU, 65,536 on CUDA. Halved when memory runs out.
    tokenizer : optional
        Of a PEFT model, if it cannot be loaded by the model's name.
    same_base : bool
        Compare although the names or weights of the base models differ.
    progress : bool

    Returns
    -------
    Scores

    Raises
    ------
    ValueError
        If the model, target, data, settings and store do not fit each other.
    MemoryError
        If a single row does not fit.
    FloatingPointError
        If an update is not finite.
    """
    scores = score_against_each(
        model, data, [target], steps=steps, lr=lr, side=side, modules=modules, measure=measure, out=out, shard=shard,
        device=device, tokens=tokens, tokenizer=tokenizer, same_base=same_base, progress=progress, **settings,
    )  # fmt: skip
    return scores[0] if scores else None


@torch.random.fork_rng()
def score_against_each(
    model: Encoder | PeftModel,
    data: Corpus,
    targets: Sequence[Adapter | str | Path | PeftModel],
    *,
    out: str | Path | None = None,
    shard: tuple[int, int] = (1, 1),
    device: str = "auto",
    tokens: int | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
    same_base: bool = False,
    progress: bool = True,
    **settings: Any,
) -> list[Scores] | None:
    """Compare every instance's update with several adapters' in one pass, which is most of the cost.

    Parameters
    ----------
    targets : sequence
        Of one head, and by cosine of one start.
    model, data, out, shard, device, tokens, tokenizer, same_base, progress, **settings
        As for `score_instances`.

    Returns
    -------
    list of Scores
        Of each target, to the bit what `score_instances` gives for it alone.

    Raises
    ------
    ValueError
        As `score_instances`, or if the targets ask for different heads, ranks or starts.
    """
    if not targets:
        raise ValueError("targets = []: give at least one adapter")
    k, n = shard
    if not 1 <= k <= n or (n > 1 and out is None):
        raise ValueError(f"shard {k}/{n}: give k/n with k from 1 to n, and a folder (out) to collect the parts in")
    adapters = [as_adapter(target) for target in targets]
    job = Job(model, data, Scoring(**settings), device, tokens, tokenizer, adapters, same_base)
    order = np.argsort(job.encoded.lengths, kind="stable")
    blocks = np.array_split(order, math.ceil(len(order) / BLOCK))
    made_of = job.made_of | {"rows": len(data), "blocks": len(blocks), "columns": described(job.schema)}
    store = ScoreStore(out, made_of) if out else None
    todo = [b for b in range(k - 1, len(blocks), n) if not (store and store.done(b))]
    tables = []
    with job.ready(), _progress(data.title, sum(len(blocks[b]) for b in todo), progress and bool(todo)) as bar:
        for b in store.claim(todo) if store else todo:
            table = job.score(blocks[b], bar)
            store.put(b, table) if store else tables.append(table)
    if store and store.missing():
        return None
    scores = store.gather() if store else Scores(pa.concat_tables(tables).sort_by("row").drop_columns("row"), made_of)
    return scores.of_each_target()


@torch.random.fork_rng()
def instance_updates(
    model: Encoder | PeftModel,
    data: Corpus,
    *,
    device: str = "auto",
    tokens: int | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
    progress: bool = True,
    **settings: Any,
) -> Updates:
    """The updates themselves, of a corpus small enough to hold them: L (in + out) r numbers an instance.

    Parameters
    ----------
    model, data, device, tokens, tokenizer, progress, **settings
        As for `score_instances`.
    """
    started = time.perf_counter()
    job = Job(model, data, Scoring(**settings), device, tokens, tokenizer)
    order = np.argsort(job.encoded.lengths, kind="stable")
    with job.ready(), _progress(data.title, len(order), progress) as bar:
        rows, parts = zip(*((rows, _on_cpu(part)) for rows, part in job.updates(order, bar)), strict=True)
    back = np.argsort(np.concatenate(rows))
    losses = torch.cat([part[0] for part in parts])[back]
    A, B = (
        {
            module: torch.cat([x[which][module].expand(len(x[0]), -1, -1, -1) for x in parts])[back]
            for module in job.scoring.modules
        }
        for which in (1, 2)
    )
    provenance = job.provenance | {"measured": {"seconds": round(time.perf_counter() - started, 2)}}
    return Updates(data.table["id"].to_pylist(), losses, A, B, provenance)


def _on_cpu(part: Factors) -> Factors:
    losses, *factors = part
    A, B = ({module: x.cpu() for module, x in by_module.items()} for by_module in factors)
    return losses, A, B


def _progress(title: str, rows: int, show: bool) -> tqdm:
    return tqdm(total=rows, desc=title, unit="instance", disable=not show, leave=False, dynamic_ncols=True)
