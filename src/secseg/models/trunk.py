"""What every trunk has, and a trunk with a head on it: what networks for masks and for image-level scores share."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn

from secseg.models.normalization import Normalization
from secseg.utils.errors import UserError
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


class TrunkNet(nn.Module):
    """A trunk, which may be frozen, and a head on its feature levels.

    Convolutions run in the channels-last layout, which is faster on CPUs and GPUs alike.

    Args:
        trunk: images to feature levels.
        head: their concatenation to scores.
        class_names: names of the classes.
        freeze: the trunk stays as it is: no gradient, and normalisation layers in evaluation mode.
        input_size: side S of the images that it is trained on, pixels; it takes others too.
    """

    def __init__(
        self, trunk: Trunk, head: nn.Module, class_names: Sequence[str], freeze: bool = False, input_size: int = 321
    ) -> None:
        super().__init__()
        self.trunk, self.head, self.freeze = trunk, head, freeze
        self.class_names = tuple(class_names)
        self.input_size = input_size
        self.to(memory_format=torch.channels_last)
        if freeze:
            trunk.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        if self.freeze:
            self.trunk.eval()
        return self

    def normalized(self, images: Tensor) -> Tensor:
        """Return images (B, 3, S, S), RGB, 0..255, as the trunk wants them, on its device and in its precision."""
        like = next(self.parameters())
        return self.trunk.normalization(images.to(like.device)).to(like.dtype, memory_format=torch.channels_last)

    def features(self, images: Tensor) -> list[Tensor]:
        """Return the trunk's feature levels (B, c, h, w) of images (B, 3, S, S), RGB, 0..255."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.freeze):
            return self.trunk(self.normalized(images))

    def prepared(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Return feature levels (B, c, h, w) in the head's precision and layout."""
        like = next(self.head.parameters())
        # Laid out before they are widened: cached features are in half precision.
        return [level.contiguous(memory_format=torch.channels_last).to(like) for level in features]

    def joined(self, features: Sequence[Tensor]) -> Tensor:
        """Return feature levels concatenated on the finest one's grid, in the head's precision."""
        return concat_levels(self.prepared(features))

    def mask_size(self, input_size: int) -> tuple[int, int]:
        """Return (h, w) of the finest level for square inputs of ``input_size`` pixels, without computing it.

        Raises:
            UserError: where the trunk cannot take that size.
        """
        if input_size < 1:
            raise UserError(f"backbone.input_size={input_size}: an image has at least one pixel.")
        shapes = copy.deepcopy(self.trunk).to("meta").eval()
        try:
            with torch.no_grad():
                levels = shapes(torch.empty(1, 3, input_size, input_size, device="meta"))
        except (RuntimeError, AssertionError) as error:
            raise UserError(
                f"The trunk {self.trunk.architecture} cannot take images of {input_size} x {input_size}: {error}. "
                f"It is made for {self.trunk.trained_size}: try backbone.input_size={self.trunk.trained_size}."
            ) from error
        height, width = finest_level(levels).shape[-2:]
        return int(height), int(width)


def concat_levels(levels: Sequence[Tensor]) -> Tensor:
    """Bring levels (B, c, h, w) to the finest one's grid, with aligned corners, and concatenate their channels."""
    return torch.cat(on_finest_grid(levels), 1)


def on_finest_grid(levels: Sequence[Tensor]) -> list[Tensor]:
    """Bring levels (B, c, h, w) to the finest one's grid, with aligned corners."""
    height, width = finest_level(levels).shape[-2:]
    return [x if x.shape[-2:] == (height, width) else resize_aligned(x, (height, width)) for x in levels]


def trunk_fingerprint(network: TrunkNet) -> str:
    """Return a SHA-256, in hexadecimal, of what the features depend on: weights, strides and normalisation."""
    trunk = network.trunk
    digest = hashlib.sha256(repr((trunk.architecture, trunk.channels, trunk.strides, trunk.normalization)).encode())
    for name, tensor in trunk.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
