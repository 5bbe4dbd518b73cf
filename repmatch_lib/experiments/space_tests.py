"""What a space of vectors is measured by: its spread, pairs of one meaning, and what can be read off it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from repmatch_lib.data.corpora import Corpus
from repmatch_lib.embeddings.cosines import cosine_share
from repmatch_lib.embeddings.probes import cluster_scores, k_means, pair_spearman, probe
from repmatch_lib.embeddings.quality import alignment, effective_rank, mean_cosine, uniformity
from repmatch_lib.experiments.paraphrases import LEAST, Paraphrases
from repmatch_lib.experiments.spaces import Measure, Space, in_groups


@dataclass(frozen=True)
class SpaceTests:
    """The texts of a chapter on spaces, and every measure of their vectors.

    Attributes
    ----------
    pairs : Corpus
        With scores from 0 to 5; ``"first"`` and ``"second"`` of a space are their sentences.
    train, test : Corpus
        With classes; ``"train"`` and ``"test"`` of a space.
    tables : sequence of str
        Names of the data sets that are compared, the anchor first.
    threshold : float
        From -1 to 1, above which a pair of the anchor's rows counts.
    groups : int
        Of rows.
    """

    pairs: Corpus
    train: Corpus
    test: Corpus
    tables: Sequence[str]
    threshold: float
    groups: int

    @property
    def scores(self) -> NDArray[np.float64]:
        """The raters', of each pair."""
        return np.array(self.pairs.table["label"])

    @property
    def largest_class(self) -> float:
        """The share of test rows that always naming the commonest class gets right, from 0 to 1."""
        labels = np.array(self.test.table["label"])
        return float(np.bincount(labels).max() / len(labels))

    def measures(self, space: Space) -> dict[str, Measure]:
        """All measures of a space by name.

        Parameters
        ----------
        space : mapping of str to Tensor, shape (rows, width)
            With ``first``, ``second``, ``train``, ``test`` and the data sets.

        Returns
        -------
        dict of str to callable
            Of the groups of rows that are kept. Probes and clusters are fitted on all rows.
        """
        return self._spread(space) | self._pairs(space) | self._classes(space) | self._clusters(space)

    def spearman(self, first: Tensor, second: Tensor) -> Measure:
        """Rank correlation of the pairs' cosines with their scores; see `pair_spearman`."""
        scores = self.scores

        def measure(kept: Sequence[int]) -> float:
            rows = in_groups(len(scores), self.groups, kept)
            return pair_spearman(first[rows], second[rows], scores[rows])

        return measure

    def _rows(self, rows: Tensor, kept: Sequence[int]) -> Tensor:
        return rows[torch.from_numpy(in_groups(len(rows), self.groups, kept))]

    def _spread(self, space: Space) -> dict[str, Measure]:
        anchor, threshold = self.tables[0], self.threshold
        first, test, of_anchor = space["first"], space["test"], space[anchor]
        return {
            "mean cosine": lambda kept: mean_cosine(self._rows(first, kept)),
            "uniformity": lambda kept: uniformity(self._rows(first, kept)),
            "effective rank": lambda kept: effective_rank(self._rows(first, kept)),
            "effective rank, uncentred": lambda kept: effective_rank(self._rows(first, kept), centred=False),
            f"effective rank, {self.test.task.name}": lambda kept: effective_rank(self._rows(test, kept)),
            f"{anchor} above {threshold}, %": lambda kept: (
                100 * cosine_share(self._rows(of_anchor, kept), threshold=threshold)
            ),
        }

    def _pairs(self, space: Space) -> dict[str, Measure]:
        first, second, scores = space["first"], space["second"], self.scores
        retrieved = Paraphrases.of(self.pairs).retrieved(first, second)

        def of_alike(kept: Sequence[int]) -> float:
            rows = in_groups(len(scores), self.groups, kept) & (scores >= LEAST)
            return alignment(first[rows], second[rows])

        means = {name: self._mean(values) for name, values in retrieved.items()}
        return {"alignment": of_alike, "Spearman": self.spearman(first, second)} | means

    def _classes(self, space: Space) -> dict[str, Measure]:
        train_labels, labels = (np.array(data.table["label"]) for data in (self.train, self.test))
        return {
            f"{how} probe": self._mean(probe(space["train"], train_labels, space["test"], how) == labels)
            for how in ("logistic", "knn")
        }

    def _clusters(self, space: Space) -> dict[str, Measure]:
        sizes = [len(space[name]) for name in self.tables]
        mixed = torch.cat([space[name] for name in self.tables])
        of_table, clusters = np.repeat(self.tables, sizes), k_means(mixed, len(self.tables))

        def measure(name: str) -> Measure:
            def score(kept: Sequence[int]) -> float:
                rows = np.concatenate([in_groups(size, self.groups, kept) for size in sizes])
                return cluster_scores(mixed[rows], clusters[rows], of_table[rows])[name]

            return score

        return {name: measure(name) for name in ("purity", "adjusted Rand", "silhouette")}

    def _mean(self, values: NDArray) -> Measure:
        """Mean over the values in the groups that are kept."""
        return lambda kept: float(values[in_groups(len(values), self.groups, kept)].mean())
