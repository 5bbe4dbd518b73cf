"""A model, rows, settings and a target that fit together, and their scores block by block."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
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
from repmatch_lib.instances.compared import Compared
from repmatch_lib.instances.engine import AdamW, InstanceModel
from repmatch_lib.instances.scores import of_target
from repmatch_lib.instances.trainee import Scoring, trainee
from repmatch_lib.similarity.adapters import Adapter, check_base, target_digest
from repmatch_lib.similarity.matrices import MODULES, in_order
from repmatch_lib.similarity.subspaces import thin_basis
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
    """A model, rows and settings that fit together, and the subspaces of the targets."""

    def __init__(
        self,
        model: Encoder | PeftModel,
        data: Corpus,
        scoring: Scoring,
        device: str = "auto",
        tokens: int | None = None,
        tokenizer: PreTrainedTokenizerBase | None = None,
        targets: Sequence[Adapter] = (),
        same_base: bool = False,
    ) -> None:
        self.trainee = trainee(model, data, scoring, device, tokenizer, targets)
        # A ready model's weights have no hash that an adapter could name.
        known = self.trainee.weights if isinstance(model, Encoder) else None
        for target in () if same_base else targets:
            check_base(target, self.trainee.base_model, known)
        self.data, self.scoring = data, self.trainee.scoring
        self.tokens = tokens or token_budget("scoring", self.trainee.device)
        optimizer = AdamW(scoring.lr, scoring.weight_decay, scoring.eps)
        self.engine = InstanceModel(self.trainee.model, data.task.kind, optimizer, self.scoring.precision)
        self.places = {module: self._places(module) for module in scoring.modules}
        self.targets = [Compared.of(target, self.scoring, self.engine.matrices, self.places) for target in targets]
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
    def columns(self) -> list[str]:
        """Of what each target gives: one a layer, ``score``; and by cosine ``repmatch``."""
        prefixes = {module: f"{module}_" if len(self.places) > 1 else "" for module in self.places}
        layers = [f"{prefixes[module]}layer_{k}" for module, places in self.places.items() for k in range(len(places))]
        return [*layers, "score", *(["repmatch"] if self.scoring.measure == "cosine" else [])]

    @property
    def schema(self) -> pa.Schema:
        """Columns of a block: ``row``, ``id``, ``label``, ``loss``, and those of each target."""
        kinds = [(name, self.data.table.schema.field(name).type) for name in ("id", "label")]
        several = len(self.targets) > 1
        numbers = [of_target(k, name) if several else name for k in range(len(self.targets)) for name in self.columns]
        return pa.schema([("row", pa.int64()), *kinds, *((name, pa.float64()) for name in ("loss", *numbers))])

    @property
    def made_of(self) -> dict[str, Any]:
        """Everything that the scores depend on, as JSON reads it again; ``target`` is a list of several."""
        digests = [target_digest(target.adapter, self.scoring.modules) for target in self.targets]
        parts = {
            "model": self.trainee.base_model, "weights": self.trainee.fingerprint, "data": self.data.fingerprint,
            "task": self.data.task.name, "ids": key(ids=self.data.table["id"].to_pylist()),
            "code": code_version(__name__), "target": digests[0] if len(digests) == 1 else digests,
            "tokens": token_digest(self.encoded), "outputs": self.data.task.outputs,
            "scale": [matrix.scale for matrix in self.engine.matrices], **asdict(self.scoring),
        }  # fmt: skip
        if self.scoring.dropout:  # what is dropped depends on what is passed together
            parts["tokens_a_pass"] = self.tokens
        return json.loads(json.dumps(parts))

    @contextmanager
    def ready(self) -> Iterator[None]:
        """The model set up, its shortcuts tried on rows of different lengths."""
        probe = self.encoded.collate(self.encoded.probe(), self.engine.device)
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
        """One block's table: its updates and their bases once, compared with each target."""
        parts = []
        for piece, (losses, A, B) in self.updates(rows, bar):
            bases = {module: thin_basis(A[module], B[module], self.scoring.side) for module in self.places}
            numbers = [target.scores(A, B, bases) for target in self.targets]
            parts.append(np.column_stack([piece, losses, *numbers]))
        values = np.concatenate(parts)
        rows = values[:, 0].astype(np.int64)
        taken = self.data.table.take(rows)
        columns = [rows, taken["id"], taken["label"], *values[:, 1:].T]
        return pa.table(columns, schema=self.schema)

    def _places(self, module: str) -> list[int]:
        ends = tuple(f".{end}" for end in MODULES.get(module, (module,)))
        names = {k: f".{matrix.name}" for k, matrix in enumerate(self.engine.matrices)}
        places = sorted((k for k, name in names.items() if name.endswith(ends)), key=lambda k: in_order(names[k]))
        if not places:
            known = sorted({matrix.name.rpartition(".")[2] for matrix in self.engine.matrices})
            raise ValueError(f"the model has no LoRA on {module!r}; it has it on {', '.join(known)}")
        return places
