"""A model, rows, settings and a target that fit together, checked before anything is computed."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import pyarrow as pa
import torch
from pydantic import ConfigDict, Field, field_validator
from pydantic.dataclasses import dataclass
from torch import Tensor
from tqdm.auto import tqdm

from repmatch_lib.adapters import MODULES, Adapter, in_order, place
from repmatch_lib.batching import within_memory
from repmatch_lib.checks import (
    check_base,
    check_dropout,
    check_head,
    encode_checked,
    find_tokenizer,
    model_digest,
    target_digest,
    token_digest,
)
from repmatch_lib.comparison import trained_basis
from repmatch_lib.corpora import Corpus
from repmatch_lib.encoders import Encoder
from repmatch_lib.models import check_length, frozen_model, lora_model
from repmatch_lib.store import code_version, key, provenance
from repmatch_lib.subspaces import Side, grassmann_similarity, repmatch_score, thin_basis
from repmatch_lib.training import resolve_device, resolve_precision
from repmatch_lib.updates import AdamW, InstanceModel

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedTokenizerBase

TOKENS = {"cpu": 1024, "cuda": 65536}  # padded tokens in one pass; more falls out of a processor's cache
CODE = ("batching", "matrices", "models", "readout", "scoring", "subspaces", "updates")

Positive = Annotated[float, Field(gt=0)]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Scoring:
    """How instances are trained and compared.

    Attributes
    ----------
    steps : int
        AdamW steps of each instance alone, with a batch of one. The authors' released script takes one.
    lr, weight_decay, eps : float
        AdamW's.
    side : {"left", "right"}
        Which singular vectors to compare; see `lora_basis`.
    modules : tuple of str
        Attention matrices to adapt and compare; of a ready PEFT model, those to compare.
    rank, seed : int
        LoRA's, where an encoder is given; the rank is the target's if not given. On the right side, a seed equal to
        that of the target's start gives both the same ``A``, and scores near 1.
    head_seed : int, optional
        Of the frozen head, where an encoder is given: the target's own if not given.
    max_length : int
        Longest sequence in tokens.
    dropout : bool
        Train with the encoder's dropout. Off at the instance level: it drowns what one step learns. What is dropped
        also depends on ``tokens``, the padded tokens in one pass.
    precision : {"auto", "float32", "bf16"}
        As for `train_adapter`.
    """

    steps: Annotated[int, Field(ge=1)] = 1
    lr: Positive = 1e-3
    side: Side = "left"
    modules: tuple[str, ...] = ("value",)
    rank: Annotated[int, Field(ge=1)] | None = None
    seed: Annotated[int, Field(ge=0)] = 0
    head_seed: Annotated[int, Field(ge=0)] | None = None
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    eps: Positive = 1e-8
    max_length: Annotated[int, Field(ge=8)] = 256
    dropout: bool = False
    precision: Literal["auto", "float32", "bf16"] = "auto"

    @field_validator("modules")
    @classmethod
    def _each_once(cls, modules: tuple[str, ...]) -> tuple[str, ...]:
        if not modules or len(set(modules)) < len(modules):
            raise ValueError("give at least one matrix, and each once")
        return modules


class Job:
    """A model, rows and settings that fit together, and the target's subspaces where there is one."""

    def __init__(
        self,
        model: Encoder | PeftModel,
        data: Corpus,
        scoring: Scoring,
        device: str,
        tokens: int | None,
        tokenizer: PreTrainedTokenizerBase | None,
        target: Adapter | None = None,
        same_base: bool = False,
    ) -> None:
        trained = target.provenance.get("training", {}) if target else {}
        if isinstance(model, Encoder):
            device, tokenizer, name = resolve_device(device), tokenizer or model.tokenizer(), model.base_model
            head_seed = trained.get("head_seed", 0) if scoring.head_seed is None else scoring.head_seed
            rank = scoring.rank or trained.get("rank") or (target.config.get("r") if target else None) or 1
            scoring = replace(scoring, rank=rank, head_seed=head_seed)
            base = frozen_model(model, data.task.kind, data.task.outputs, head_seed)
            peft_model = lora_model(base, rank, scoring.modules, scoring.seed).to(device).train(scoring.dropout)
            fingerprint = model.fingerprint
        elif not hasattr(model, "peft_config"):
            raise TypeError(
                f"cannot score on {type(model).__name__}: give an encoder (rm.encoder(name)), or a PeftModel in its "
                "initial state (peft.get_peft_model)"
            )
        else:
            peft_model, device, name = model, str(model.device), model.get_base_model().name_or_path
            tokenizer = tokenizer or find_tokenizer(name)
            fingerprint = model_digest(model)
        if target and not same_base:
            check_base(target, name, getattr(model, "sha256", None))
        scoring = replace(scoring, precision=resolve_precision(scoring.precision, device))
        check_dropout(peft_model, scoring.dropout)
        check_head(peft_model, data)
        check_length(peft_model, scoring.max_length)
        self.data, self.scoring = data, scoring
        self.tokens = tokens or TOKENS[torch.device(device).type]
        optimizer = AdamW(scoring.lr, scoring.weight_decay, scoring.eps)
        self.engine = InstanceModel(peft_model, data.task.kind, optimizer, scoring.precision)
        self.places = {module: self._places(module) for module in scoring.modules}
        self.bases = {module: self._basis(target, module) for module in scoring.modules if target}
        self.encoded = encode_checked(tokenizer, data, scoring.max_length)
        self.provenance = {
            "encoder": {"name": getattr(model, "name", name), "weights_sha256": getattr(model, "sha256", fingerprint)},
            "corpus": {
                "task": data.task.name,
                "rows": len(data),
                "source": data.source,
                "fingerprint": data.fingerprint,
            },
            "training": asdict(scoring) | {"device": device, "threads": torch.get_num_threads()},
            "software": provenance(),
        }
        names = {
            m: [f"{m}_layer_{k}" if len(self.places) > 1 else f"layer_{k}" for k in range(len(p))]
            for m, p in self.places.items()
        }
        numbers = ["loss", *itertools.chain.from_iterable(names.values()), "score"]
        kinds = [(name, data.table.schema.field(name).type) for name in ("id", "label")]
        self.schema = pa.schema([("row", pa.int64()), *kinds, *((name, pa.float64()) for name in numbers)])
        made_of = {
            "model": name, "weights": fingerprint, "data": data.fingerprint, "task": data.task.name,
            "ids": key(ids=data.table["id"].to_pylist()), "code": code_version(CODE),
            "target": target_digest(target, scoring.modules) if target else None,
            "tokens": token_digest(self.encoded), "outputs": data.task.outputs,
            "scale": [matrix.scale for matrix in self.engine.matrices], **asdict(scoring),
        }  # fmt: skip
        if scoring.dropout:  # what is dropped depends on what is passed together
            made_of["tokens_a_pass"] = self.tokens
        self.made_of = json.loads(json.dumps(made_of))  # as it will be read again

    @contextmanager
    def ready(self) -> Iterator[None]:
        """The model set up, its shortcuts tried on rows of different lengths."""
        order = np.argsort(self.encoded.lengths, kind="stable")
        probe = self.encoded.collate(order[np.linspace(0, len(order) - 1, 3).astype(int)], self.engine.device)
        with self.engine.ready(probe):
            yield

    def updates(self, rows: np.ndarray, bar: tqdm) -> Iterator[tuple[np.ndarray, tuple[Any, ...]]]:
        """Pieces of the rows, with their losses and factors by module: (n, L, ...), or (L, ...) for a shared ``A``."""

        def compute(piece: np.ndarray) -> tuple[Any, ...]:
            batch = self.encoded.collate(piece, self.engine.device)
            losses, A, B = self.engine.update(batch, self.scoring.steps)
            if not (losses.isfinite().all() and all(x.isfinite().all() for x in (*A, *B))):
                raise FloatingPointError(
                    f"an update of rows {[self.data.table['id'][int(row)].as_py() for row in piece[:3]]} … is not "
                    f"finite: lower lr (now {self.scoring.lr}), or use precision='float32'"
                )
            by_module = [
                {m: torch.stack([x[p] for p in places], -3) for m, places in self.places.items()} for x in (A, B)
            ]
            return losses.cpu(), *by_module

        if self.scoring.dropout:
            torch.manual_seed(int(np.random.SeedSequence([self.scoring.seed, int(rows[0])]).generate_state(1)[0]))
        for piece, result in within_memory(rows, self.encoded.lengths, self.tokens, compute):
            yield piece, result
            bar.update(len(piece))

    def score(self, rows: np.ndarray, bar: tqdm) -> pa.Table:
        """One block's table."""
        parts = []
        for piece, (losses, A, B) in self.updates(rows, bar):
            layers = [self._layer_scores(module, A[module], B[module]) for module in self.scoring.modules]
            parts.append(np.column_stack([piece, losses, *(x.cpu() for x in layers)]))
        values = np.concatenate(parts)
        rows = values[:, 0].astype(np.int64)
        taken = self.data.table.take(rows)
        columns = [rows, taken["id"], taken["label"], *values[:, 1:].T, values[:, 2:].mean(1)]
        return pa.table(columns, schema=self.schema)

    def _layer_scores(self, module: str, A: Tensor, B: Tensor) -> Tensor:
        basis = thin_basis(A, B, self.scoring.side)  # (n, L, width, r)
        return repmatch_score(grassmann_similarity(basis, self.bases[module]))

    def _places(self, module: str) -> list[int]:
        ends = tuple(f".{end}" for end in MODULES.get(module, (module,)))
        names = {k: f".{matrix.name}" for k, matrix in enumerate(self.engine.matrices)}
        places = sorted((k for k, name in names.items() if name.endswith(ends)), key=lambda k: in_order(names[k]))
        if not places:
            there = sorted({matrix.name.rpartition(".")[2] for matrix in self.engine.matrices})
            raise ValueError(f"the model has no LoRA on {module!r}; it has it on {', '.join(there)}")
        return places

    def _basis(self, target: Adapter, module: str) -> Tensor:
        layers, A, B = target.factors(module)
        places = self.places[module]
        mine = [place(self.engine.matrices[p].name) for p in places]
        if mine != [place(layer) for layer in layers]:
            raise ValueError(
                f"the target {target.name} adapts {module!r} in {len(layers)} layers, the model in {len(mine)}, or in "
                "others: adapt the same layers"
            )
        basis = trained_basis(target, A, B, self.scoring.side).to(self.engine.device)
        linear = self.engine.matrices[places[0]].linear
        width = linear.out_features if self.scoring.side == "left" else linear.in_features
        if basis.shape[-2] != width:
            raise ValueError(
                f"the target {target.name} is {basis.shape[-2]} wide, the model's {module!r} {width}: another encoder"
            )
        return basis
