"""Bases and similarities against a dense SVD in NumPy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor

import repmatch_lib as rm
from repmatch_lib.similarity import subspaces

Pair = tuple[Tensor, Tensor]
SIDES = ("left", "right")
seeds = st.integers(0, 10**6)
widths = st.integers(8, 40)
ranks = st.integers(1, 8)
property_test = settings(max_examples=40, deadline=None)


def factors(seed: int, out: int, width: int, rank: int, true_rank: int | None = None) -> Pair:
    """Random A and B; of fewer directions than columns if ``true_rank`` is given."""
    random = np.random.default_rng(seed)
    A, B = random.normal(size=(rank, width)), random.normal(size=(out, rank))
    if true_rank is not None:
        B = random.normal(size=(out, true_rank)) @ random.normal(size=(true_rank, rank))
    return torch.from_numpy(A), torch.from_numpy(B)


def dense_basis(A: Tensor, B: Tensor, side: str) -> np.ndarray:
    """Singular vectors of the full product, those of the null space left out."""
    U, S, Vt = np.linalg.svd(B.double().numpy() @ A.double().numpy())
    exists = S > 1e-10 * S[0] if S[0] > 0 else np.zeros_like(S, bool)
    return (U if side == "left" else Vt.T)[:, : len(S)][:, exists]


def dense_grid(U: np.ndarray, V: np.ndarray) -> np.ndarray:
    """Equation 1, one entry at a time."""
    grid = np.empty((U.shape[1], V.shape[1]))
    for i, j in np.ndindex(grid.shape):
        grid[i, j] = np.linalg.norm(U[:, : i + 1].T @ V[:, : j + 1]) ** 2 / min(i + 1, j + 1)
    return grid


@property_test
@given(seeds, widths, widths, ranks, ranks, st.sampled_from(SIDES))
def test_phi_is_that_of_a_dense_svd(seed: int, out: int, width: int, r: int, s: int, side: str) -> None:
    first, second = factors(seed, out, width, r), factors(seed + 1, out, width, s)
    grid = rm.grassmann_similarity(rm.lora_basis(*first, side), rm.lora_basis(*second, side))
    expected = dense_grid(dense_basis(*first, side), dense_basis(*second, side))
    assert grid.shape == (r, s)
    np.testing.assert_allclose(grid.numpy(), expected, atol=1e-6)
    assert rm.repmatch_score(grid).item() == pytest.approx(expected.max(), abs=1e-6)


@property_test
@given(seeds, widths, widths, st.integers(2, 8), st.data())
def test_directions_beyond_the_rank_are_zero(seed: int, out: int, width: int, r: int, data: st.DataObject) -> None:
    true_rank = data.draw(st.integers(1, r - 1))
    side = data.draw(st.sampled_from(SIDES))
    A, B = factors(seed, out, width, r, true_rank)
    basis, expected = rm.lora_basis(A, B, side).numpy(), dense_basis(A, B, side)
    assert basis.shape[1] == r and expected.shape[1] == true_rank
    np.testing.assert_array_equal(basis[:, true_rank:], 0)
    other = factors(seed + 1, out, width, 3)
    grid = rm.grassmann_similarity(torch.from_numpy(basis), rm.lora_basis(*other, side))
    np.testing.assert_allclose(grid[:true_rank], dense_grid(expected, dense_basis(*other, side)), atol=1e-6)


@pytest.mark.parametrize("zero", ["A", "B"])
@pytest.mark.parametrize("side", SIDES)
def test_a_zero_factor_has_no_direction(zero: str, side: str) -> None:
    A, B = factors(0, 12, 9, 3)
    A, B = (A * 0, B) if zero == "A" else (A, B * 0)
    assert not rm.lora_basis(A, B, side).any()


@pytest.mark.parametrize("shape", [(3, 9, 5), (5, 3, 9), (2, 2, 6)], ids=str)
def test_a_rank_above_the_width_gives_as_many_directions_as_there_are(shape: tuple[int, int, int]) -> None:
    out, width, rank = shape
    A, B = factors(1, out, width, rank)
    for side in SIDES:
        basis, expected = rm.lora_basis(A, B, side).numpy(), dense_basis(A, B, side)
        assert basis.shape == expected.shape
        np.testing.assert_allclose(basis.T @ basis, np.eye(basis.shape[1]), atol=1e-12)
        np.testing.assert_allclose(np.abs((basis * expected).sum(0)), 1, atol=1e-9)  # the same, up to sign


@property_test
@given(seeds, widths, ranks, ranks)
def test_phi_is_symmetric_bounded_and_one_with_itself(seed: int, d: int, r: int, s: int) -> None:
    U, V = rm.lora_basis(*factors(seed, d, d, r)), rm.lora_basis(*factors(seed + 1, d, d, s))
    grid = rm.grassmann_similarity(U, V)
    torch.testing.assert_close(grid, rm.grassmann_similarity(V, U).T)
    assert grid.min() >= 0 and grid.max() <= 1
    itself = rm.grassmann_similarity(U, U).diagonal()
    torch.testing.assert_close(itself, torch.ones_like(itself))


@pytest.mark.parametrize(
    ("columns", "others", "expected"),
    [
        ([0, 1], [0, 1], [[1, 1], [1, 1]]),
        ([0, 1], [1, 0], [[0, 1], [1, 1]]),
        ([0, 1], [2, 3], [[0, 0], [0, 0]]),
        ([0, 1], [0, 2], [[1, 1], [1, 0.5]]),
    ],
)
def test_phi_of_coordinate_axes(columns: list[int], others: list[int], expected: list[list[float]]) -> None:
    axes = torch.eye(5, dtype=torch.float64)
    grid = rm.grassmann_similarity(axes[:, columns], axes[:, others])
    torch.testing.assert_close(grid, torch.tensor(expected, dtype=torch.float64))


@property_test
@given(seeds, widths, widths, ranks, st.floats(-6, 6), st.sampled_from(SIDES))
def test_the_basis_belongs_to_the_product(seed: int, out: int, width: int, r: int, scale: float, side: str) -> None:
    """Neither the split into factors nor the scale moves phi."""
    A, B = factors(seed, out, width, r)
    random = np.random.default_rng(seed)
    left, right = (np.linalg.qr(random.normal(size=(r, r)))[0] for _ in range(2))
    Q = torch.from_numpy(left @ np.diag(random.uniform(0.5, 2, r)) @ right)
    V = rm.lora_basis(*factors(seed + 1, out, width, 4), side)
    expected = rm.grassmann_similarity(rm.lora_basis(A, B, side), V)
    for same in ((torch.linalg.inv(Q) @ A, B @ Q), (A, B * 10**scale), (A * 10**scale, B)):
        found = rm.grassmann_similarity(rm.lora_basis(*same, side), V)
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-5), (torch.bfloat16, 0.05)])
def test_any_dtype(dtype: torch.dtype, tolerance: float) -> None:
    A, B = factors(3, 48, 40, 4)
    B = B * torch.tensor(
        [8.0, 4, 2, 1]
    )  # singular values well apart: what rounding turns is the vectors, not their order
    V = rm.lora_basis(*factors(4, 48, 40, 4))
    expected = rm.grassmann_similarity(rm.lora_basis(A, B), V + 0)
    basis = rm.lora_basis(A.to(dtype), B.to(dtype))
    assert basis.dtype == torch.float64
    torch.testing.assert_close(rm.grassmann_similarity(basis, V), expected, atol=tolerance, rtol=0)
    torch.testing.assert_close(
        rm.grassmann_similarity(basis, rm.lora_basis(A, B))[3, 3].item(), 1.0, atol=tolerance, rtol=0
    )


@pytest.mark.parametrize("side", SIDES)
def test_leading_dimensions_are_a_loop(side: str) -> None:
    pairs = [[factors(10 * k + m, 11, 9, 3, 2 if m else None) for m in range(2)] for k in range(3)]
    A, B = (torch.stack([torch.stack([pair[f] for pair in row]) for row in pairs]) for f in (0, 1))
    V = rm.lora_basis(*factors(99, 11, 9, 2), side)
    grid = rm.grassmann_similarity(rm.lora_basis(A, B, side), V)
    scores = rm.repmatch_score(grid)
    assert grid.shape == (3, 2, 3, 2) and scores.shape == (3, 2)
    for k, m in itertools.product(range(3), range(2)):
        alone = rm.grassmann_similarity(rm.lora_basis(*pairs[k][m], side), V)
        torch.testing.assert_close(grid[k, m], alone)
        assert scores[k, m] == grid[k, m].max()


def test_chance_of_two_lines_is_one_over_the_width() -> None:
    for width in (5, 40):
        scores = rm.chance_scores(width, 1, 1)
        assert scores.mean().item() == pytest.approx(1 / width, rel=0.12)  # four standard errors
        assert len(scores) == 2000 and (scores.diff() >= 0).all()


def test_chance_is_repeatable_and_leaves_the_generator_alone() -> None:
    torch.manual_seed(7)
    expected = torch.rand(1)
    subspaces.chance_of_layers.cache_clear()
    torch.manual_seed(7)
    first = rm.chance_scores(16, 2, 2, draws=50)
    assert torch.equal(torch.rand(1), expected)
    subspaces.chance_of_layers.cache_clear()
    torch.manual_seed(8)
    assert torch.equal(rm.chance_scores(16, 2, 2, draws=50), first)


@pytest.mark.parametrize(("width", "r", "s", "layers"), [(20, 2, 3, 1), (12, 4, 4, 3), (6, 1, 4, 2), (6, 4, 3, 2)])
def test_chance_against_monte_carlo(width: int, r: int, s: int, layers: int) -> None:
    random = np.random.default_rng(0)

    def score() -> float:
        pairs = [[np.linalg.qr(random.normal(size=(width, k)))[0] for k in (r, s)] for _ in range(layers)]
        return float(np.mean([dense_grid(U, V).max() for U, V in pairs]))

    expected = np.array([score() for _ in range(1000)])
    found = rm.chance_scores(width, r, s, layers)
    error = expected.std() * np.sqrt(1 / 1000 + 1 / 2000)
    assert found.mean().item() == pytest.approx(expected.mean(), abs=4 * error)
    assert found.quantile(0.95).item() == pytest.approx(
        np.quantile(expected, 0.95), abs=0.15 * expected.std() + 4 * error
    )


@pytest.mark.parametrize("side", SIDES)
def test_shuffled_basis(side: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [factors(k, 14, 10, 3) for k in range(2)]
    A, B = torch.stack([a for a, _ in pairs]), torch.stack([b for _, b in pairs])
    seen, svd = [], torch.linalg.svd

    def spy(matrix: Tensor, **options: bool) -> object:
        seen.append(matrix)
        return svd(matrix, **options)

    monkeypatch.setattr(torch.linalg, "svd", spy)
    basis = rm.shuffled_basis(A, B, 0, side)
    update, shuffled = B @ A, seen[-1]
    for before, after in zip(update, shuffled, strict=True):
        torch.testing.assert_close(before.flatten().sort().values, after.flatten().sort().values)
        assert (before != after).double().mean() > 0.8
    expected = np.linalg.svd(shuffled[0].numpy())
    expected = (expected.U if side == "left" else expected.Vh.T)[:, :3]
    np.testing.assert_allclose(np.abs((basis[0].numpy() * expected).sum(0)), 1, atol=1e-9)
    torch.testing.assert_close(basis.mT @ basis, torch.eye(3, dtype=torch.float64).expand(2, 3, 3))
    assert torch.equal(basis, rm.shuffled_basis(A, B, 0, side))
    if side == "left":
        assert torch.equal(basis, rm.shuffled_basis(A, B))
    assert not torch.allclose(basis, rm.shuffled_basis(A, B, 1, side))


def test_bad_arguments_are_named() -> None:
    A, B = factors(0, 8, 8, 2)
    with pytest.raises(ValueError, match="side is 'up'.*'left' or 'right'"):
        rm.lora_basis(A, B, "up")
    with pytest.raises(ValueError, match=r"one rank r; got \(2, 8\) and \(2, 8\)"):
        rm.lora_basis(A, A)
    with pytest.raises(ValueError, match="widths: 8 and 9"):
        rm.grassmann_similarity(rm.lora_basis(A, B), rm.lora_basis(*factors(0, 9, 8, 2)))
    for bad in (float("nan"), float("inf")):
        B[0, 0] = bad
        with pytest.raises(ValueError, match="NaN or infinity"):
            rm.lora_basis(A, B)


def several(seed: int, rank: int, shared: bool) -> tuple[Tensor, Tensor]:
    """Three updates of two layers, with singular values that fall by 3; one A for all three if ``shared``."""
    random = np.random.default_rng(seed)
    out, width = random.integers(8, 40, 2)

    def orthonormal(*shape: int) -> np.ndarray:
        return np.linalg.qr(random.normal(size=shape)).Q

    several = () if shared else (3,)
    mixed = orthonormal(*several, 2, rank, rank) * random.uniform(0.5, 2, rank)
    A = mixed @ orthonormal(*several, 2, width, rank).swapaxes(-1, -2)
    B = orthonormal(3, 2, out, rank) * 10 ** random.uniform(-6, 2) * 3.0 ** -np.arange(rank) @ np.linalg.inv(mixed)
    return torch.from_numpy(A), torch.from_numpy(B)


def dense(A: Tensor, B: Tensor, side: str) -> tuple[np.ndarray, np.ndarray]:
    """Singular vectors and values of the full products."""
    U, S, Vt = np.linalg.svd(B.double().numpy() @ A.double().numpy())
    return U if side == "left" else Vt.swapaxes(-1, -2), S


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 5), st.sampled_from(["left", "right"]), st.booleans())
def test_the_thin_basis_is_that_of_a_dense_svd(
    dtype: torch.dtype, seed: int, rank: int, side: str, shared: bool
) -> None:
    A, B = (factor.to(dtype) for factor in several(seed, rank, shared))
    basis = rm.thin_basis(A, B, side)
    vectors, _ = dense(A, B, side)
    assert basis.dtype == torch.float64 and basis.shape == (3, 2, vectors.shape[-1], rank)
    others = rm.lora_basis(A.expand(3, -1, -1, -1), B, side).numpy()
    for expected in (vectors[..., :rank], others):  # in one order, up to sign
        np.testing.assert_allclose(np.abs((basis.numpy() * expected).sum(-2)), 1, atol=1e-8)
        np.testing.assert_allclose(basis @ basis.mT, expected @ expected.swapaxes(-1, -2), atol=1e-6)


def deficient(dtype: torch.dtype, seed: int, rank: int, side: str, which: str, zero: int) -> None:
    """Without some columns of B or rows of A, what is there is the dense SVD's and the rest is zero."""
    A, B = (factor.to(dtype) for factor in several(seed, rank, shared=True))
    zero = zero % (rank + 1)
    places = np.random.default_rng(seed).permutation(rank)[:zero]
    A[..., places, :], B[..., places] = (A[..., places, :], 0) if which == "B" else (0, B[..., places])
    basis = rm.thin_basis(A, B, side).numpy()
    there = rank - zero
    assert not basis[..., there:].any()
    expected = dense(A, B, side)[0][..., :there]
    np.testing.assert_allclose(basis @ basis.swapaxes(-1, -2), expected @ expected.swapaxes(-1, -2), atol=1e-6)


deficiencies = given(
    st.integers(0, 10**6), st.integers(1, 5), st.sampled_from(["left", "right"]), st.sampled_from("AB"),
    st.integers(0, 5),
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@deficiencies
def test_directions_that_are_not_there_are_zero(seed: int, rank: int, side: str, which: str, zero: int) -> None:
    deficient(torch.float32, seed, rank, side, which, zero)


def test_directions_that_are_not_there_are_zero_in_float64() -> None:
    for seed in range(30):
        deficient(torch.float64, seed, 3, "left", "B", 1)
        deficient(torch.float64, seed, 5, "right", "A", 3)
