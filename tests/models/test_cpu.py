"""The faster layers and copies for a CPU give the results of what they replace."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from secseg.models import SegmentationNet, fast_copy
from secseg.models.cpu import (
    Dropout,
    PhasedDepthwise,
    PointwiseConv,
    SameConv,
    TrainedConv,
    in_phases,
    with_fast_convolutions,
)
from secseg.models.head import LargeFOVHead
from secseg.models.timm_trunk import TimmTrunk, Trunk
from tests.tiny_network import tiny_network


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_drops_elements_not_channels_with_the_probability_and_keeps_the_mean(p: float) -> None:
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
def test_dropout_takes_any_layout_and_number_of_elements(dtype: torch.dtype) -> None:
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


def test_dropout_in_evaluation_and_with_probability_0_or_1_is_torchs_own() -> None:
    x = torch.randn(2, 3, 4, 4)
    assert torch.equal(Dropout(0.5).eval()(x), x)
    for p in (0.0, 1.0):
        assert torch.equal(Dropout(p)(x), nn.Dropout(p)(x))


def test_dropout_follows_torchs_seed() -> None:
    x = torch.ones(2, 8, 9, 9)
    torch.manual_seed(3)
    first = Dropout(0.5)(x)
    second = Dropout(0.5)(x)
    torch.manual_seed(3)
    assert torch.equal(Dropout(0.5)(x), first)
    assert not torch.equal(first, second)


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


def test_other_convolutions_are_not_changed() -> None:
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


def trained(trunk: Trunk, size: int = 65) -> SegmentationNet:
    """A network whose normalisations have processed images, so that their statistics are not 0 and 1."""
    torch.manual_seed(0)
    head = LargeFOVHead(sum(trunk.channels), 5, width=8, dilation=1)
    network = SegmentationNet(trunk, head, "abcde", input_size=size)
    with torch.no_grad():
        network.train()(torch.randint(0, 256, (4, 3, size, size)))
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.3)
    return network.eval()


def kinds(network: nn.Module, kind: type) -> int:
    return sum(isinstance(module, kind) for module in network.modules())


@pytest.mark.parametrize(
    ("model", "stride", "left"),
    [
        ("tf_efficientnet_lite0", 32, 0),  # SAME padding
        ("tf_efficientnet_lite0", 8, 0),  # and dilated depthwise convolutions
        ("mobilenetv3_small_050", 32, 0),  # an activation after the normalisation
        ("resnet18", 16, 0),  # activations after the sum with the shortcut
        ("densenet121", 32, 62),  # normalisations before their convolution are kept
        ("convnext_atto", 32, 0),  # nothing to fold
    ],
)
def test_the_copy_equals_the_network(model: str, stride: int, left: int) -> None:
    network = trained(TimmTrunk(model, None, stride))
    before = copy.deepcopy(network.state_dict())
    fast = fast_copy(network)
    assert kinds(fast, nn.BatchNorm2d) == left
    for size in (65, 70):  # SAME padding is the same on both sides, or not
        images = torch.randint(0, 256, (2, 3, size, size))
        with torch.inference_mode():
            expected, got = network(images), fast(images)
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-4 * float(expected.abs().max()))
    torch.testing.assert_close(network.state_dict(), before, rtol=0, atol=0)


class Tangled(Trunk):
    """Registers its modules in another order than it calls them, and changes the output of a convolution in place."""

    channels, strides, trained_size, architecture = (4,), (2,), 33, "tangled"
    normalization = tiny_network().trunk.normalization

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, padding=1)
        self.norm_of_second, self.norm_of_first = nn.BatchNorm2d(4), nn.BatchNorm2d(4)

    def forward(self, images: Tensor) -> list[Tensor]:
        x = self.norm_of_first(self.first(images))
        y = self.second(x)
        y += x
        return [self.norm_of_second(y)]


def test_the_copy_folds_by_the_order_of_the_calls_not_of_the_registration() -> None:
    network = trained(Tangled(), size=33)
    images = torch.randint(0, 256, (1, 3, 33, 33))
    with torch.inference_mode():
        fast = fast_copy(network)
        assert kinds(network, nn.BatchNorm2d) == 2
        assert kinds(fast, nn.BatchNorm2d) == 1, "the sum is normalised where it is made"
        torch.testing.assert_close(fast(images), network(images), rtol=0, atol=1e-5)


def test_under_autocast_the_convolutions_run_in_half_precision() -> None:
    network = tiny_network()
    fast, seen = fast_copy(network), []
    convolution = next(module for module in fast.modules() if isinstance(module, nn.Conv2d))
    convolution.register_forward_hook(lambda _, __, output: seen.append(output.dtype))
    images = torch.randint(0, 256, (1, 3, 65, 65))
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        scores = fast(images)
    assert seen == [torch.bfloat16]
    with torch.inference_mode():
        difference = (scores.float() - network(images)).abs().max() / network(images).abs().max()
    assert 1e-4 < difference < 0.1


@pytest.mark.parametrize(("side", "symmetric"), [(65, True), (64, False)])
def test_same_padding_copies_the_input_only_if_it_differs_between_the_sides(side: int, symmetric: bool) -> None:
    conv = nn.Conv2d(3, 4, 3, 2)
    image = torch.randn(1, 3, side, side)
    expected = conv(nn.functional.pad(image, (1, 1, 1, 1) if symmetric else (0, 1, 0, 1)))
    conv.__class__ = SameConv
    torch.testing.assert_close(conv(image), expected)


@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (1, 12), (2, 1)])
@pytest.mark.parametrize("bias", [True, False])
def test_gradients_in_two_layouts_are_those_of_one(stride: int, dilation: int, bias: bool) -> None:
    torch.manual_seed(0)
    plain = nn.Conv2d(5, 256, 3, stride, dilation, dilation, bias=bias).to(memory_format=torch.channels_last)
    trained = copy.deepcopy(plain)
    with_fast_convolutions(trained)
    assert type(trained) is TrainedConv
    results = []
    for conv in (plain, trained):
        x = torch.randn(2, 5, 19, 23, generator=torch.Generator().manual_seed(1)).requires_grad_()
        y = conv(x.contiguous(memory_format=torch.channels_last))
        y.sin().sum().backward()
        results.append([y.detach(), x.grad, *(p.grad for p in conv.parameters())])
    for one, two in zip(*results, strict=True):
        torch.testing.assert_close(two, one, rtol=1e-5, atol=1e-4)
    assert trained.weight.grad.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(("stride", "padding", "groups"), [(1, 0, 1), (2, 0, 2), (1, 1, 1)])
def test_a_pointwise_convolution_gives_the_same_dilated_or_not(stride: int, padding: int, groups: int) -> None:
    torch.manual_seed(0)
    plain = nn.Conv2d(6, 8, 1, stride, padding, groups=groups)
    fast = copy.deepcopy(plain)
    with_fast_convolutions(fast)
    assert type(fast) is PointwiseConv
    results = []
    for conv in (plain, fast):
        x = torch.ones(2, 6, 9, 7).cumsum(2).requires_grad_()
        y = conv(x)
        y.sin().sum().backward()
        results.append([y.detach(), x.grad, *(p.grad for p in conv.parameters())])
    for one, two in zip(*results, strict=True):
        torch.testing.assert_close(two, one, rtol=1e-5, atol=1e-4)


def test_a_frozen_or_mixed_precision_convolution_runs_as_torchs_own() -> None:
    conv = nn.Conv2d(3, 256, 3)
    with_fast_convolutions(conv)
    x = torch.randn(1, 3, 9, 9)
    assert "TwoLayouts" in type(conv(x).grad_fn).__name__
    with torch.autocast("cpu", torch.bfloat16):
        mixed = conv(x)
    assert mixed.dtype == torch.bfloat16
    assert "TwoLayouts" not in type(mixed.grad_fn).__name__
    conv.requires_grad_(False)
    assert conv(x.requires_grad_()).grad_fn.name() == "ConvolutionBackward0"
