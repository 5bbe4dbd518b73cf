"""A head on the encoder as published against scikit-learn on the same vectors."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import repmatch_lib as rm


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_a_head_is_a_probe_on_the_vectors_of_its_rows(
    tiny: Callable[[str], rm.Encoder], toy: rm.Corpus, pooling: str
) -> None:
    train, dev = toy.take(range(28)), toy.take([*range(28, 40), 29])
    how = dict(max_length=32, progress=False)
    head = rm.published_head(tiny("bert"), train, dev, pooling, **how)
    found, held_out = (rm.vectors(tiny("bert"), part, pooling, **how).numpy() for part in (train, dev))
    assert np.allclose(head.vectors[pooling].numpy(), found, atol=1e-5)
    assert (head.labels == train.table["label"].to_numpy()).all()
    dev_labels = dev.table["label"].to_pylist()
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    guessed = model.fit(found, head.labels).predict(held_out)
    right = sum(int(one == other) for one, other in zip(guessed, dev_labels, strict=True))
    assert head.accuracy == pytest.approx(right / 13) and head.right == rm.percentage(right, 13)
    assert head.largest_class == rm.percentage(7, 13)
