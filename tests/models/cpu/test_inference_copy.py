"""The copy for inference on a CPU computes what the network does, whatever its trunk."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from secseg.models import SegmentationNet, fast_copy
from secseg.models.cpu.inference_copy import FusedConv
from secseg.models.head import LargeFOVHead
from secseg.models.timm_trunk import TimmTrunk, Trunk
from tests.tiny_network import tiny_network


def trained(trunk: Trunk, size: int = 65) -> SegmentationNet:
    """A network whose normalisations have seen images, so that their statistics are no longer 0 and 1."""
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
        ("mobilenetv3_small_050", 32, 0),  # an activation that is applied apart
        ("resnet18", 16, 0),  # activations after the sum with the shortcut
        ("densenet121", 32, 62),  # normalisations before their convolution stay
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
    """Registers what follows each other out of order, and changes a convolution's output before it is normalised."""

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


def test_what_follows_what_is_seen_in_a_pass() -> None:
    network = trained(Tangled(), size=33)
    images = torch.randint(0, 256, (1, 3, 33, 33))
    with torch.inference_mode():
        fast = fast_copy(network)
        assert kinds(fast, FusedConv) == kinds(fast, nn.BatchNorm2d) == 1, "the sum is normalised where it is made"
        torch.testing.assert_close(fast(images), network(images), rtol=0, atol=1e-5)


def test_under_autocast_the_convolutions_run_in_half_precision() -> None:
    network = tiny_network()
    fast, seen = fast_copy(network), []
    convolution = next(module for module in fast.modules() if isinstance(module, FusedConv))
    convolution.register_forward_hook(lambda _, __, output: seen.append(output.dtype))
    images = torch.randint(0, 256, (1, 3, 65, 65))
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        scores = fast(images)
    assert seen == [torch.bfloat16]
    with torch.inference_mode():
        difference = (scores.float() - network(images)).abs().max() / network(images).abs().max()
    assert 1e-4 < difference < 0.1
