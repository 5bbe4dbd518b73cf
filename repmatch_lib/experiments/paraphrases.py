"""Paraphrases as a search: which second sentences say what a first sentence says, and how high they are ranked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from repmatch_lib.data.corpora import Corpus
from repmatch_lib.embeddings.probes import ndcg, reciprocal_ranks

LEAST = 4.0  # of 5: the raters' "mostly equivalent"


@dataclass(frozen=True)
class Paraphrases:
    """First sentences that have a paraphrase, and all second sentences among which it is to be found.

    Attributes
    ----------
    queries : array of int, shape (Q,)
        Rows of first sentences, each text once.
    candidates : array of int, shape (C,)
        Rows of second sentences, each text once.
    relevant : array of bool, shape (Q, C)
        Whether the raters gave the pair at least 4 of 5.
    same : array of bool, shape (Q, C)
        Whether the candidate is the query word for word, which is no paraphrase of it.
    """

    queries: NDArray[np.intp]
    candidates: NDArray[np.intp]
    relevant: NDArray[np.bool_]
    same: NDArray[np.bool_]

    @classmethod
    def of(cls, pairs: Corpus) -> Paraphrases:
        """Of a corpus of pairs with scores from 0 to 5, such as STS-B."""
        first, second = (np.array(pairs.table[column].to_pylist()) for column in ("text", "text_pair"))
        close = np.flatnonzero(np.array(pairs.table["label"]) >= LEAST)
        queries, places = np.unique(first[close], return_index=True)
        candidates, offered = np.unique(second, return_index=True)
        relevant = np.zeros((len(queries), len(candidates)), bool)
        relevant[np.searchsorted(queries, first[close]), np.searchsorted(candidates, second[close])] = True
        same = queries[:, None] == candidates
        relevant &= ~same
        answered = relevant.any(1)
        return cls(close[places][answered], offered, relevant[answered], same[answered])

    def retrieved(self, first: Tensor, second: Tensor) -> dict[str, NDArray[np.float64]]:
        """How high the paraphrases come when candidates are ranked by cosine.

        Parameters
        ----------
        first, second : Tensor, shape (rows, width)
            Vectors of all first and of all second sentences.

        Returns
        -------
        dict of str to array, shape (Q,)
            ``"MRR"`` and ``"nDCG@10"`` of each query, from 0 to 1; see `reciprocal_ranks`, `ndcg`.
        """
        cosines = normalize(first[self.queries], dim=1) @ normalize(second[self.candidates], dim=1).T
        ranked = np.where(self.same, -np.inf, cosines)
        return {"MRR": reciprocal_ranks(ranked, self.relevant), "nDCG@10": ndcg(ranked, self.relevant)}
