"""How alike two tasks are by an encoder's vectors alone, without any fine-tuning: what RepMatch is compared with.

The book's chapter on transfer introduces them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

if TYPE_CHECKING:
    from torch import Tensor


def mmd(x: ArrayLike, y: ArrayLike, bandwidth: float | None = None) -> float:
    """Squared maximum mean discrepancy of two samples, unbiased, with a Gaussian kernel.

    Lemma 6 of Gretton et al. (2012), JMLR 13; the kernel is ``exp(-|a - b|² / (2 bandwidth²))``.

    Parameters
    ----------
    x : array, shape (n, width)
    y : array, shape (m, width)
    bandwidth : float, optional
        Above 0; the median distance of two different rows of both samples together if not given.

    Returns
    -------
    float
        0 in the mean where both come from one distribution, so it can be below 0; at most 2.

    Raises
    ------
    ValueError
        If a sample has fewer than two rows, the widths differ, or the bandwidth is not above 0.
    """
    from scipy.spatial.distance import pdist
    from sklearn.metrics.pairwise import rbf_kernel

    x, y = np.asarray(x, float), np.asarray(y, float)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < 2:
        raise ValueError(f"samples of shapes {x.shape} and {y.shape}: give two rows or more of each, of one width")
    bandwidth = float(np.median(pdist(np.vstack([x, y])))) if bandwidth is None else bandwidth
    if not bandwidth > 0:
        raise ValueError(f"bandwidth = {bandwidth}: give one above 0, or rows that differ")
    xx, yy, xy = (rbf_kernel(a, b, gamma=1 / (2 * bandwidth**2)) for a, b in ((x, x), (y, y), (x, y)))
    n, m = len(x), len(y)
    return float((xx.sum() - n) / (n * (n - 1)) + (yy.sum() - m) / (m * (m - 1)) - 2 * xy.mean())


def linear_transfer(
    source: np.ndarray | Tensor,
    source_labels: ArrayLike,
    target: np.ndarray | Tensor,
    target_labels: ArrayLike,
    folds: int = 5,
) -> float:
    """How well the target's classes can be told from what the source's linear head says of its rows, and nothing else.

    A logistic regression on the source's vectors is applied to the target's; its outputs, one a class or one in all
    for two classes, are all that a second one may read. So the two sets of classes may differ.

    Parameters
    ----------
    source : array, shape (rows, width)
    source_labels : array, shape (rows,)
    target : array, shape (rows', width)
    target_labels : array, shape (rows',)
    folds : int
        Of the cross-validation over the target's rows.

    Returns
    -------
    float
        Held-out accuracy less the share of the target's largest class, from -1 to 1.

    Raises
    ------
    ValueError
        If widths or numbers of rows do not fit, or there are more folds than rows of each class.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    one, other = (make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)) for _ in range(2))
    said = one.fit(source, source_labels).decision_function(target).reshape(len(target), -1)  # (rows', outputs)
    accuracy = cross_val_score(other, said, target_labels, cv=folds).mean()
    return float(accuracy - np.unique(target_labels, return_counts=True)[1].max() / len(target))
