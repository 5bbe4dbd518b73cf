"""How alike the updates of single instances are, as a value (figure 2)."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import field_validator

from repmatch_lib.data.corpora import Corpus, SourceName, load
from repmatch_lib.data.samples import with_other_labels
from repmatch_lib.data.tasks import task as find_task
from repmatch_lib.experiments.requests import Request
from repmatch_lib.settings import Count, Length, Rate, Seed, Seeds, checked
from repmatch_lib.store import Store, stored, write_atomically
from repmatch_lib.training.encoder_variants import encoder

if TYPE_CHECKING:
    from torch import Tensor

    from repmatch_lib.instances.scoring import Updates

TENSORS, ORIGIN = "likeness.safetensors", "likeness.json"


@checked
class Instances:
    """Instances of a task, each to be trained by itself.

    Attributes
    ----------
    task, encoder, source, rows, sample_seed
        The instances; see `load`.
    rank, lr, steps, max_length, dropout, head_seed
        Of their trainings, in float32; see `Scoring`.
    next_label : bool
        Each under the label after its own; see `with_other_labels`.
    """

    task: str
    encoder: str = "minilm"
    source: SourceName = "auto"
    rows: Count = 60
    sample_seed: Seed = 0
    rank: Count = 4
    lr: Rate = 1e-3
    steps: Count = 1
    max_length: Length = 128
    dropout: bool = False
    head_seed: Seed = 0
    next_label: bool = False

    @field_validator("task")
    @classmethod
    def _has_classes(cls, name: str) -> str:
        if find_task(name).kind != "classification":
            raise ValueError(f"{name} has no classes: give a task with classes")
        return name

    def data(self) -> Corpus:
        """The instances."""
        data = load(find_task(self.task), source=self.source, rows=self.rows, seed=self.sample_seed)
        return with_other_labels(data) if self.next_label else data

    def settings(self) -> dict[str, Any]:
        """How each is trained, but for the seed."""
        names = ("rank", "lr", "steps", "max_length", "dropout", "head_seed")
        return {name: getattr(self, name) for name in names} | {"precision": "float32"}

    def updates(self, seed: int) -> Updates:
        """Their updates under a training seed."""
        from repmatch_lib.instances.scoring import instance_updates

        return instance_updates(encoder(self.encoder), self.data(), seed=seed, progress=False, **self.settings())


@dataclasses.dataclass(frozen=True)
class Likeness:
    """RepMatch of instances' own updates.

    Attributes
    ----------
    tensors : dict of str to Tensor
        As `compared` gives them, and ``labels``, shape (n,).
    ids : list
    provenance : dict
        As updates have it, with the seconds of all.
    """

    tensors: dict[str, Tensor]
    ids: list[Any]
    provenance: dict[str, Any]

    def save(self, folder: Path) -> None:
        """Write two files into a folder."""
        from safetensors.torch import save_file

        save_file(self.tensors, folder / TENSORS)
        write_atomically(folder / ORIGIN, json.dumps({"ids": self.ids, "provenance": self.provenance}, indent=1) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Likeness:
        """Read what `save` wrote."""
        from safetensors.torch import load_file

        return cls(load_file(folder / TENSORS), **json.loads((folder / ORIGIN).read_text()))


@checked
class InstanceLikeness(Request[Likeness]):
    """A request: compare instances' updates under several seeds, and in two ways of training.

    Attributes
    ----------
    one : Instances
    other : Instances, optional
        The same instances, trained in another way; as ``one`` if not given.
    seeds : tuple of int
        Training seeds: LoRA start, and dropout where it is on.
    """

    kind: ClassVar[str] = "instance likeness"
    one: Instances
    other: Instances | None = None
    seeds: Seeds = (0, 1)

    def folder(self, store: Store, progress: bool) -> Path:
        """The likeness' folder."""
        one, other = self.one, self.other or self.one
        model = encoder(one.encoder)
        return stored(
            "likeness", __name__, lambda folder: self._compared().save(folder), store, encoder=model.fingerprint,
            rows=[way.data().fingerprint for way in (one, other)], seeds=self.seeds,
            ways=[way.settings() | {"next_label": way.next_label} for way in (one, other)],
        )  # fmt: skip

    def read(self, folder: Path) -> Likeness:
        """The likeness."""
        return Likeness.load(folder)

    def _compared(self) -> Likeness:
        import torch

        from repmatch_lib.instances.likeness import compared

        updates = [self.one.updates(seed) for seed in self.seeds]
        others = [self.other.updates(seed) for seed in self.seeds] if self.other else updates
        bases, of_others = ([update.basis() for update in of_seeds] for of_seeds in (updates, others))
        tensors = {name: tensor.float().contiguous() for name, tensor in compared(bases, of_others).items()}
        tensors["labels"] = torch.tensor(self.one.data().table["label"].to_pylist())
        made = [*updates, *(others if self.other else ())]
        seconds = round(sum(update.provenance["measured"]["seconds"] for update in made), 2)
        provenance = updates[0].provenance | {"measured": {"seconds": seconds}}
        return Likeness(tensors, updates[0].ids, provenance)
