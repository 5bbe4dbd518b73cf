"""Shares of variance against explicit projection matrices and the classical formulas of group means."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

import repmatch_lib as rm

FACTORS = ("start", "order", "rows")


def drawn(*shape: int, seed: int) -> torch.Tensor:
    """Orthonormal bases."""
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(*shape, generator=generator, dtype=torch.float64)).Q


def test_products_are_traces_of_projections() -> None:
    bases = drawn(3, 2, 9, 4, seed=0)
    bases[1, 0, :, 3] = 0  # an update of fewer directions than its rank
    P = (bases @ bases.mT).numpy()
    expected = np.einsum("aluv,blvu->lab", P, P)
    assert np.allclose(rm.projection_products(bases).numpy(), expected)


def test_shares_are_those_of_group_means() -> None:
    """The textbook's way: means of levels and of cells, with whole matrices as observations."""
    bases = drawn(8, 2, 7, 2, seed=1)
    found = rm.variance_shares(rm.projection_products(bases), FACTORS)
    for layer in range(2):
        P = (bases[:, layer] @ bases[:, layer].mT).numpy().reshape(2, 2, 2, 7, 7)
        mean = P.mean((0, 1, 2), keepdims=True)
        total = ((P - mean) ** 2).sum()
        main = {f: P.mean(tuple({0, 1, 2} - {k}), keepdims=True) - mean for k, f in enumerate(FACTORS)}
        fitted = mean + sum(main.values())
        shares = {(f,): 4 * (effect**2).sum() / total for f, effect in main.items()}
        for (a, f), (b, g) in ((x, y) for x in enumerate(FACTORS) for y in enumerate(FACTORS) if x < y):
            (other,) = {0, 1, 2} - {a, b}
            pair = P.mean(other, keepdims=True) - mean - main[f] - main[g]
            shares[f, g] = 2 * (pair**2).sum() / total
            fitted = fitted + pair
        shares[FACTORS] = ((P - fitted) ** 2).sum() / total
        assert found.keys() == shares.keys()
        assert all(found[effect][layer].item() == pytest.approx(share) for effect, share in shares.items())


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 4), st.integers(1, 3), st.integers(0, 99), st.data())
def test_shares_sum_to_one_and_a_factor_without_effect_has_none(
    factors: int, rank: int, seed: int, data: st.DataObject
) -> None:
    names = [f"f{k}" for k in range(factors)]
    idle = data.draw(st.sets(st.integers(0, factors - 1), max_size=factors - 1))
    bases = drawn(2**factors, 1, 8, rank, seed=seed)
    levels = list(product((0, 1), repeat=factors))
    same_as = [levels.index(tuple(0 if k in idle else one for k, one in enumerate(level))) for level in levels]
    shares = rm.variance_shares(rm.projection_products(bases[same_as]), names)
    assert sum(shares.values()).item() == pytest.approx(1) and len(shares) == 2**factors - 1
    for effect, share in shares.items():
        assert share.item() >= 0
        if {names[k] for k in idle} & set(effect):
            assert share.item() == pytest.approx(0, abs=1e-9)


def test_one_factor_that_does_all() -> None:
    one, other = drawn(2, 1, 8, 2, seed=4)
    shares = rm.variance_shares(rm.projection_products(torch.stack([one, one, other, other])), ("head", "start"))
    assert shares["head",].item() == pytest.approx(1) and shares["head", "start"].item() == pytest.approx(0)


def test_runs_that_are_all_as_far_apart_share_evenly() -> None:
    """Perpendicular to each other: no factor explains more than any interaction."""
    bases = torch.eye(8, dtype=torch.float64).reshape(8, 1, 8, 1)
    shares = rm.variance_shares(rm.projection_products(bases), FACTORS)
    assert all(share.item() == pytest.approx(1 / 7) for share in shares.values())


def test_what_cannot_be_shared_out_is_refused() -> None:
    bases = drawn(4, 1, 8, 2, seed=5)
    with pytest.raises(ValueError, match="3 factors need 8 runs"):
        rm.variance_shares(rm.projection_products(bases), FACTORS)
    with pytest.raises(ValueError, match="no variance"):
        rm.variance_shares(rm.projection_products(bases[[0, 0, 0, 0]]), ("start", "order"))
