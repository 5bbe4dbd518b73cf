"""The one training loop, and the settings that LoRA, full updates, fine-tuning and variants share (section 5.1)."""

from __future__ import annotations

import dataclasses
import math
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from tqdm.auto import tqdm

from repmatch_lib.data.corpora import Corpus
from repmatch_lib.settings import Count, Length, Positive, Precision, Seed, checked
from repmatch_lib.training.batching import Encoded, encode, shuffled_batches, within_budget
from repmatch_lib.training.checkpoints import Position, load_state, save_state
from repmatch_lib.training.devices import resolve_device, resolve_precision, token_budget
from repmatch_lib.training.dropout import quick_dropout
from repmatch_lib.training.encoders import Encoder
from repmatch_lib.training.heads import check_length
from repmatch_lib.training.knowledge import constant_loss, knowledge
from repmatch_lib.training.last_block import Read, lean
from repmatch_lib.training.shortcuts import last_block, places_of, shortcuts
from repmatch_lib.versions import provenance

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Pass = Callable[[dict[str, torch.Tensor]], torch.Tensor]  # a batch's mean loss
SAVED_EVERY = 5.0  # seconds between two savings of a training's state


@checked
class Training:
    """How a model is trained: AdamW at a constant rate, on batches of rows of similar length.

    Attributes
    ----------
    lr, epochs, batch_size : float, int, int
        AdamW's rate, above 0; passes over the rows; rows a step.
    max_length : int
        Longest sequence in tokens, at least 8.
    seed : int
        Of dropout, and of the order of the rows.
    order_seed : int, optional
        Of the order of the rows instead of ``seed``.
    dropout : bool
        Train with the encoder's own dropout.
    precision : {"auto", "float32", "bf16"}
        float32 if not given, so that machines agree; ``"auto"``: bf16 autocast where the device computes in it.
    device : str
        ``"auto"``: CUDA if there is any.
    tokens : int, optional
        Padded tokens in one pass; a larger batch is passed in pieces and its gradients added up. What suits the device
        if not given: 2,048 on a CPU, 65,536 on CUDA.
    """

    lr: Positive = 1e-4
    epochs: Count = 2
    batch_size: Count = 40
    max_length: Length = 256
    seed: Seed = 0
    order_seed: Seed | None = None
    dropout: bool = True
    precision: Precision = "float32"
    device: str = "auto"
    tokens: Count | None = None

    def resolved(self) -> Training:
        """The same with device, precision and order settled.

        Raises
        ------
        ValueError
            If CUDA is asked for and there is none.
        """
        device = resolve_device(self.device)
        return dataclasses.replace(
            self,
            order_seed=self.seed if self.order_seed is None else self.order_seed,
            precision=resolve_precision(self.precision, device),
            device=device,
        )


def train(
    model: torch.nn.Module,
    encoder: Encoder,
    data: Corpus,
    how: Training,
    progress: bool = True,
    state: Path | None = None,
    after_step: Callable[[Position], None] = lambda position: None,
    dev: Corpus | None = None,
    **also: Any,
) -> dict[str, Any]:
    """Train in place whatever of a model can be trained.

    Parameters
    ----------
    model : Module
        Of the encoder, under a head for the task.
    encoder : Encoder
    data : Corpus
    how : Training
        Resolved.
    progress : bool
        Show a progress bar.
    state : Path, optional
        File that keeps the training's state; one that was killed goes on from it.
    after_step : callable
        Told the position after every step.
    dev : Corpus, optional
        Development rows, to say in the provenance what was learned; see `Knowledge`.
    **also
        Further settings of what is trained, to be kept with these.

    Returns
    -------
    dict
        The provenance of what was trained: encoder, corpus, settings, losses, software, time.

    Raises
    ------
    ValueError
        If the encoder reads no sequences so long.
    FloatingPointError
        If the loss is not finite.
    """
    check_length(model, how.max_length, encoder.name)
    encoded = encode(encoder.tokenizer(), data, how.max_length)
    model.to(how.device).train(how.dropout)
    with torch.random.fork_rng():
        torch.manual_seed(how.seed)  # dropout
        done = fit(model, encoded, how, data.title, progress, state, after_step)
    measured = {
        "seconds": round(done.seconds, 2),
        "tokens": int(encoded.lengths.sum()) * how.epochs,
    }
    constant = constant_loss(encoded.targets, data.task.kind)
    loss = {"constant": constant, "first_epoch": done.losses[0], "last_epoch": done.losses[-1]}
    return origin(encoder, data, how, **also) | learned(model, encoder, dev, how) | {"loss": loss, "measured": measured}


