"""Trunk and head as one network: photographs in bytes to scores on the mask's grid."""

from __future__ import annotations

import copy
import hashlib
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from secseg.config import build
from secseg.errors import UserError
from secseg.networks.head import LargeFOVHead
from secseg.networks.trunk import Trunk
from secseg.resizing import resize_aligned


class SegmentationNet(nn.Module):
    """Images (B, 3, S, S), RGB, 0..255, to scores (B, C, h, w).

    Feature levels are brought to the finest level's grid with aligned corners and concatenated. Convolutions run in the
    channels-last layout, which is faster on CPUs and GPUs alike.

    Args:
        trunk: images to feature levels.
        head: their concatenation to scores.
        class_names: names of the C classes, background first.
        freeze: the trunk stays as it is: no gradient, and normalisation layers in evaluation mode.
        input_size: side S of the images that it is trained on, pixels; it takes others too.
    """

    def __init__(
        self,
        trunk: Trunk,
        head: LargeFOVHead,
        class_names: Sequence[str],
        freeze: bool = False,
        input_size: int = 321,
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

    def features(self, images: Tensor) -> list[Tensor]:
        """Return the trunk's feature levels (B, c, h, w) of images (B, 3, S, S), RGB, 0..255."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.freeze):
            x = self.trunk.normalization(images.to(next(self.parameters()).device))
            x = x.to(next(self.parameters()).dtype, memory_format=torch.channels_last)
            return self.trunk(x)

    def classify(self, features: Sequence[Tensor]) -> Tensor:
        """Return the scores (B, C, h, w) of feature levels, in the head's precision."""
        like = self.head.classifier.weight
        levels = [level.to(like).contiguous(memory_format=torch.channels_last) for level in features]
        finest = max((level.shape[-2:] for level in levels), key=lambda size: size[0] * size[1])
        size = (finest[0], finest[1])
        return self.head(torch.cat([x if x.shape[-2:] == size else resize_aligned(x, size) for x in levels], 1))

    def forward(self, images: Tensor) -> Tensor:
        return self.classify(self.features(images))

    def mask_size(self, input_size: int) -> tuple[int, int]:
        """Return (h, w) of the scores for square inputs of ``input_size`` pixels, without computing them.

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
        height, width = max((level.shape[-2:] for level in levels), key=lambda size: size[0] * size[1])
        return int(height), int(width)


def build_network(backbone: Mapping[str, Any], class_names: Sequence[str], weights: bool = True) -> SegmentationNet:
    """Build the network of a ``conf/backbone`` node, plain.

    Args:
        backbone: ``trunk`` and ``head`` (nodes with ``_target_``), ``freeze`` and ``input_size``.
        class_names: names of the classes, background first.
        weights: load the trunk's first weights; False where a checkpoint's are loaded afterwards.

    Raises:
        UserError: for settings or weights that do not fit.
    """
    trunk = build(backbone["trunk"], load=weights)
    head = build(backbone["head"], in_channels=sum(trunk.channels), num_classes=len(class_names))
    if (first := trunk.head_weights()) is not None:
        state = head.state_dict()
        misfits = [name for name, value in first.items() if name not in state or state[name].shape != value.shape]
        if misfits:
            warnings.warn(
                f"fc6 and fc7 of VGG do not fit a head of another shape ({', '.join(misfits)}): it is drawn at random.",
                stacklevel=2,
            )
        else:
            head.load_state_dict({**state, **first})
    return SegmentationNet(trunk, head, class_names, backbone["freeze"], backbone["input_size"])


def trunk_fingerprint(network: SegmentationNet) -> str:
    """Return a SHA-256, in hexadecimal, of what the features depend on: weights, strides and normalisation."""
    trunk = network.trunk
    digest = hashlib.sha256(repr((trunk.architecture, trunk.channels, trunk.strides, trunk.normalization)).encode())
    for name, tensor in trunk.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
