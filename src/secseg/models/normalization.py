"""The input that the weights of a network expect. It belongs to the weights: data modules serve bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor


@dataclass(frozen=True)
class Normalization:
    """``(x - mean) / std`` of RGB images in 0..255, per channel, in the channel order that the weights expect.

    Attributes:
        mean, std: in units of 0..255, in the order of ``order``.
        order: ``rgb`` or ``bgr``.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    order: Literal["rgb", "bgr"] = "rgb"

    def __call__(self, images: Tensor) -> Tensor:
        """Normalise images (B, 3, H, W), RGB, 0..255, of any type. The result is floating point."""
        x = images if images.is_floating_point() else images.float()
        if self.order == "bgr":
            x = x.flip(1)
        return (x - _by_channel(self.mean, x)) / _by_channel(self.std, x)


def _by_channel(values: Sequence[float], like: Tensor) -> Tensor:
    """Return the values as (1, n, 1, 1). They are filled in on the device: a copy would synchronise with it."""
    return torch.stack([like.new_full((), value) for value in values]).view(1, -1, 1, 1)


def from_unit_range(mean: tuple[float, ...], std: tuple[float, ...]) -> Normalization:
    """Return the normalisation for a mean and standard deviation of RGB in 0..1, as in torchvision and timm."""
    return Normalization(tuple(255 * m for m in mean), tuple(255 * s for s in std))  # type: ignore[arg-type]


# torchvision's IMAGENET1K_V1 and most of timm's weights.
TORCHVISION = from_unit_range((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
# Caffe's VGG: BGR minus the mean, unscaled (official prototxt of SEC).
CAFFE = Normalization((104.0, 117.0, 123.0), (1.0, 1.0, 1.0), "bgr")
# torchvision's IMAGENET1K_FEATURES: Caffe's weights, but the first layer's channels are in RGB order.
CAFFE_RGB = Normalization((123.0, 117.0, 104.0), (1.0, 1.0, 1.0))
