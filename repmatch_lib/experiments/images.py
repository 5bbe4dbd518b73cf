"""Another modality: scikit-learn's digits, a small vision transformer, and LoRA on its value matrices.

The digits (Alpaydin and Kaynak, 1998) are 1,797 images of 8 by 8 pixels that come with scikit-learn. From one half of
them, and without their classes, the encoder learns by how many quarter turns an image was rotated; adapters are trained
on tasks made of the other half.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from repmatch_lib.similarity.adapters import Adapter
from repmatch_lib.store import Store, one_thread, stored
from repmatch_lib.training.heads import lora_model
from repmatch_lib.versions import provenance as software

if TYPE_CHECKING:
    from transformers import ViTForImageClassification

CLASSES = 10  # of every head, so that all adapters share one

SHAPE: dict[str, Any] = {
    "image_size": 8, "patch_size": 2, "num_channels": 1, "hidden_size": 64, "intermediate_size": 128,
    "num_hidden_layers": 4, "num_attention_heads": 4,
}  # fmt: skip

LOW = range(5)

# Tasks by name: which half of the images, which digits, and the class that a digit gets; rotation draws its own.
TASKS = {
    "low digits": ("first", LOW, lambda digit: digit),
    "low digits, other images": ("second", LOW, lambda digit: digit),
    "low digits, classes moved": ("second", LOW, lambda digit: digit + 5),
    "high digits": ("first", range(5, 10), lambda digit: digit),
    "odd or even": ("first", range(10), lambda digit: digit % 2),
    "rotation": ("first", range(10), None),
}


@dataclass(frozen=True)
class ImageSet:
    """Images with classes.

    Attributes
    ----------
    name : str
    pixels : Tensor, shape (n, 1, 8, 8), from -1 to 1
    labels : Tensor, shape (n,), classes from 0 to 9
    """

    name: str
    pixels: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of pixels and classes."""
        content = [self.pixels.contiguous().numpy().tobytes(), self.labels.contiguous().numpy().tobytes()]
        return hashlib.sha256(b"".join(content)).hexdigest()

    def take(self, rows: list[int] | slice | Tensor) -> ImageSet:
        """Some of the images, in the given order."""
        return replace(self, pixels=self.pixels[rows], labels=self.labels[rows])


def image_set(task: str, rows: int | None = None) -> ImageSet:
    """The images of a task, in a random order that is always the same.

    Parameters
    ----------
    task : str
        ``"low digits"`` (0 to 4), ``"low digits, other images"``, ``"low digits, classes moved"`` (five classes on, the
        images of the one before), ``"high digits"``, ``"odd or even"``, ``"rotation"`` (classes 0 to 3), or
        ``"encoder"``, the images that the encoder is trained on, with rotations.
    rows : int, optional
        The first ones, rotations of one image being neighbours; all if not given.

    Raises
    ------
    ValueError
        If there is no such task, or it has fewer images.
    """
    if task != "encoder" and task not in TASKS:
        raise ValueError(f"unknown task of images {task!r}: give one of {', '.join(TASKS)}")
    pixels, digits = _digits()
    halves = {"encoder": slice(0, 897), "first": slice(897, 1347), "second": slice(1347, 1797)}
    half, kept, classes = TASKS.get(task, ("encoder", range(10), None))
    pixels, digits = pixels[halves[half]], digits[halves[half]]
    wanted = torch.isin(digits, torch.tensor(list(kept)))
    images = ImageSet(task, pixels[wanted], digits[wanted])
    images = replace(images, labels=classes(images.labels)) if classes else _rotated(images)
    if rows is not None and not 0 < rows <= len(images):
        raise ValueError(f"rows = {rows}: the task {task!r} has {len(images)} images")
    return images.take(slice(rows))


def image_encoder(epochs: int = 20, seed: int = 0, store: Store | None = None) -> Path:
    """A small vision transformer that has learned to tell rotations: from the store, or trained and put there.

    Parameters
    ----------
    epochs : int
        Passes over its half of the digits, each image at all four rotations.
    seed : int
        Of weights and order.

    Returns
    -------
    Path
        A folder that transformers reads.
    """
    from transformers import ViTConfig, ViTForImageClassification

    images = image_set("encoder")
    settings: dict[str, Any] = {"epochs": epochs, "seed": seed, "lr": 1e-3, "batch_size": 64}

    def write(folder: Path) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = ViTForImageClassification(ViTConfig(**SHAPE | {"num_labels": 4}))
            _fit(model, images, **settings)
        model.save_pretrained(folder)

    return stored("encoders", __name__, write, store, images=images.fingerprint, shape=SHAPE, **settings)


