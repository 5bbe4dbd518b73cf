"""The [CLS] baseline's cosines against scikit-learn's full matrix."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from helpers import draw
from hypothesis import given, settings, strategies as st
from sklearn.metrics.pairwise import cosine_similarity
from torch import Tensor

import repmatch_lib as rm


def of_all_pairs(a: Tensor, b: Tensor | None = None) -> np.ndarray:
    """Every cosine from the full matrix; of a set with itself those above the diagonal."""
    full = cosine_similarity(a, a if b is None else b)
    return full[np.triu_indices(len(a), 1)] if b is None else full.ravel()


@settings(max_examples=40, deadline=None)
@given(
    st.integers(2, 30),
    st.integers(1, 30),
    st.sampled_from([-1.0, -0.3, 0.0, 0.5, 0.9]),
    st.integers(1, 40),
    st.booleans(),
)
def test_the_share_is_scikit_learn_s(rows: int, others: int, threshold: float, block: int, itself: bool) -> None:
    a, b = draw(rows, seed=rows), None if itself else draw(others, seed=100 + others)
    expected = (of_all_pairs(a, b) > threshold).mean()
    assert rm.cosine_share(a, b, threshold, block) == pytest.approx(expected, abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.integers(4, 30), st.integers(1, 50), st.integers(1, 4), st.integers(1, 60), st.booleans())
def test_neither_blocks_nor_groups_matter(rows: int, block: int, groups: int, bins: int, itself: bool) -> None:
    a, b = draw(rows), None if itself else draw(9, seed=1)
    found = rm.cosines(a, b, thresholds=(0.2, 0.7), bins=bins, groups=groups, block=block)
    expected = np.histogram(of_all_pairs(a, b), np.linspace(-1, 1, bins + 1))[0]
    assert found.pairs == expected.sum() == (rows * (rows - 1) // 2 if itself else rows * 9)
    assert found.counts.sum((0, 1)) == pytest.approx(expected, abs=1)  # a cosine on an edge may fall to either side
    for threshold in (0.2, 0.7):
        assert found.share(threshold) == pytest.approx((of_all_pairs(a, b) > threshold).mean(), abs=1e-12)


@pytest.mark.parametrize("itself", [True, False])
def test_leaving_out_groups_is_leaving_out_their_rows(itself: bool) -> None:
    a, b = draw(20), None if itself else draw(35, seed=1)
    found = rm.cosines(a, b, thresholds=(0.5,), groups=5, block=3)
    for gone in range(5):
        kept = [group for group in range(5) if group != gone]
        few = torch.cat([a[: 4 * gone], a[4 * gone + 4 :]])
        few_b = None if itself else torch.cat([b[: 7 * gone], b[7 * gone + 7 :]])
        assert found.share(0.5, kept) == pytest.approx((of_all_pairs(few, few_b) > 0.5).mean(), abs=1e-12)
        assert found.curve(kept)[0.5] == pytest.approx((of_all_pairs(few, few_b) > 0.5).mean(), abs=1e-12)


def test_the_diagonal_is_left_out() -> None:
    assert rm.cosine_share(torch.eye(6), threshold=0.5) == 0
    assert rm.cosine_share(torch.eye(6), torch.eye(6), threshold=0.5) == pytest.approx(1 / 6)
    twice = torch.eye(3).repeat(2, 1)  # three of the fifteen pairs are copies
    assert rm.cosine_share(twice, threshold=0.5, block=2) == pytest.approx(3 / 15)


def test_the_curve_falls_from_one_to_none() -> None:
    a = draw(40)
    curve = rm.cosines(a, bins=200).curve()
    assert curve.iloc[0] == 1 and curve.iloc[-1] == 0 and (curve.diff().dropna() <= 0).all()
    for edge in (-0.5, 0.0, 0.73):
        at = curve.index[np.abs(curve.index - edge).argmin()]
        assert curve[at] == pytest.approx((of_all_pairs(a) >= at).mean(), abs=2 / 780)


def test_the_ends_of_the_range_are_counted() -> None:
    """Equal and opposite rows, whose cosines rounding may carry beyond 1 and -1."""
    rows = torch.rand(50, 7, generator=torch.Generator().manual_seed(3))
    found = rm.cosines(rows, torch.cat([rows, -rows]), bins=3)
    assert found.pairs == 5000 and found.counts[0, 0, 0] >= 50 and found.counts[0, 0, 2] >= 50


BAD = {
    "no direction": ((torch.tensor([[1.0, 0], [0, 0]]), None), {}, r"row 1 of a has length 0\.0.*drop it"),
    "not finite": ((torch.eye(2), torch.tensor([[float("nan"), 1]])), {}, "row 0 of b has length nan.*drop it"),
    "other widths": ((torch.eye(2), torch.eye(3)), {}, "a is 2 wide and b 3.*one encoder"),
    "no table": ((torch.ones(3), None), {}, r"a has shape \(3,\).*\(rows, width\)"),
    "one row with itself": ((torch.ones(1, 3), None), {}, "1 row has no pair with itself.*second set"),
    "a threshold above": ((torch.eye(2), None), {"thresholds": (0.5, 1.5)}, "threshold 1.5 is no cosine.*-1 to 1"),
    "a threshold that is none": ((torch.eye(2), None), {"thresholds": (float("nan"),)}, "threshold nan is no cosine"),
    "more groups than rows": ((torch.eye(2), torch.eye(2)[:1]), {"groups": 2}, "groups = 2: give 1 to.*rows, 1"),
    "no bins": ((torch.eye(2), None), {"bins": 0}, "bins = 0 .*give 1 to 32767"),
    "no block": ((torch.eye(2), None), {"block": 0}, "block = 0.*at least 1"),
}


@pytest.mark.parametrize("bad", list(BAD))
def test_bad_vectors_are_named(bad: str) -> None:
    (a, b), options, message = BAD[bad]
    with pytest.raises(ValueError, match=f"(?s){message}"):
        rm.cosines(a, b, **options)


def test_a_share_at_a_threshold_that_was_not_counted() -> None:
    with pytest.raises(ValueError, match=re.escape("threshold 0.8 was not counted, only [0.9]: give it to cosines()")):
        rm.cosines(torch.eye(2)).share(0.8)
