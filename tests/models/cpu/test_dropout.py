"""Dropout from random bytes is dropout."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from secseg.models.cpu.dropout import Dropout


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


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_any_layout_and_number_of_elements_will_do(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x = torch.ones(3, 7, 11, 13, dtype=dtype)
    layouts = [
        x.contiguous(memory_format=torch.channels_last),
        x.transpose(1, 3),
        x[:, ::2],
        x[:1].expand(3, 7, 11, 13),
    ]
    for layout in [*layouts, x[0, 0, 0, 0]]:
        y = Dropout(0.5)(layout)
        assert y.shape == layout.shape
        assert set(y.flatten().tolist()) <= {0.0, 2.0}
        assert 0.4 < (y == 0).float().mean() < 0.6 or y.ndim == 0
    assert Dropout(0.5)(x[:0]).shape == (0, 7, 11, 13)


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
