"""One data set's rows with those of others, by cosine: table 2's baseline, with intervals over rows.

The book's chapter on the [CLS] baseline introduces the measures. Pairs share rows, so an interval leaves out rows: one
group of each set at a time, with all of its pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from torch import Tensor

from repmatch_lib.embeddings.cosines import Cosines, cosines
from repmatch_lib.embeddings.set_cosines import group_means
from repmatch_lib.statistics import Estimate, jackknife


class AnchorCosines:
    """Cosines of an anchor's rows with those of each data set, the anchor itself among them.

    Parameters
    ----------
    anchor : str
    vectors : mapping of str to Tensor, shape (rows, width)
        By data set, with the anchor's.
    threshold : float
        From -1 to 1; the paper's is 0.9.
    groups : int
        Of rows, for the intervals; at least 2.

    Attributes
    ----------
    cosines : dict of str to Cosines
    """

    def __init__(self, anchor: str, vectors: Mapping[str, Tensor], threshold: float = 0.9, groups: int = 10) -> None:
        self.anchor, self.threshold, self.groups = anchor, threshold, groups
        self.cosines: dict[str, Cosines] = {}
        self._of_anchor = vectors[anchor]
        self._means: dict[str, np.ndarray] = {}
        self.add(vectors)

    def add(self, vectors: Mapping[str, Tensor]) -> None:
        """Compare the anchor with further sets."""
        for name, rows in vectors.items():
            other = None if name == self.anchor else rows
            self.cosines[name] = cosines(self._of_anchor, other, thresholds=(self.threshold,), groups=self.groups)
            directions = rows.double() / rows.double().norm(dim=1, keepdim=True)
            self._means[name] = group_means(directions.numpy(), self.groups)

    def above(self, name: str, less: str | None = None) -> Estimate:
        """Percentage of pairs above the threshold (table 2), or what it has more than another set's."""
        return self._percentage(lambda one, kept: self.cosines[one].share(self.threshold, kept), name, less)

    def level(self, share: float, kept: list[int] | None = None) -> float:
        """The cosine that a share, from 0 to 1, of the anchor's own pairs lies above."""
        return self.cosines[self.anchor].quantile(1 - share, kept)

    def above_level(self, name: str, share: float, less: str | None = None) -> Estimate:
        """As `above`, with `level` in place of the threshold; without a group of rows it is another level."""
        return self._percentage(
            lambda one, kept: self.cosines[one].share_above(self.level(share, kept), kept), name, less
        )

    def mean_length(self, name: str) -> Estimate:
        """Length of the mean of a set's rows, each at length one: from 0, spread, to 1, all rows alike."""
        return self._over_rows(lambda kept: float(np.linalg.norm(self._mean(name, kept))), (0, 1))

    def cosine_of_means(self, name: str) -> Estimate:
        """Cosine between the mean of a set's rows and that of the anchor's, each row at length one."""

        def cosine(kept: list[int]) -> float:
            own, other = self._mean(name, kept), self._mean(self.anchor, kept)
            return float(own @ other / np.linalg.norm(own) / np.linalg.norm(other))

        return self._over_rows(cosine)

    def _mean(self, name: str, kept: list[int]) -> np.ndarray:
        """Mean over groups; they differ by one row at most."""
        return self._means[name][kept].mean(0)

    def _percentage(self, share: Callable[[str, list[int]], float], name: str, less: str | None) -> Estimate:
        def percentage(kept: list[int]) -> float:
            return 100 * share(name, kept) - (100 * share(less, kept) if less else 0.0)

        return self._over_rows(percentage, None if less else (0, 100))

    def _over_rows(
        self, statistic: Callable[[list[int]], float], bounds: tuple[float, float] | None = None
    ) -> Estimate:
        return jackknife(range(self.groups), statistic, "group of rows", bounds)
