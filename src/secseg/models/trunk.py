"""What every trunk has, and how its feature levels are brought to one grid."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from secseg.models.normalization import Normalization
from secseg.utils.resizing import resize_aligned


class Trunk(nn.Module):
    """What every trunk has.

    Attributes:
        channels: channels of each feature level.
        strides: stride of each feature level; the mask has the finest.
        normalization: what its weights want to see.
        trained_size: side of the images that its weights were made with, in pixels; said where another does not fit.
        architecture: what tells it from other trunks whose tensors have the same shapes.
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...]
    normalization: Normalization
    trained_size: int
    architecture: str

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the feature levels (B, c, h, w) of normalised images (B, 3, H, W)."""
        raise NotImplementedError

    def units(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the units (B, c, h, w) whose gradient tells which locations are salient, and the levels.

        Here the finest level, of which the deeper ones are computed where the model is a chain of stages.
        """
        levels = self(images)
        return finest_level(levels), levels

    def head_weights(self) -> dict[str, Tensor] | None:
        """Return initial weights for a LargeFOVHead, where the trunk's source has some."""
        return None


def finest_level(levels: Sequence[Tensor]) -> Tensor:
    """Return the level (B, c, h, w) of the most locations, the first where several have as many."""
    return max(levels, key=lambda level: level.shape[-2] * level.shape[-1])


def concat_levels(levels: Sequence[Tensor]) -> Tensor:
    """Bring levels (B, c, h, w) to the finest one's grid, with aligned corners, and concatenate their channels."""
    return torch.cat(on_finest_grid(levels), 1)


def on_finest_grid(levels: Sequence[Tensor]) -> list[Tensor]:
    """Bring levels (B, c, h, w) to the finest one's grid, with aligned corners."""
    height, width = finest_level(levels).shape[-2:]
    return [x if x.shape[-2:] == (height, width) else resize_aligned(x, (height, width)) for x in levels]
