"""LoRA training on a corpus: the update that RepMatch reads (section 5.1)."""

from __future__ import annotations

import json
import tempfile
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repmatch_lib.data.corpora import Corpus
from repmatch_lib.similarity.adapters import Adapter
from repmatch_lib.store import write_atomically
from repmatch_lib.training.batching import encode
from repmatch_lib.training.checkpoints import Position, log_steps
from repmatch_lib.training.encoders import Encoder
from repmatch_lib.training.heads import frozen_model, lora_model
from repmatch_lib.training.knowledge import constant_loss
from repmatch_lib.training.loop import Training, learned, origin, steps_an_epoch, train

if TYPE_CHECKING:
    from peft import PeftModel


def train_adapter(
    encoder: Encoder,
    data: Corpus,
    *,
    rank: int = 4,
    modules: tuple[str, ...] = ("value",),
    head_seed: int = 0,
    start_seed: int | None = None,
    dev: Corpus | None = None,
    work: str | Path | None = None,
    progress: bool = True,
    **settings: Any,
) -> Adapter:
    """Fine-tune an encoder with LoRA on a corpus; everything else, the head included, stays frozen.

    The LoRA scale is 1.

    Parameters
    ----------
    encoder : Encoder
    data : Corpus
    rank : int
        Of the update; 4 for the paper's heat maps, 1 elsewhere.
    modules : tuple of str
        Attention matrices to adapt: ``"query"``, ``"key"``, ``"value"``, ``"output"``.
    head_seed : int
        Of the frozen head. Adapters trained under different heads cannot be compared: they begin at chance.
    start_seed : int, optional
        Of the LoRA start, instead of ``seed``.
    dev : Corpus, optional
        Development rows of the same task, so that ``provenance["learned"]`` says what the adapter knows of it.
    work : path, optional
        Folder for the training's state, saved every few seconds, and for adapters at log-spaced steps (1, 2, 5, 10, 20
        and so on), in ``step-1``, ``step-2`` ...: a training that was killed goes on from there, to the same bits as
        one that was not. Remove it when done.
    progress : bool
        Show a progress bar.
    **settings
        ``seed``, ``lr``, ``epochs``, ``batch_size``, ``max_length``, ``dropout``, ``precision``, ``device`` and so on:
        see `Training`.

    Returns
    -------
    Adapter
        The same, bit for bit, for the same arguments on the same machine.

    Raises
    ------
    FloatingPointError
        If the loss or the update is not finite.
    ValueError
        If a setting does not fit, the folder holds the state of another training, the model lacks an asked matrix, or
        the rank does not fit it.
    """
    how = Training(**settings).resolved()
    start_seed = how.seed if start_seed is None else start_seed
    model = lora_model(frozen_model(encoder, data.task.kind, data.task.outputs, head_seed), rank, modules, start_seed)
    more: dict[str, Any] = {"rank": rank, "modules": list(modules), "start_seed": start_seed, "head_seed": head_seed}
    name, known = f"{data.title} (seed {how.seed})", origin(encoder, data, how, **more)
    snapshots = log_steps(how.epochs * steps_an_epoch(len(data), how)) if work else []

    def leave_snapshot(position: Position) -> None:
        if work and position.step in snapshots:
            now = position.total / min(position.batch * how.batch_size, len(data))
            loss = {"first_epoch": (*position.losses, now)[0], "last_epoch": now}
            # Of a training's seconds a snapshot has none: they are those of its last adapter.
            more_known = {"step": position.step, "loss": loss, "measured": {"seconds": 0.0}}
            of_step = known | {"name": f"{name}, step {position.step}"} | more_known
            _adapter(model, encoder, of_step).save(Path(work) / f"step-{position.step}")

    state = _state_in(Path(work), known, encoder, data) if work else None
    provenance = train(model, encoder, data, how, progress, state, leave_snapshot, dev, **more)
    trained = _adapter(model, encoder, {"name": name} | provenance)
    if not all(tensor.isfinite().all() for tensor in trained.tensors.values()):
        raise FloatingPointError(f"{data.title}: the update is not finite after training; lower lr (now {how.lr})")
    return trained


def judged(snapshot: Adapter, encoder: Encoder, data: Corpus, dev: Corpus | None = None) -> Adapter:
    """A training's snapshot, with what it knows of its task in its provenance as `train_adapter` says of the last one.

    Parameters
    ----------
    snapshot : Adapter
        Left by `train_adapter` in its folder.
    encoder, data, dev
        Of that training.
    """
    from peft import PeftModel

    of_training = snapshot.provenance["training"]
    how = Training(**{field.name: of_training[field.name] for field in fields(Training) if field.name in of_training})
    base = frozen_model(encoder, data.task.kind, data.task.outputs, of_training["head_seed"])
    with tempfile.TemporaryDirectory() as saved:
        model = PeftModel.from_pretrained(base, snapshot.save(saved)).to(how.device)
    constant = constant_loss(encode(encoder.tokenizer(), data, how.max_length).targets, data.task.kind)
    loss = {"constant": constant} | snapshot.provenance["loss"]
    known = snapshot.provenance | learned(model, encoder, dev, how) | {"loss": loss}
    return replace(snapshot, provenance=known)


def _adapter(model: PeftModel, encoder: Encoder, provenance: dict[str, Any]) -> Adapter:
    adapter = Adapter.from_model(model)
    config = adapter.config | {"base_model_name_or_path": encoder.base_model}
    return replace(adapter, config=config, provenance=provenance, name=provenance["name"])


def _state_in(work: Path, known: dict[str, Any], encoder: Encoder, data: Corpus) -> Path:
    """The file of the training's state, in a folder that says which training it is."""
    decisive = {"encoder": encoder.fingerprint, "corpus": data.fingerprint, "training": known["training"]}
    label, text = work / "training.json", json.dumps(decisive, indent=1, sort_keys=True) + "\n"
    if label.is_file() and label.read_text() != text:
        raise ValueError(f"{work} holds the state of another training: give an empty folder, or the same settings")
    write_atomically(label, text)
    return work / "state.safetensors"
