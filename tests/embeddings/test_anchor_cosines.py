"""Table 2's baseline against a full matrix of cosines, groups of rows left out by hand."""

import numpy as np
import pytest
import torch

import repmatch_lib as rm

GROUPS = 4


@pytest.fixture
def vectors() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shift = torch.tensor([1.0, 0, 0, 0, 0])
    return {
        name: torch.randn(16, 5, generator=generator) + scale * shift for name, scale in (("a", 1), ("b", 2), ("c", 0))
    }


def unit(rows: torch.Tensor) -> np.ndarray:
    rows = rows.double().numpy()
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def pairs(vectors, name, kept):
    """Cosines of the anchor's rows in some groups with another set's in the same."""
    rows = np.concatenate([np.arange(4 * group, 4 * group + 4) for group in kept])
    matrix = unit(vectors["a"])[rows] @ unit(vectors[name])[rows].T
    return matrix[np.triu_indices(len(rows), 1)] if name == "a" else matrix.ravel()


def percentage(vectors, name, kept):
    return 100 * float((pairs(vectors, name, kept) > 0.3).mean())


def same(one, other):
    np.testing.assert_allclose((one.value, one.low, one.high), (other.value, other.low, other.high), atol=1e-9)


@pytest.mark.parametrize("name", ["a", "b", "c"])
def test_share_above_a_threshold(vectors, name):
    baseline = rm.AnchorCosines("a", vectors, 0.3, GROUPS)
    by_hand = rm.jackknife(range(GROUPS), lambda kept: percentage(vectors, name, kept), bounds=(0, 100))
    same(baseline.above(name), by_hand)
    assert baseline.above(name).unit == "group of rows"


def test_difference_of_two_sets_is_taken_without_the_same_rows(vectors):
    baseline = rm.AnchorCosines("a", vectors, 0.3, GROUPS)
    by_hand = rm.jackknife(range(GROUPS), lambda kept: percentage(vectors, "b", kept) - percentage(vectors, "a", kept))
    same(baseline.above("b", less="a"), by_hand)


def test_at_the_level_the_anchor_has_the_share_that_was_asked_for(vectors):
    baseline = rm.AnchorCosines("a", vectors, 0.9, GROUPS)
    assert baseline.above_level("a", 0.7).value == pytest.approx(70)
    level = baseline.level(0.7)
    assert (pairs(vectors, "a", range(GROUPS)) > level).mean() == pytest.approx(0.7, abs=0.02)
    expected = 100 * (pairs(vectors, "b", range(GROUPS)) > level).mean()
    assert baseline.above_level("b", 0.7).value == pytest.approx(expected, abs=1.5)  # within a bin
    difference = baseline.above_level("b", 0.7, less="c").value
    assert difference == pytest.approx(baseline.above_level("b", 0.7).value - baseline.above_level("c", 0.7).value)


def test_means_of_rows_and_the_formula_of_the_mean_cosine(vectors):
    baseline = rm.AnchorCosines("a", vectors, 0.9, GROUPS)
    for name in vectors:
        mean = unit(vectors[name]).mean(0)
        assert baseline.mean_length(name).value == pytest.approx(np.linalg.norm(mean))
    product = baseline.mean_length("a").value * baseline.mean_length("b").value * baseline.cosine_of_means("b").value
    assert product == pytest.approx(pairs(vectors, "b", range(GROUPS)).mean())
    assert baseline.cosine_of_means("a").value == pytest.approx(1)
    assert baseline.mean_length("b").value > baseline.mean_length("c").value  # the shifted set is the tighter one


def test_a_set_that_is_added_later_is_as_one_given_at_first(vectors):
    first = rm.AnchorCosines("a", vectors, 0.3, GROUPS)
    later = rm.AnchorCosines("a", {"a": vectors["a"]}, 0.3, GROUPS)
    later.add({"b": vectors["b"]})
    assert later.above("b") == first.above("b")
    assert later.cosine_of_means("b") == first.cosine_of_means("b")