def learned(model: torch.nn.Module, encoder: Encoder, dev: Corpus | None, how: Training) -> dict[str, Any]:
    """What the trained model knows of development rows, and which they were."""
    if dev is None:
        return {}
    known = knowledge(model, encoder.tokenizer(), dev, max_length=how.max_length, precision=how.precision)
    rows = {"rows": len(dev), "source": dev.source, "fingerprint": dev.fingerprint}
    return {"learned": dataclasses.asdict(known), "evaluated_on": rows}


def origin(encoder: Encoder, data: Corpus, how: Training, **also: Any) -> dict[str, Any]:
    """What is trained on what, and how: the part of its provenance that is known beforehand."""
    settings = also | {name: value for name, value in dataclasses.asdict(how).items() if name != "tokens"}
    return {
        "encoder": {"name": encoder.name, "weights_sha256": encoder.sha256},
        "corpus": data.provenance,
        "training": settings | {"threads": torch.get_num_threads()},
        "software": provenance(),
    }


def fit(
    model: torch.nn.Module,
    encoded: Encoded,
    how: Training,
    title: str = "training",
    progress: bool = False,
    state: Path | None = None,
    after_step: Callable[[Position], None] = lambda position: None,
) -> Position:
    """The loop itself, on the device where the model is; returns where it ends, with the losses on the way.

    With ``state``, a file, it goes on where a killed process left it, to the same bits, and keeps it up to date.
    """
    device = next(model.parameters()).device
    tokens = how.tokens or token_budget("training", device.type)
    order_seed = how.seed if how.order_seed is None else how.order_seed
    # One pass over memory a step: a seventh of the time that the default takes for the whole of MiniLM.
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=how.lr, fused=True)
    position = load_state(state, model, optimizer) if state else Position()
    saved = started = time.monotonic()
    earlier, steps = position.seconds, how.epochs * steps_an_epoch(len(encoded), how)
    bar = tqdm(
        total=steps, initial=position.step, desc=title, unit="step", disable=not progress, leave=False,
        dynamic_ncols=True,
    )  # fmt: skip
    with bar, _quick(model, encoded, device) as run:
        while position.epoch < how.epochs:
            batches = shuffled_batches(encoded.lengths, how.batch_size, order_seed, position.epoch)
            for rows in batches[position.batch :]:
                optimizer.zero_grad(set_to_none=True)
                loss = 0.0
                for piece in within_budget(rows, encoded.lengths, tokens):
                    batch = encoded.collate(piece, device)
                    loss += _backward(run, batch, len(piece) / len(rows), how.precision == "bf16")
                if not math.isfinite(loss):
                    raise FloatingPointError(
                        f"{title}: the loss is {loss} in epoch {position.epoch + 1}; lower lr (now {how.lr}), or use "
                        "precision='float32'"
                    )
                optimizer.step()
                position.took(loss, len(rows))
                position.seconds = earlier + time.monotonic() - started
                bar.update()
                bar.set_postfix(loss=f"{loss:.3f}")
                after_step(position)
                if state and time.monotonic() - saved > SAVED_EVERY:
                    save_state(state, model, optimizer, position)
                    saved = time.monotonic()
            position.passed(len(encoded))
    return position


def steps_an_epoch(rows: int, how: Training) -> int:
    """Batches of one pass."""
    return math.ceil(rows / how.batch_size)


@contextmanager
def _quick(model: torch.nn.Module, encoded: Encoded, device: torch.device) -> Iterator[Pass]:
    """The model's pass with what shortcuts change no gradient of what is trained."""
    from peft import PeftModel

    base = cast("PreTrainedModel", model.get_base_model() if isinstance(model, PeftModel) else model)
    block = last_block(base, [name for name, _ in base.named_modules()])
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]

    def loss(batch: dict[str, torch.Tensor], read: Read) -> torch.Tensor:
        with lean(block, places_of(base, batch, read), batch["input_ids"].shape[1]):
            return model(**batch).loss

    def gradients(read: Read) -> list[torch.Tensor]:
        found = torch.autograd.grad(loss(probe, read), trained, allow_unused=True)
        return [gradient for gradient in found if gradient is not None]

    probe = encoded.collate(encoded.probe(), device)
    with shortcuts(base, block, probe, gradients) as read, quick_dropout(model):
        yield lambda batch: loss(batch, read)


def _backward(run: Pass, batch: dict[str, torch.Tensor], share: float, bf16: bool) -> float:
    """Add a piece's gradients to those of its batch, of which it is a share; returns its share of the loss."""
    with torch.autocast(batch["input_ids"].device.type, torch.bfloat16, enabled=bf16):
        loss = run(batch) * share
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loss.backward()
    return float(loss.detach())
