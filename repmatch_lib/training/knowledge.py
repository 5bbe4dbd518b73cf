"""What a trained model knows of its task, beside an answer that never looks at the text.

An adapter that learned nothing but how frequent each label is says nothing of what its data teach; the book's page on
the ledger states the gate that goes by this.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import t
from torch import Tensor, nn

from repmatch_lib.data.corpora import Corpus
from repmatch_lib.data.tasks import Kind
from repmatch_lib.settings import Precision
from repmatch_lib.training.evaluation import evaluated, predictions, row_scores

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Knowledge:
    """A model's own metric on development rows.

    Attributes
    ----------
    metric : str
        ``"accuracy"``, ``"f1"`` or ``"spearman"``.
    value : float
        The model's.
    constant : float
        That of the best constant answer: the commonest class or answer, or 0 where ranks are compared.
    lead_low : float
        Lower end of a one-sided 95 % interval, over the rows, of what the model has more than the constant answer. 0
        where there are too few rows to tell.
    rows : int
    """

    metric: str
    value: float
    constant: float
    lead_low: float
    rows: int


def knowledge(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    dev: Corpus,
    *,
    max_length: int = 256,
    precision: Precision = "float32",
) -> Knowledge:
    """Compare a model with the constant answer on development rows; parameters as for `evaluate`."""
    answers = predictions(model, tokenizer, dev, max_length=max_length, precision=precision)
    if dev.task.kind == "regression":
        value = evaluated(answers, dev)
        return Knowledge(dev.task.metric, value, 0.0, _spearman_low(value, len(dev)), len(dev))
    own, constant = row_scores(answers, dev), row_scores([_commonest(dev)] * len(dev), dev)
    value, floor = float(own.mean()), float(constant.mean())
    return Knowledge(dev.task.metric, value, floor, _mean_low(own - constant), len(dev))


def constant_loss(targets: dict[str, Tensor], kind: Kind) -> float:
    """The loss of the best answer that is the same for all rows.

    Parameters
    ----------
    targets : dict of str to Tensor, shape (rows,)
        From `encode`.
    kind : {"classification", "regression", "span"}

    Returns
    -------
    float
        The entropy of the labels in nats, the mean of those of both ends of spans, or the variance of scores.
    """
    if kind == "regression":
        return float(targets["labels"].double().var(correction=0))
    entropies = []
    for labels in targets.values():
        shares = torch.bincount(labels).double() / len(labels)
        entropies.append(float(-torch.xlogy(shares, shares).sum()))
    return sum(entropies) / len(entropies)


def _commonest(dev: Corpus) -> object:
    return Counter(dev.table["label"].to_pylist()).most_common(1)[0][0]


def _mean_low(leads: NDArray[np.float64]) -> float:
    n = len(leads)
    return float(leads.mean() - t.ppf(0.95, n - 1) * leads.std(ddof=1) / n**0.5) if n > 1 else 0.0


def _spearman_low(value: float, n: int) -> float:
    """By Fisher's z."""
    if n < 4:
        return 0.0
    return value if abs(value) == 1 else math.tanh(math.atanh(value) - 1.6449 / (n - 3) ** 0.5)