def rotations_named(encoder: Path) -> tuple[int, int]:
    """Of how many images of the task ``"rotation"`` the encoder names the turn, and how many there are; it saw none."""
    images = image_set("rotation")
    with one_thread(), torch.no_grad():
        guessed = _load(encoder).eval()(pixel_values=images.pixels).logits.argmax(1)
    return int((guessed == images.labels).sum()), len(images)


def image_adapter(
    encoder: Path,
    images: ImageSet,
    *,
    rank: int = 4,
    seed: int = 0,
    head_seed: int = 0,
    lr: float = 3e-3,
    epochs: int = 5,
    batch_size: int = 16,
    store: Store | None = None,
) -> Adapter:
    """LoRA on the value matrices under a frozen random head of ten classes: from the store, or trained and put there.

    Parameters
    ----------
    encoder : Path
        From `image_encoder`.
    images : ImageSet
        One image and one epoch are one step, as for an instance.
    rank, seed, head_seed, lr, epochs, batch_size
        As `train_adapter` has them.

    Returns
    -------
    Adapter
    """
    settings: dict[str, Any] = {"seed": seed, "lr": lr, "epochs": epochs, "batch_size": batch_size}
    asked = settings | {"rank": rank, "head_seed": head_seed}
    weights = hashlib.sha256((encoder / "model.safetensors").read_bytes()).hexdigest()

    def write(folder: Path) -> None:
        started = time.perf_counter()
        model = lora_model(_frozen(encoder, head_seed), rank, seed=seed)
        losses = _fit(model, images, **settings)
        provenance = {
            "encoder": {"name": "digits ViT", "weights_sha256": weights},
            "corpus": {
                "task": images.name, "rows": len(images), "source": "scikit-learn: digits",
                "fingerprint": images.fingerprint,
            },
            "training": asked | {"device": "cpu", "precision": "float32", "threads": 1},
            "loss": {"first_epoch": losses[0], "last_epoch": losses[-1]},
            "software": software(),
            "measured": {"seconds": round(time.perf_counter() - started, 3)},
        }  # fmt: skip
        replace(Adapter.from_model(model), provenance=provenance).save(folder)

    folder = stored("adapters", __name__, write, store, encoder=weights, images=images.fingerprint, **asked)
    return Adapter.load(folder)


def _digits() -> tuple[Tensor, Tensor]:
    """All images, from -1 to 1, and their digits, in one random order."""
    from sklearn.datasets import load_digits

    images, digits = load_digits(return_X_y=True)
    order = torch.randperm(len(digits), generator=torch.Generator().manual_seed(0))
    pixels = torch.tensor(images, dtype=torch.float32).view(-1, 1, 8, 8) / 8 - 1
    return pixels[order], torch.tensor(digits)[order]


def _rotated(images: ImageSet) -> ImageSet:
    """Each image at all four rotations, the number of quarter turns as its class."""
    turned = torch.stack([torch.rot90(images.pixels, turns, (2, 3)) for turns in range(4)], 1)
    return replace(images, pixels=turned.flatten(0, 1), labels=torch.arange(4).repeat(len(images)))


def _load(encoder: Path) -> ViTForImageClassification:
    import transformers

    transformers.logging.disable_progress_bar()
    return transformers.ViTForImageClassification.from_pretrained(encoder, use_safetensors=True)


def _frozen(encoder: Path, head_seed: int) -> ViTForImageClassification:
    """The encoder under a new head, nothing to be trained."""
    model = _load(encoder)
    with torch.random.fork_rng():
        torch.manual_seed(head_seed)
        model.classifier = torch.nn.Linear(model.config.hidden_size, CLASSES)
    model.config.num_labels = model.num_labels = CLASSES
    return model.requires_grad_(False)


def _fit(model: torch.nn.Module, images: ImageSet, lr: float, epochs: int, batch_size: int, seed: int) -> list[float]:
    """AdamW on shuffled batches; the mean loss of each epoch."""
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=lr)
    generator = torch.Generator().manual_seed(seed)
    losses = []
    model.train()
    for _ in range(epochs):
        total = 0.0
        for rows in torch.randperm(len(images), generator=generator).split(batch_size):
            optimizer.zero_grad()
            loss = model(pixel_values=images.pixels[rows], labels=images.labels[rows]).loss
            loss.backward()
            optimizer.step()
            total += float(loss.detach()) * len(rows)
        losses.append(total / len(images))
    return losses
