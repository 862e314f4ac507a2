"""What every trunk has, and how feature levels are resized to one grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from secseg.models.normalization import Normalization
from secseg.models.pretraining import UNKNOWN
from secseg.utils.resizing import resize_aligned


class Trunk(nn.Module):
    """A trunk, which maps images to feature levels.

    The constructor of a trunk takes its own options, and ``load``: whether to read its initial weights. If it sets
    ``takes_input_size``, it also takes ``input_size``, the side of the training images in pixels.

    Attributes:
        channels, strides: of each feature level. The mask has the finest stride.
        normalization: the input that the weights expect.
        trained_size: side of the images that the weights were trained on, in pixels.
        architecture: a name that differs between trunks whose tensors have the same names and shapes.
        pretraining: what its initial weights were trained on, and with which supervision; a text for the protocol.
    """

    takes_input_size: ClassVar[bool] = False
    channels: tuple[int, ...]
    strides: tuple[int, ...]
    normalization: Normalization
    trained_size: int
    architecture: str
    pretraining: str = UNKNOWN

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the feature levels (B, c, h, w) of normalised images (B, 3, H, W)."""
        raise NotImplementedError

    def units(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the units (B, c, h, w) whose gradient is the saliency, and the feature levels.

        By default the units are the finest level. In a chain of stages, the deeper levels are computed from it.
        """
        levels = self(images)
        return finest_level(levels), levels

    def head_weights(self) -> dict[str, Tensor] | None:
        """Return initial weights for a LargeFOVHead, or None if the source of the weights has none."""
        return None


def finest_level(levels: Sequence[Tensor]) -> Tensor:
    """Return the level (B, c, h, w) with the most grid cells; the first one of several."""
    return max(levels, key=lambda level: level.shape[-2] * level.shape[-1])


def concat_levels(levels: Sequence[Tensor]) -> Tensor:
    """Resize levels (B, c, h, w) to the finest one's grid, with aligned corners, and concatenate their channels."""
    return torch.cat(on_finest_grid(levels), 1)


def on_finest_grid(levels: Sequence[Tensor]) -> list[Tensor]:
    """Resize levels (B, c, h, w) to the finest one's grid, with aligned corners."""
    height, width = finest_level(levels).shape[-2:]
    return [x if x.shape[-2:] == (height, width) else resize_aligned(x, (height, width)) for x in levels]
