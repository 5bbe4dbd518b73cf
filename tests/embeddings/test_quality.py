"""The geometry of vectors against cases worked out by hand, symmetries, SciPy and scikit-learn."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from helpers import draw
from hypothesis import given, settings, strategies as st
from scipy.integrate import quad
from scipy.spatial.distance import pdist
from scipy.stats import ortho_group
from sklearn.decomposition import PCA
from sklearn.metrics.pairwise import cosine_similarity
from torch import Tensor

import repmatch_lib as rm


def test_alignment_of_pairs_by_hand() -> None:
    x, y = torch.tensor([[1.0, 0], [3.0, 0], [0, 2.0]]), torch.tensor([[5.0, 0], [0, 1.0], [0, -1.0]])
    assert rm.alignment(x, y) == pytest.approx((0 + 2 + 4) / 3)  # the same, at a right angle, opposite
    assert rm.alignment(x, y, alpha=1) == pytest.approx((0 + math.sqrt(2) + 2) / 3)


def test_uniformity_of_three_by_hand() -> None:
    x = torch.tensor([[1.0, 0], [0, 7.0], [-2.0, 0]])  # squared distances 2, 2 and 4
    assert rm.uniformity(x, t=1) == pytest.approx(math.log((2 * math.exp(-2) + math.exp(-4)) / 3))
    assert rm.uniformity(torch.ones(4, 3)) == pytest.approx(0)  # all in one place


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 40), st.integers(1, 50), st.sampled_from([0.5, 2.0, 5.0]))
def test_uniformity_is_scipy_s_whatever_the_blocks(rows: int, block: int, t: float) -> None:
    x = draw(rows, seed=rows)
    directions = x.numpy() / np.linalg.norm(x.numpy(), axis=1, keepdims=True)
    assert rm.uniformity(x, t, block) == pytest.approx(
        np.log(np.exp(-t * pdist(directions, "sqeuclidean")).mean()), abs=1e-5
    )


def test_uniform_points_on_the_sphere_have_the_uniformity_of_the_integral() -> None:
    """Of two even points in d dimensions the cosine has density proportional to (1 - c²)^((d - 3) / 2)."""
    width, t = 8, 2.0
    weight = quad(lambda c: (1 - c * c) ** ((width - 3) / 2), -1, 1)[0]
    expected = quad(lambda c: math.exp(2 * t * (c - 1)) * (1 - c * c) ** ((width - 3) / 2), -1, 1)[0] / weight
    assert rm.uniformity(draw(4000, width, shift=0), t) == pytest.approx(math.log(expected), abs=0.01)


@settings(max_examples=20, deadline=None)
@given(st.integers(3, 30), st.integers(1, 20), st.booleans())
def test_the_mean_cosine_is_scikit_learn_s(rows: int, others: int, itself: bool) -> None:
    x, y = draw(rows), None if itself else draw(others, seed=1)
    full = cosine_similarity(x, x if y is None else y)
    expected = full[np.triu_indices(rows, 1)].mean() if itself else full.mean()
    assert rm.mean_cosine(x, y) == pytest.approx(expected, abs=1e-5)


def test_the_spectrum_is_that_of_the_covariance() -> None:
    x = draw(50, 6)
    variances = np.linalg.eigvalsh(np.cov(x.double().numpy().T, ddof=0))[::-1]
    assert rm.spectrum(x).square().numpy() == pytest.approx(variances)
    moments = np.linalg.eigvalsh(x.double().numpy().T @ x.double().numpy() / 50)[::-1]
    assert rm.spectrum(x, centred=False).square().numpy() == pytest.approx(moments)


def test_the_effective_rank_of_known_sets() -> None:
    corners = torch.cat([torch.eye(7), -torch.eye(7)])  # alike in seven directions
    assert rm.effective_rank(corners) == pytest.approx(7)
    line = torch.arange(1.0, 9)[:, None] * torch.tensor([[1.0, 2, 3]])
    assert rm.effective_rank(line) == pytest.approx(1) == rm.effective_rank(torch.ones(5, 3), centred=False)
    two = torch.tensor([[3.0, 0], [-3, 0], [0, 1], [0, -1]])  # singular values as 3 to 1
    assert rm.effective_rank(two) == pytest.approx(math.exp(-0.75 * math.log(0.75) - 0.25 * math.log(0.25)))
    with pytest.raises(ValueError, match="all rows of x are one.*say centred=False"):
        rm.effective_rank(torch.full((5, 3), 0.1))


MEASURES: dict[str, Callable[[Tensor], float]] = {
    "alignment": lambda x: rm.alignment(x[::2], x[1::2]),
    "uniformity": rm.uniformity,
    "mean cosine": rm.mean_cosine,
    "effective rank": rm.effective_rank,
    "uncentred effective rank": lambda x: rm.effective_rank(x, centred=False),
    "CKA": lambda x: rm.linear_cka(x, x.square()) if x.shape[1] == 1 else rm.linear_cka(x, draw(len(x), 3, 9)),
}


@pytest.mark.parametrize("name", MEASURES)
def test_rotations_and_scales_do_not_matter(name: str) -> None:
    x, measure = draw(20).double(), MEASURES[name]
    rotation = torch.from_numpy(ortho_group.rvs(5, random_state=3))
    assert measure(3.5 * x @ rotation) == pytest.approx(measure(x))


@pytest.mark.parametrize("name", ["uniformity", "mean cosine", "effective rank"])
def test_the_order_of_rows_does_not_matter(name: str) -> None:
    x = draw(20).double()
    assert MEASURES[name](x.flip(0)) == pytest.approx(MEASURES[name](x))


def test_centred_rows_have_mean_zero_and_whitened_ones_unit_covariance() -> None:
    x = draw(60, 6) @ draw(6, 6, seed=2)
    assert rm.centre(x).mean(0).abs().max() < 1e-6
    assert np.cov(rm.whiten(x).numpy().T) == pytest.approx(np.eye(6), abs=1e-6)
    few, by_sklearn = rm.whiten(x, keep=3), PCA(3, whiten=True).fit_transform(x.double())
    assert np.abs(few.numpy()) == pytest.approx(np.abs(by_sklearn), abs=1e-6)  # up to the directions' signs
    flat = torch.cat([x, x[:, :1]], dim=1)  # a column twice is no new direction
    assert rm.whiten(flat).shape == (60, 6)


def test_moments_may_come_from_other_rows() -> None:
    x, reference = draw(4), draw(30, seed=1)
    torch.testing.assert_close(rm.centre(x, reference), x.double() - reference.double().mean(0))
    both = rm.whiten(torch.cat([reference, x]), reference)
    torch.testing.assert_close(rm.whiten(x, reference), both[30:])
    assert np.cov(both[:30].numpy().T) == pytest.approx(np.eye(5), abs=1e-6)


def test_cka_is_that_of_the_centred_gram_matrices() -> None:
    """Kornblith et al., equations 3 and 4: HSIC of the two kernels over the roots of each with itself."""
    x, y = draw(12, 4).double(), draw(12, 7, seed=1).double()
    H = torch.eye(12).double() - 1 / 12
    K, L = H @ x @ x.T @ H, H @ y @ y.T @ H
    assert rm.linear_cka(x, y) == pytest.approx(float((K * L).sum() / (K.norm() * L.norm())))
    assert rm.linear_cka(x, x) == pytest.approx(1)
    apart = torch.tensor([[1.0, 0], [-1, 0], [0, 1], [0, -1]])
    assert rm.linear_cka(apart[:, :1], apart[:, 1:]) == pytest.approx(0)


def test_two_clouds_are_apart_in_both_pictures() -> None:
    x = torch.cat([draw(20, 6, shift=0) + 9 * torch.eye(6)[k] for k in (0, 1)])
    for how in ("pca", "tsne"):
        found = rm.coordinates(x, how)
        assert found.shape == (40, 2)
        torch.testing.assert_close(found, rm.coordinates(x, how))
        gap = (found[:20].mean(0) - found[20:].mean(0)).norm()
        assert gap > 2 * max(part.std(0).norm() for part in (found[:20], found[20:]))


E3 = torch.eye(3)
BAD: dict[str, tuple[Callable[[], object], str]] = {
    "no direction": (lambda: rm.alignment(E3, torch.zeros(3, 3)), r"row 0 of y has length 0\.0.*drop it"),
    "not finite": (lambda: rm.mean_cosine(E3 / 0), "row 0 of x has length nan.*drop it"),
    "no table": (lambda: rm.uniformity(torch.ones(3)), r"x has shape \(3,\).*\(rows, width\)"),
    "one row": (lambda: rm.uniformity(torch.ones(1, 3)), r"x has shape \(1, 3\): give at least 2 rows"),
    "other shapes": (lambda: rm.alignment(E3, torch.eye(2)), r"x has shape \(3, 3\) and y \(2, 2\).*every pair"),
    "other widths": (lambda: rm.mean_cosine(E3, torch.eye(2)), "x is 3 wide and y 2.*one encoder"),
    "directions": (lambda: rm.whiten(E3, keep=3), "keep = 3: reference spreads in 2 directions; give 1 to that"),
    "other texts": (lambda: rm.linear_cka(E3, torch.eye(2)), "x has 3 rows and y 2: give vectors of the same texts"),
    "no spread": (lambda: rm.linear_cka(E3, torch.ones(3, 2)), "no spread to compare"),
    "a picture": (lambda: rm.coordinates(E3, "umap"), "unknown way 'umap': give 'pca' or 'tsne'"),
    "few points": (lambda: rm.coordinates(E3[:2]), "give at least 3 rows"),
}  # fmt: skip


@pytest.mark.parametrize("bad", BAD)
def test_bad_input_is_named_with_its_mend(bad: str) -> None:
    attempt, message = BAD[bad]
    with pytest.raises(ValueError, match=f"(?s){message}"):
        attempt()
