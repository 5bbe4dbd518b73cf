"""What must hold before instances are scored: no dropout unheard of, texts with tokens, a length, a tokenizer."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest
from helpers import (
    Tiny,
    frame,
    ready,
    sentences,
    target,
    varied,
    words,
)


def test_dropout_in_a_ready_model_is_refused(tiny: Tiny) -> None:
    encoder = tiny("bert")
    with pytest.raises(ValueError, match=r"dropout is active .*model\.eval\(\).*dropout=True"):
        frame(ready(encoder).train(), varied(), target(encoder), tokenizer=encoder.tokenizer())


@pytest.mark.parametrize(("family", "empty"), [("bert", "\u200b\u200b"), ("bert", "\x01\x02"), ("llama", "\u2003")])
def test_a_text_without_tokens_is_named(tiny: Tiny, family: str, empty: str) -> None:
    encoder = tiny(family)
    data = sentences(["good film", words(5, 2), empty, "a plot", empty])
    with pytest.raises(ValueError, match="id 976: the text has no tokens for this encoder, and 1 more.*fill them in"):
        frame(encoder, data, target(encoder))
    kept = replace(data, table=data.table.take([0, 1, 3]))
    assert len(frame(encoder, kept, target(encoder))) == 3


def test_a_length_that_the_model_cannot_read_is_refused(tiny: Tiny) -> None:
    encoder, data = tiny("bert"), varied()
    with pytest.raises(ValueError, match="max_length 65 is above what the model reads: give at most 64"):
        frame(encoder, data, target(encoder), max_length=65)
    assert len(frame(encoder, data, target(encoder), max_length=64)) == len(data)


def test_a_tokenizer_that_cannot_be_found_is_asked_for(tiny: Tiny) -> None:
    encoder = tiny("bert")
    model = ready(encoder)
    expected = frame(model, varied(), target(encoder), tokenizer=encoder.tokenizer())
    pd.testing.assert_frame_equal(frame(model, varied(), target(encoder)), expected)  # by the model's name
    model.get_base_model().name_or_path = "nobody/nothing"
    with pytest.raises(ValueError, match="tokenizer cannot be loaded by its name 'nobody/nothing': give tokenizer="):
        frame(model, varied(), target(encoder))


def test_dropout_that_is_no_module_is_noticed(tiny: Tiny) -> None:
    encoder = tiny("llama")
    model = ready(encoder)
    for module in model.modules():
        if hasattr(module, "attention_dropout"):
            module.attention_dropout = 0.5
    with pytest.raises(ValueError, match="dropout is active"):
        frame(model.train(), varied(), target(encoder), tokenizer=encoder.tokenizer())
