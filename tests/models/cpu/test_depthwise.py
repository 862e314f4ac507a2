"""Dilated depthwise convolutions in phases are the same convolutions."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from secseg.models.cpu.depthwise import PhasedDepthwise, in_phases


@pytest.mark.parametrize("dilation", [2, 4, (2, 3)])
@pytest.mark.parametrize("kernel", [3, 5, (3, 5)])
@pytest.mark.parametrize("size", [(1, 1), (9, 12), (41, 40)])
def test_phases_give_the_dilated_convolution_and_its_gradient(
    dilation: int | tuple[int, int], kernel: int | tuple[int, int], size: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    plain = nn.Conv2d(6, 6, kernel, padding=0, dilation=dilation, groups=6).double()
    plain.padding = tuple(d * (k - 1) // 2 for d, k in zip(plain.dilation, plain.kernel_size, strict=True))
    phased = copy.deepcopy(plain)
    in_phases(phased)
    assert type(phased) is PhasedDepthwise
    x = torch.randn(2, 6, *size, dtype=torch.float64)
    torch.testing.assert_close(phased(x), plain(x), atol=1e-12, rtol=0)
    for net in (plain, phased):
        net(x).square().sum().backward()
    torch.testing.assert_close(phased.weight.grad, plain.weight.grad)


def test_other_convolutions_are_left_alone() -> None:
    others = [
        nn.Conv2d(4, 4, 3, padding=1, groups=4),
        nn.Conv2d(4, 4, 3, padding=2, dilation=2),
        nn.Conv2d(4, 4, 3, padding=0, dilation=2, groups=4),
        nn.Conv2d(4, 4, 3, padding=2, dilation=2, groups=4, stride=2),
        nn.Conv2d(4, 4, 3, padding=2, dilation=2, groups=4, padding_mode="reflect"),
    ]
    for other in others:
        in_phases(other)
        assert type(other) is nn.Conv2d
