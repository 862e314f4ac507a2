"""Dropout from random bytes is dropout."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from secseg.networks.dropout import Dropout


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_it_drops_elements_not_channels_with_the_probability_and_keeps_the_mean(p: float) -> None:
    torch.manual_seed(0)
    x = torch.ones(4, 16, 41, 41, requires_grad=True)
    y = Dropout(p)(x)
    dropped = (y == 0).float()
    assert dropped.mean().item() == pytest.approx(p, abs=0.005)
    assert y.mean().item() == pytest.approx(1, abs=0.02)
    by_channel = dropped.mean((2, 3))
    assert by_channel.std() < 0.05, "whole channels are dropped"
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())


def test_in_evaluation_and_with_probability_0_or_1_it_is_torchs_own() -> None:
    x = torch.randn(2, 3, 4, 4)
    assert torch.equal(Dropout(0.5).eval()(x), x)
    for p in (0.0, 1.0):
        assert torch.equal(Dropout(p)(x), nn.Dropout(p)(x))


def test_it_follows_torchs_seed() -> None:
    x = torch.ones(2, 8, 9, 9)
    torch.manual_seed(3)
    first = Dropout(0.5)(x)
    second = Dropout(0.5)(x)
    torch.manual_seed(3)
    assert torch.equal(Dropout(0.5)(x), first)
    assert not torch.equal(first, second)
