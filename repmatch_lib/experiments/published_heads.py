"""A linear head on an encoder as published: what transfer starts from, and the vectors that it read.

For the book's chapter on transfer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from repmatch_lib.data.corpora import Corpus
from repmatch_lib.embeddings.probes import probe
from repmatch_lib.embeddings.vectors import Pooling
from repmatch_lib.experiments.transfer import head_vectors
from repmatch_lib.statistics import Estimate, percentage
from repmatch_lib.training.encoders import Encoder

POOLINGS: tuple[Pooling, ...] = ("cls", "mean")


@dataclass(frozen=True)
class PublishedHead:
    """What `published_head` found.

    Attributes
    ----------
    vectors : dict of str to Tensor, shape (rows, width)
        Of the training rows, by pooling.
    labels : array, shape (rows,)
        Of the training rows.
    accuracy : float
        On the development rows, from 0 to 1.
    right, largest_class : Estimate
        Rows that the head names right, and those of the largest class, in percent of the development rows, with
        Clopper and Pearson's interval over them.
    """

    vectors: dict[str, Tensor]
    labels: NDArray[Any]
    accuracy: float
    right: Estimate
    largest_class: Estimate


def published_head(encoder: Encoder, train: Corpus, dev: Corpus, pooling: Pooling = "cls", **how: Any) -> PublishedHead:
    """Fit a logistic regression to the vectors of training rows, and evaluate it on development rows.

    The linear probe of Alain and Bengio (2016); see `probe`.

    Parameters
    ----------
    encoder : Encoder
        Stays as it is.
    train, dev : Corpus
        Of one task with classes; see `head_rows`.
    pooling : {"cls", "mean"}
        Of the vectors that the head reads; those of both are kept.
    **how
        As for `vectors`.
    """
    vectors, held_out = (
        dict(zip(POOLINGS, part, strict=True)) for part in head_vectors(encoder, train, dev, POOLINGS, **how)
    )
    labels, dev_labels = (part.table["label"].to_numpy() for part in (train, dev))
    right = probe(vectors[pooling], labels, held_out[pooling]) == dev_labels
    largest = np.unique(dev_labels, return_counts=True)[1].max()
    rows = len(dev)
    return PublishedHead(
        vectors, labels, float(right.mean()), percentage(int(right.sum()), rows), percentage(int(largest), rows)
    )
