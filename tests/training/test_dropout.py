"""Dropout by sixteen bits an entry: the rate, the scale, the gradient, and torch's own random state."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from repmatch_lib.training.dropout import dropout, quick_dropout


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.93])
def test_the_rate_and_the_mean_are_kept(rate: float) -> None:
    torch.manual_seed(0)
    out = dropout(torch.ones(401, 997), rate)
    n = out.numel()
    assert float((out == 0).float().mean()) == pytest.approx(rate, abs=4 * (rate * (1 - rate) / n) ** 0.5)
    assert out.unique().tolist() == pytest.approx([0, 1 / (1 - rate)], rel=1e-3)


def test_neighbours_are_dropped_independently() -> None:
    """Four entries come of one draw."""
    torch.manual_seed(1)
    dropped = (dropout(torch.ones(10**6), 0.3) == 0).double() - 0.3
    for lag in (1, 2, 3, 4, 5):
        assert abs(float((dropped[lag:] * dropped[:-lag]).mean())) < 4 * 0.21 / 1000


def test_the_gradient_is_that_of_what_was_kept() -> None:
    x = torch.randn(7, 5, requires_grad=True)
    out = dropout(x, 0.4)
    (gradient,) = torch.autograd.grad(out.sum(), [x])
    torch.testing.assert_close(gradient * x, out)
    assert 0 < int((gradient == 0).sum()) < 35


@pytest.mark.parametrize(("rate", "training"), [(0.0, True), (1.0, True), (0.4, False)])
def test_what_needs_no_draw_is_torch_s(rate: float, training: bool) -> None:
    x = torch.randn(6)
    torch.testing.assert_close(dropout(x, rate, training), F.dropout(x, rate, training))


def test_the_random_state_decides_and_moves_on() -> None:
    x = torch.ones(1000)
    torch.manual_seed(3)
    first, second = dropout(x, 0.5), dropout(x, 0.5)
    torch.manual_seed(3)
    assert torch.equal(dropout(x, 0.5), first)
    assert not torch.equal(first, second)


def test_layers_are_as_before_afterwards() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5), nn.Sequential(nn.Dropout(0.2)))
    before = [type(module) for module in model.modules()]
    with pytest.raises(KeyError), quick_dropout(model):
        assert [type(module) for module in model.modules()] != before
        raise KeyError
    assert [type(module) for module in model.modules()] == before
