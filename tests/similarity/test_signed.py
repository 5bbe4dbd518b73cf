"""Cosines of updates against the dense products."""

import pytest
import torch

from repmatch_lib.similarity.signed import inner_products, update_cosines

L, OUT, IN = 3, 6, 5


def factors(rank: int, seed: int, *leading: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(*leading, L, *shape, generator=generator) for shape in ((rank, IN), (OUT, rank)))


@pytest.mark.parametrize("ranks", [(1, 1), (2, 4), (4, 1)])
def test_cosines_are_those_of_the_dense_updates(ranks):
    (A, B), (other_A, other_B) = factors(ranks[0], 0, 7), factors(ranks[1], 1)
    update, other = (B @ A).double(), (other_B @ other_A).double()
    layers, whole = update_cosines([(A, B)], [(other_A, other_B)])
    torch.testing.assert_close(
        inner_products(A, B, other_A, other_B), (update * other).sum((-2, -1)), atol=1e-4, rtol=0
    )
    by_layer = torch.cosine_similarity(update.flatten(-2), other.flatten(-2).expand(7, L, -1), dim=-1)
    torch.testing.assert_close(layers, by_layer, atol=1e-5, rtol=0)
    flat = torch.cosine_similarity(update.flatten(1), other.flatten().expand(7, -1), dim=-1)
    torch.testing.assert_close(whole, flat, atol=1e-5, rtol=0)


def test_an_update_turned_around_has_the_opposite_sign_and_itself_one():
    A, B = factors(2, 3)
    layers, whole = update_cosines([(A, -B)], [(A, B)])
    torch.testing.assert_close(layers, -torch.ones(L, dtype=torch.float64))
    assert float(update_cosines([(A, B)], [(A, B)])[1]) == pytest.approx(1) and float(whole) == pytest.approx(-1)


def test_no_update_has_no_likeness():
    A, B = factors(2, 3)
    layers, whole = update_cosines([(A, 0 * B)], [(A, B)])
    assert not layers.any() and not whole
