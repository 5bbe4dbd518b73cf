"""Vectors of many rows against one row at a time."""

from __future__ import annotations

import pytest
import torch
from helpers import Tiny

import repmatch_lib as rm


@pytest.mark.parametrize("family", ["bert", "electra"])
def test_both_vectors_are_those_of_a_row_alone(family: str, tiny: Tiny, toy: rm.Corpus) -> None:
    """The encoder read by transformers itself, one row at a time: no padding, no batches."""
    from transformers import AutoModel

    encoder = tiny(family)
    found = rm.vectors(encoder, toy, ("cls", "mean"), max_length=32, precision="float32", progress=False)
    assert found.shape == (2, len(toy), 32) and found.dtype == torch.float32
    model, tokenizer = AutoModel.from_pretrained(encoder.folder).eval(), encoder.tokenizer()
    texts = toy.table["text"].to_pylist()
    assert len({len(tokenizer(text)["input_ids"]) for text in texts}) > 3
    with torch.inference_mode():
        for row, text in enumerate(texts):
            hidden = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
            torch.testing.assert_close(found[0, row], hidden[0], atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(found[1, row], hidden.mean(0), atol=1e-5, rtol=1e-4)


def test_one_pooling_is_one_tensor_whatever_the_budget(tiny: Tiny, toy: rm.Corpus) -> None:
    how = {"max_length": 32, "precision": "float32", "progress": False}
    both = rm.vectors(tiny("bert"), toy, ("cls", "mean"), **how)
    for k, pooling in enumerate(("cls", "mean")):
        alone = rm.vectors(tiny("bert"), toy, pooling, tokens=16, **how)
        torch.testing.assert_close(alone, both[k], atol=1e-5, rtol=1e-4)


def test_a_pair_is_one_input(tiny: Tiny) -> None:
    from transformers import AutoModel

    data, encoder = rm.load(rm.task("snli"), source="mini", rows=3), tiny("bert")
    found = rm.vectors(encoder, data, max_length=64, precision="float32", progress=False)
    model, tokenizer = AutoModel.from_pretrained(encoder.folder).eval(), encoder.tokenizer()
    for row, (first, second) in enumerate(zip(data.table["text"], data.table["text_pair"], strict=True)):
        batch = tokenizer(first.as_py(), second.as_py(), return_tensors="pt")
        assert batch["token_type_ids"].max() == 1
        with torch.inference_mode():
            torch.testing.assert_close(found[row], model(**batch).last_hidden_state[0, 0], atol=1e-5, rtol=1e-4)


def test_vectors_that_cannot_be_had(tiny: Tiny, toy: rm.Corpus) -> None:
    with pytest.raises(ValueError, match="unknown pooling 'max': give 'cls' or 'mean'"):
        rm.vectors(tiny("bert"), toy, "max")
    with pytest.raises(ValueError, match="unknown pooling"):
        rm.vectors(tiny("bert"), toy, ())
    with pytest.raises(ValueError, match=r"tiny-llama has no \[CLS\] token: give pooling='mean'"):
        rm.vectors(tiny("llama"), toy)
    with pytest.raises(ValueError, match="max_length 65 is above what .*tiny-bert reads: give at most 64"):
        rm.vectors(tiny("bert"), toy, max_length=65)
    assert rm.vectors(tiny("llama"), toy, "mean", max_length=32, progress=False).shape == (40, 32)
