"""Images: tasks against scikit-learn's own arrays, adapters against a step worked out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from transformers import ViTConfig, ViTForImageClassification

import repmatch_lib as rm
from repmatch_lib.experiments import images


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A vision transformer that was never trained."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("vit")
    ViTForImageClassification(ViTConfig(**images.SHAPE, num_labels=4)).save_pretrained(folder)
    return folder


def test_every_digit_is_in_one_part_only() -> None:
    pixels, digits = load_digits(return_X_y=True)
    parts = [rm.image_set("encoder").pixels[::4], rm.image_set("odd or even").pixels]
    parts += [rm.image_set("low digits, other images").pixels]
    seen = [(part.flatten(1).double().numpy() + 1) * 8 for part in parts]
    assert [len(part) for part in seen[:2]] == [897, 450]
    every = {row.tobytes() for row in pixels}
    assert all({row.tobytes() for row in part} <= every for part in seen)
    assert not {row.tobytes() for row in seen[0]} & {row.tobytes() for row in np.concatenate(seen[1:])}
    assert not {row.tobytes() for row in seen[1]} & {row.tobytes() for row in seen[2]}
    by_image = {row.tobytes(): digit for row, digit in zip(pixels, digits, strict=True)}
    own = [by_image[row.tobytes()] for row in seen[2]]
    assert own == rm.image_set("low digits, other images").labels.tolist()
    assert [digit + 5 for digit in own] == rm.image_set("low digits, classes moved").labels.tolist()


def test_rotations_are_numpy_s() -> None:
    found = rm.image_set("rotation", rows=8)
    assert found.labels.tolist() == [0, 1, 2, 3] * 2
    upright = found.pixels[4, 0].numpy()
    assert all((found.pixels[4 + turns, 0].numpy() == np.rot90(upright, turns)).all() for turns in range(4))


@pytest.mark.parametrize(
    ("task", "rows", "message"),
    [("cats", None, "unknown task of images 'cats': give one of low digits"), ("rotation", 9999, "has 1800 images")],
)
def test_what_is_not_there_is_named(task: str, rows: int | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rm.image_set(task, rows)


def test_one_step_is_adamw_s(encoder: Path) -> None:
    """With B at zero only B has a gradient, and AdamW's first step moves each entry by lr against its sign."""
    one = rm.image_set("low digits").take([2])
    adapter = rm.image_adapter(encoder, one, rank=2, seed=3, head_seed=1, lr=1e-3, epochs=1)
    _, A, B = adapter.factors("value")

    model = images._frozen(encoder, 1)
    weights = [layer.attention.v_proj.weight.requires_grad_() for layer in model.vit.layers]
    loss = model.train()(pixel_values=one.pixels, labels=one.labels).loss
    gradients = torch.stack(torch.autograd.grad(loss, weights))
    expected = -torch.sign(gradients @ A.mT)
    clear = (gradients @ A.mT).abs() > 1e-6  # AdamW's epsilon blurs the others
    assert clear.double().mean() > 0.9
    assert torch.allclose(B[clear], 1e-3 * expected[clear], rtol=0.05)


def test_adapters_depend_on_seed_head_and_images_alone(encoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = rm.image_set("low digits", 32)
    how = dict(rank=2, epochs=2)
    first = rm.image_adapter(encoder, few, **how)
    others = [
        rm.image_adapter(encoder, few, seed=1, **how),
        rm.image_adapter(encoder, few, head_seed=1, **how),
        rm.image_adapter(encoder, rm.image_set("low digits, classes moved", 32), **how),
    ]
    again = rm.image_adapter(encoder, few, store=rm.Store(encoder.parent / "another-store"), **how)
    assert all(torch.equal(again.tensors[name], tensor) for name, tensor in first.tensors.items())
    assert all(any(not torch.equal(one.tensors[n], t) for n, t in first.tensors.items()) for one in others)
    assert first.provenance["loss"]["last_epoch"] < first.provenance["loss"]["first_epoch"]
    monkeypatch.setattr(images, "_fit", None)  # what the store has is not trained
    assert rm.repmatch(rm.image_adapter(encoder, few, **how), first).score == pytest.approx(1)


def test_an_encoder_of_rotations_is_kept_and_learns(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = images.image_set
    monkeypatch.setattr(images, "image_set", lambda task, rows=None: whole(task, 160))
    named, of = rm.rotations_named(rm.image_encoder(20))
    assert of == 160 and named > 60  # 40 by chance, standard deviation 5.5
    monkeypatch.setattr(images, "_fit", None)
    assert rm.image_encoder(20).is_dir()
