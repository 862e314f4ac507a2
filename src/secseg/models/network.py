"""A trunk with a head on it: the segmentation network, and what it shares with the localization networks."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Self

import torch
from torch import Tensor, nn

from secseg.models.cpu import with_fast_convolutions
from secseg.models.head import Head
from secseg.models.input_sizes import InputSizes
from secseg.models.trunk import Trunk, concat_levels
from secseg.utils.checks import check_whole, refuse
from secseg.utils.config import build, find
from secseg.utils.errors import UserError


class TrunkNet(nn.Module):
    """A trunk, which may be frozen, and a head on its feature levels.

    Convolutions run in the channels-last layout, which is faster on CPUs and on GPUs (but see ``TrainedConv``).

    Args:
        class_names: names of the classes.
        freeze: if True, the trunk has no gradient, and its normalisation layers are in evaluation mode.
        input_size: side S of the training images in pixels. Other sizes are possible.

    Attributes:
        kind: what the network is for, as stated in its file (see ``secseg.models.files.model_file``).
    """

    kind: str

    def __init__(
        self, trunk: Trunk, head: nn.Module, class_names: Sequence[str], freeze: bool = False, input_size: int = 321
    ) -> None:
        super().__init__()
        self.trunk, self.head, self.freeze = trunk, head, freeze
        self.class_names = tuple(class_names)
        self.input_size = input_size
        self.to(memory_format=torch.channels_last)
        with_fast_convolutions(self)
        if freeze:
            trunk.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        if self.freeze:
            self.trunk.eval()
        return self

    def normalized(self, images: Tensor) -> Tensor:
        """Return images (B, 3, S, S), RGB, 0..255, as input of the trunk, on its device and in its precision."""
        like = next(self.parameters())
        return self.trunk.normalization(images.to(like.device)).to(like.dtype, memory_format=torch.channels_last)

    def features(self, images: Tensor) -> list[Tensor]:
        """Return the trunk's feature levels (B, c, h, w) of images (B, 3, S, S), RGB, 0..255."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.freeze):
            return self.trunk(self.normalized(images))

    def prepared(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Return feature levels (B, c, h, w) in the head's precision and layout."""
        like = next(self.head.parameters())
        # The layout is changed before the precision: cached features are in half precision, half as much to move.
        return [level.contiguous(memory_format=torch.channels_last).to(like) for level in features]

    def joined(self, features: Sequence[Tensor]) -> Tensor:
        """Return feature levels concatenated on the finest one's grid, in the head's precision."""
        return concat_levels(self.prepared(features))

    def mask_size(self, input_size: int) -> tuple[int, int]:
        """Return (h, w) of the finest level for square images of ``input_size`` pixels. The level is not computed.

        Raises:
            UserError: if the trunk cannot process images of this size, with the nearest sizes that fit.
        """
        refuse(check_whole("backbone.input_size", input_size, 1))
        return InputSizes(self.trunk).grid(input_size)


class SegmentationNet(TrunkNet):
    """A network that maps images (B, 3, S, S), RGB, 0..255, to scores (B, C, h, w).

    The arguments are those of ``TrunkNet``. The first of the C class names is the background.

    Attributes:
        test_crf: the settings ``secseg.crf.AUTO`` of ``crf.test`` that the training run had, as far as they are known.
    """

    kind = "segmentation"
    head: Head
    test_crf: Mapping[str, float] = MappingProxyType({})

    def classify(self, features: Sequence[Tensor]) -> Tensor:
        """Return the scores (B, C, h, w) of feature levels, in the head's precision."""
        return self.head(*self.prepared(features))

    def forward(self, images: Tensor) -> Tensor:
        return self.classify(self.features(images))


def build_trunk(node: Mapping[str, Any], weights: bool) -> Trunk:
    """Build the trunk of a node with ``trunk`` and ``input_size``. ``weights``: whether to load its initial weights.

    Raises:
        UserError: for settings or weights that do not fit.
    """
    kind = find(str(node["trunk"].get("_target_", "")), Trunk)
    size = {"input_size": node["input_size"]} if kind.takes_input_size else {}
    return build(node["trunk"], Trunk, load=weights, **size)


def build_network(backbone: Mapping[str, Any], class_names: Sequence[str], weights: bool = True) -> SegmentationNet:
    """Build the network of a node of ``conf/backbone``, plain.

    Args:
        backbone: ``trunk`` and ``head`` (nodes with ``_target_``), ``freeze`` and ``input_size``.
        class_names: names of the classes, background first.
        weights: whether to load the initial weights of the trunk. They are not needed if a checkpoint is loaded next.

    Raises:
        UserError: for settings or weights that do not fit.
    """
    trunk = build_trunk(backbone, weights)
    head = build(backbone["head"], Head, in_channels=sum(trunk.channels), num_classes=len(class_names))
    if not isinstance(getattr(head, "classifier", None), nn.Module):
        raise UserError(
            f"The head {type(head).__name__} has no attribute classifier. Give its last layer this name (see Head)."
        )
    if (initial := trunk.head_weights()) is not None:
        state = head.state_dict()
        misfits = [name for name, value in initial.items() if name not in state or state[name].shape != value.shape]
        if misfits:
            warnings.warn(
                f"fc6 and fc7 of VGG do not fit this head ({', '.join(misfits)}). It is initialised at random.",
                stacklevel=2,
            )
        else:
            head.load_state_dict({**state, **initial})
    return SegmentationNet(trunk, head, class_names, backbone["freeze"], backbone["input_size"])


def trunk_fingerprint(network: TrunkNet) -> str:
    """Return the SHA-256, in hexadecimal, of what the features depend on: weights, strides and normalisation."""
    trunk = network.trunk
    digest = hashlib.sha256(repr((trunk.architecture, trunk.channels, trunk.strides, trunk.normalization)).encode())
    for name, tensor in trunk.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
