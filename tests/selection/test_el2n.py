"""Early errors against one row at a time."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import Tiny
from peft import PeftModel

import repmatch_lib as rm
from repmatch_lib.training.heads import frozen_model


def test_early_errors_of_another_encoder_s_adapter_are_refused(quick_run: rm.Run, toy: rm.Corpus, tiny: Tiny) -> None:
    adapter = rm.adapter(quick_run, progress=False)
    with pytest.raises(ValueError, match="instances are to be trained on .*train the target on this encoder"):
        rm.el2n(tiny("electra"), toy, adapter)
    with pytest.raises(ValueError, match="does not say how it was trained: give an adapter from train_adapter"):
        rm.el2n(tiny("bert"), toy, replace(adapter, provenance={}))


@pytest.mark.parametrize("family", ["bert", "llama"])
def test_early_errors_are_those_of_the_saved_model_row_by_row(
    quick_run: rm.Run, toy: rm.Corpus, tiny: Tiny, family: str, tmp_path: Path
) -> None:
    run = replace(quick_run, encoder=str(tiny(family).folder), head_seed=3)
    adapter = rm.adapter(run, progress=False)
    found = rm.el2n(tiny(family), toy, adapter)

    model = PeftModel.from_pretrained(frozen_model(tiny(family), "classification", 2, 3), adapter.save(tmp_path)).eval()
    tokenizer, losses = tiny(family).tokenizer(), []
    for text, label, error in zip(*(toy.table[c].to_pylist() for c in ("text", "label")), found, strict=True):
        with torch.no_grad():
            p = model(**tokenizer(text, return_tensors="pt")).logits[0].double().softmax(0).numpy()
        assert error == pytest.approx(np.linalg.norm(p - np.eye(2)[label]), abs=1e-5)
        losses.append(-math.log(p[label]))
    assert found == pytest.approx(math.sqrt(2) * (1 - np.exp(-np.array(losses))), abs=1e-5)
    assert np.ptp(found) > 0.01


def test_a_task_without_classes_has_no_early_errors(tiny: Tiny, quick_run: rm.Run) -> None:
    with pytest.raises(ValueError, match="stsb has no classes"):
        rm.el2n(tiny("bert"), rm.load(rm.task("stsb"), source="mini"), rm.adapter(quick_run, progress=False))
