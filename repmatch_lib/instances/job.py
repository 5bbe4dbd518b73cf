"""A model, rows, settings and a target that fit together, and their scores block by block."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor
from tqdm.auto import tqdm

from repmatch_lib.data.corpora import Corpus
from repmatch_lib.instances.checks import encode_checked, token_digest
from repmatch_lib.instances.engine import AdamW, InstanceModel
from repmatch_lib.instances.trainee import Scoring, trainee
from repmatch_lib.similarity.adapters import MODULES, Adapter, check_base, in_order, place, target_digest
from repmatch_lib.similarity.comparison import trained_basis
from repmatch_lib.similarity.signed import update_cosines
from repmatch_lib.similarity.subspaces import grassmann_similarity, repmatch_score, thin_basis
from repmatch_lib.store import key
from repmatch_lib.training.batching import within_memory
from repmatch_lib.training.devices import token_budget
from repmatch_lib.training.encoders import Encoder
from repmatch_lib.versions import code_version, provenance

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedTokenizerBase

Factors = tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]  # losses, and A and B by module


class Job:
    """A model, rows and settings that fit together, and the target's subspaces where there is one."""

    def __init__(
        self,
        model: Encoder | PeftModel,
        data: Corpus,
        scoring: Scoring,
        device: str = "auto",
        tokens: int | None = None,
        tokenizer: PreTrainedTokenizerBase | None = None,
        target: Adapter | None = None,
        same_base: bool = False,
    ) -> None:
        self.trainee = trainee(model, data, scoring, device, tokenizer, target)
        if target and not same_base:
            # A ready model's weights have no hash that an adapter could name.
            known = self.trainee.weights if isinstance(model, Encoder) else None
            check_base(target, self.trainee.base_model, known)
        self.data, self.scoring, self.target = data, self.trainee.scoring, target
        self.tokens = tokens or token_budget("scoring", self.trainee.device)
        optimizer = AdamW(scoring.lr, scoring.weight_decay, scoring.eps)
        self.engine = InstanceModel(self.trainee.model, data.task.kind, optimizer, self.scoring.precision)
        self.places = {module: self._places(module) for module in scoring.modules}
        self.bases = {module: self._basis(target, module) for module in scoring.modules if target}
        if target and scoring.measure == "cosine":
            factors = [target.factors(module)[1:] for module in scoring.modules]
            self.target_factors = [torch.cat(x).to(self.engine.device) for x in zip(*factors, strict=True)]
        self.encoded = encode_checked(self.trainee.tokenizer, data, scoring.max_length)

    @property
    def provenance(self) -> dict[str, Any]:
        """Encoder, corpus, settings and software, as a trained adapter has them."""
        data, trainee = self.data, self.trainee
        return {
            "encoder": {"name": trainee.name, "weights_sha256": trainee.weights},
            "corpus": data.provenance,
            "training": asdict(self.scoring) | {"device": trainee.device, "threads": torch.get_num_threads()},
            "software": provenance(),
        }

    @property
    def schema(self) -> pa.Schema:
        """Columns of the scores: ``row``, ``id``, ``label``, ``loss``, one a layer, ``score``; and ``repmatch``."""
        prefixes = {module: f"{module}_" if len(self.places) > 1 else "" for module in self.places}
        layers = [f"{prefixes[module]}layer_{k}" for module, places in self.places.items() for k in range(len(places))]
        kinds = [(name, self.data.table.schema.field(name).type) for name in ("id", "label")]
        numbers = ["loss", *layers, "score", *(["repmatch"] if self.scoring.measure == "cosine" else [])]
        return pa.schema([("row", pa.int64()), *kinds, *((name, pa.float64()) for name in numbers)])

    @property
    def made_of(self) -> dict[str, Any]:
        """Everything that the scores depend on, as JSON reads it again."""
        parts = {
            "model": self.trainee.base_model, "weights": self.trainee.fingerprint, "data": self.data.fingerprint,
            "task": self.data.task.name, "ids": key(ids=self.data.table["id"].to_pylist()),
            "code": code_version(__name__),
            "target": target_digest(self.target, self.scoring.modules) if self.target else None,
            "tokens": token_digest(self.encoded), "outputs": self.data.task.outputs,
            "scale": [matrix.scale for matrix in self.engine.matrices], **asdict(self.scoring),
        }  # fmt: skip
        if self.scoring.dropout:  # what is dropped depends on what is passed together
            parts["tokens_a_pass"] = self.tokens
        return json.loads(json.dumps(parts))

    @contextmanager
    def ready(self) -> Iterator[None]:
        """The model set up, its shortcuts tried on rows of different lengths."""
        # The shortest, the middle and the longest row: padding, and texts of one token, are where shortcuts go wrong.
        order = np.argsort(self.encoded.lengths, kind="stable")
        probe = self.encoded.collate(order[np.linspace(0, len(order) - 1, 3).astype(int)], self.engine.device)
        with self.engine.ready(probe):
            yield

    def updates(self, rows: np.ndarray, bar: tqdm) -> Iterator[tuple[np.ndarray, Factors]]:
        """Pieces of the rows, with their losses and factors by module: (n, L, ...), or (L, ...) for a shared ``A``."""

        def compute(piece: np.ndarray) -> Factors:
            batch = self.encoded.collate(piece, self.engine.device)
            losses, A, B = self.engine.update(batch, self.scoring.steps)
            if not (losses.isfinite().all() and all(x.isfinite().all() for x in (*A, *B))):
                raise FloatingPointError(
                    f"an update of rows {[self.data.table['id'][int(row)].as_py() for row in piece[:3]]} … is not "
                    f"finite: lower lr (now {self.scoring.lr}), or use precision='float32'"
                )
            A_by_module, B_by_module = (
                {m: torch.stack([x[p] for p in places], -3) for m, places in self.places.items()} for x in (A, B)
            )
            return losses.cpu(), A_by_module, B_by_module

        # By the block's first row: a block has one result, whichever process computes it, and after which others.
        if self.scoring.dropout:
            torch.manual_seed(int(np.random.SeedSequence([self.scoring.seed or 0, int(rows[0])]).generate_state(1)[0]))
        for piece, result in within_memory(rows, self.encoded.lengths, self.tokens, compute):
            yield piece, result
            bar.update(len(piece))

    def score(self, rows: np.ndarray, bar: tqdm) -> pa.Table:
        """One block's table."""
        parts = []
        for piece, (losses, A, B) in self.updates(rows, bar):
            layers = torch.cat([self._layer_scores(m, A[m], B[m]) for m in self.scoring.modules], 1)
            score = layers.mean(1)
            numbers = [layers, score] if self.scoring.measure == "repmatch" else [*self._cosines(A, B), score]
            parts.append(np.column_stack([piece, losses, *(x.cpu() for x in numbers)]))
        values = np.concatenate(parts)
        rows = values[:, 0].astype(np.int64)
        taken = self.data.table.take(rows)
        columns = [rows, taken["id"], taken["label"], *values[:, 1:].T]
        return pa.table(columns, schema=self.schema)

    def _layer_scores(self, module: str, A: Tensor, B: Tensor) -> Tensor:
        basis = thin_basis(A, B, self.scoring.side)  # (n, L, width, r)
        return repmatch_score(grassmann_similarity(basis, self.bases[module]))

    def _cosines(self, A: dict[str, Tensor], B: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Of each layer, shape (n, L), all matrices one after the other, and of the whole update, shape (n,)."""
        assert self.target
        stacked_A = torch.cat([A[module] for module in self.scoring.modules], -3)
        stacked_B = torch.cat([B[module] for module in self.scoring.modules], -3)
        return update_cosines(stacked_A, stacked_B, *self.target_factors)

    def _places(self, module: str) -> list[int]:
        ends = tuple(f".{end}" for end in MODULES.get(module, (module,)))
        names = {k: f".{matrix.name}" for k, matrix in enumerate(self.engine.matrices)}
        places = sorted((k for k, name in names.items() if name.endswith(ends)), key=lambda k: in_order(names[k]))
        if not places:
            known = sorted({matrix.name.rpartition(".")[2] for matrix in self.engine.matrices})
            raise ValueError(f"the model has no LoRA on {module!r}; it has it on {', '.join(known)}")
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
