"""Encoders by name: pre-trained ones, and variants that differ from another in one respect.

The book's chapter on other encoders has the steps.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from repmatch_lib.data.tasks import task as find_task
from repmatch_lib.store import Store, stored
from repmatch_lib.training.encoders import Encoder, base_encoder

# What may follow a colon in an encoder's name, as often as wanted: steps away from what stands before; see `variant`.
VARIANTS = {
    "layers-N": r"layers-[1-9]\d*",
    "random-SEED": r"random-\d+",
    "tuned-TASK-SOURCE": r"tuned-(?P<task>.+)-(mini|local|hub|auto)",
}


def parted(name: str) -> tuple[str, str]:
    """What a variant is made of, and the last step of its name; of any other encoder, its name and no step.

    Raises
    ------
    ValueError
        If a step or its task is unknown.
    """
    if ":" not in name or Path(name).is_dir():
        return name, ""
    base, _, step = name.rpartition(":")
    known = next(filter(None, (re.fullmatch(pattern, step) for pattern in VARIANTS.values())), None)
    if known is None:
        raise ValueError(f"encoder {name!r}: after a colon give {', '.join(VARIANTS)}, such as minilm:layers-3")
    if task := known.groupdict().get("task"):
        find_task(task)
    parted(base)  # its steps are checked too
    return base, step


def encoder(name: str | Path) -> Encoder:
    """Find an encoder and verify its weights.

    Parameters
    ----------
    name : str or Path
        ``"minilm"`` (no download), ``"bert-base"``, ``"electra-base"``, ``"llama2-7b"``; a folder with
        ``config.json`` and safetensors; or any hub id, such as ``"distilbert/distilbert-base-uncased"``. After a
        colon, a variant of it (see `variant`), made once and kept in the store: ``"minilm:layers-3"``.

    Raises
    ------
    ValueError
        If the name is unknown, the folder is no model, or the weights' hash is not the published one.
    """
    return variant(str(name)) if parted(str(name))[1] else base_encoder(name)


def variant(name: str, store: Store | None = None) -> Encoder:
    """An encoder made of another: from the store, or made and put there.

    Parameters
    ----------
    name : str
        An encoder's name and one of these steps after a colon, or several, each taken from what stands before it:
        ``layers-N``, its first N layers (`shallow_encoder`); ``random-SEED``, its shape with weights drawn and never
        trained (`random_encoder`); ``tuned-TASK-SOURCE``, fine-tuned on up to 1,000 rows of a task from ``mini``,
        ``local``, ``hub`` or ``auto`` (`fine_tuned_encoder`).
    store : Store, optional

    Returns
    -------
    Encoder

    Raises
    ------
    ValueError
        If the name is unknown.
    """
    from repmatch_lib.training.encoder_makers import STEPS  # with it comes torch, which a name alone does not need

    base, step = parted(name)
    origin, (kind, _, argument) = encoder(base), step.partition("-")
    decisive, make = STEPS[kind](origin, argument)
    folder = stored(
        "encoders", __name__, lambda folder: make(folder=folder), store,
        encoder=origin.fingerprint, step=step, **decisive,
    )  # fmt: skip
    title, base_model = f"{origin.title}:{step}", f"{origin.base_model}:{step}"
    return dataclasses.replace(base_encoder(folder), name=name, title=title, base_model=base_model)
