"""One flat tensor instead of many parameters: the same arithmetic as torch's own Adam and clipping."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from textrlhf.agents.training.optimizer import FlatAdam
from textrlhf.records.run import DivergedError


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 2)).double()


@pytest.mark.parametrize("max_grad_norm", [0.05, 1e6])
def test_equals_torch_adam_with_clipping(max_grad_norm: float) -> None:
    ours, theirs = network(), network()
    flat = FlatAdam(ours, eps=1e-5)
    adam = torch.optim.Adam(theirs.parameters(), eps=1e-5)
    data = torch.Generator().manual_seed(1)
    for i in range(30):
        x = torch.randn(16, 5, generator=data).double()
        learning_rate = 0.01 / (i + 1)
        flat.zero()
        flat.add((ours(x[:3]) ** 2).mean(), 3 / len(x))
        flat.add((ours(x[3:]) ** 2).mean(), 1 - 3 / len(x))
        flat.step(learning_rate, max_grad_norm)
        adam.param_groups[0]["lr"] = learning_rate
        adam.zero_grad()
        (theirs(x) ** 2).mean().backward()
        nn.utils.clip_grad_norm_(theirs.parameters(), max_grad_norm)
        adam.step()
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other, atol=1e-12, rtol=1e-9)


def test_parameters_are_views_without_frozen_ones() -> None:
    net = network()
    net[0].weight.requires_grad_(False)
    before = net[0].weight.clone()
    flat = FlatAdam(net)
    assert len(flat.flat) == sum(p.numel() for p in net.parameters()) - before.numel()
    flat.flat.zero_()
    assert not net[2].weight.any()
    assert torch.equal(net[0].weight, before)


def test_moved_network_is_noticed() -> None:
    """Steps would change the flat tensor only: training would go on and learn nothing."""
    net = network()
    flat = FlatAdam(net)
    flat.zero()
    net.float()
    with pytest.raises(RuntimeError, match="moved or its parameters were replaced after its optimizer was made"):
        flat.zero()


def test_gradient_that_is_not_finite_is_noticed() -> None:
    flat = FlatAdam(network())
    flat.gradient.fill_(float("nan"))
    flat.step(0.1, 1.0)
    with pytest.raises(DivergedError, match="a gradient after update 3 is not finite"):
        flat.check_finite("after update 3")
    flat.check_finite("after update 4")  # each is reported once


def test_moments_of_another_network_raise() -> None:
    with pytest.raises(ValueError, match="58 entries for 12 parameters"):
        FlatAdam(nn.Linear(5, 2)).load_tensors(FlatAdam(network()).tensors())
