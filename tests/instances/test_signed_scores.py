"""The signed score of instances against a loop over fresh PEFT models, and what its sign is for."""

import copy
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch
from helpers import CALL, Tiny, forty, train, varied

import repmatch_lib as rm
from repmatch_lib.training.batching import encode
from repmatch_lib.training.heads import frozen_model, lora_model


def one_at_a_time(encoder: rm.Encoder, data: rm.Corpus, target: rm.Adapter, steps: int, start: int) -> np.ndarray:
    """Cosine of each row's dense update with the target's, a model and an optimizer a row."""
    _, A, B = target.factors("value")
    encoded = encode(encoder.tokenizer(), data, 48)
    base = frozen_model(encoder, data.task.kind, data.task.outputs, 0)
    cosines = []
    for row in range(len(data)):
        model = lora_model(copy.deepcopy(base), 2, ("value",), start).eval()
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
        for _ in range(steps):
            optimizer.zero_grad()
            model(**encoded.collate([row])).loss.backward()
            optimizer.step()
        _, own_A, own_B = rm.Adapter.from_model(model).factors("value")
        dense = (own_B.double() @ own_A.double()).flatten(), (B.double() @ A.double()).flatten()
        cosines.append(float(torch.cosine_similarity(*dense, dim=0)))
    return np.array(cosines)


@pytest.mark.parametrize("steps", [1, 3])
def test_the_signed_score_is_that_of_a_loop(tiny: Tiny, steps: int) -> None:
    encoder, data = tiny("bert"), varied()
    target = train(encoder, forty(), start_seed=5, seed=1)
    scores = rm.score_instances(encoder, data, target, steps, measure="cosine", **CALL)
    expected = one_at_a_time(encoder, data, target, steps, start=5)
    np.testing.assert_allclose(scores.to_pandas().score, expected, atol=1e-4)
    assert (expected > 0).any() and (expected < 0).any()
    assert scores.made_of["seed"] == 5


def test_repmatch_stands_beside_it_from_the_same_pass(tiny: Tiny) -> None:
    encoder, data = tiny("bert"), varied()
    target = train(encoder, forty(), start_seed=5)
    both = rm.score_instances(encoder, data, target, measure="cosine", **CALL).to_pandas()
    alone = rm.score_instances(encoder, data, target, seed=5, **CALL).to_pandas()
    np.testing.assert_allclose(both.repmatch, alone.score)
    assert "repmatch" not in alone


def test_labels_turned_around_turn_the_sign_and_leave_repmatch(tiny: Tiny) -> None:
    encoder, data = tiny("bert"), rm.load(rm.task("sst2"), source="mini", rows=30)
    turned = pa.array([1 - label for label in data.table["label"].to_pylist()])
    place = data.table.column_names.index("label")
    other = replace(data, table=data.table.set_column(place, "label", turned))
    target = train(encoder, data, start_seed=5)
    own, opposite = (
        rm.score_instances(encoder, rows, target, measure="cosine", **CALL).to_pandas() for rows in (data, other)
    )
    np.testing.assert_allclose(own.score, -opposite.score, atol=1e-3)
    np.testing.assert_allclose(own.repmatch, opposite.repmatch, atol=1e-3)


def test_a_start_that_is_not_the_target_s_is_refused(tiny: Tiny) -> None:
    encoder, data = tiny("bert"), varied()
    target = train(encoder, forty())
    with pytest.raises(ValueError, match="one LoRA start.*rank 2.*the instances rank 3"):
        rm.score_instances(encoder, data, target, measure="cosine", rank=3, **CALL)
    foreign = replace(target, provenance={})
    with pytest.raises(ValueError, match="start seed None.*give seed="):
        rm.score_instances(encoder, data, foreign, measure="cosine", **CALL)
    assert len(rm.score_instances(encoder, data, foreign, measure="cosine", seed=0, **CALL)) == len(data)
