"""Trunk and head as one network: photographs in bytes to scores on the mask's grid."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from secseg.models.head import LargeFOVHead
from secseg.models.trunk import Trunk, TrunkNet
from secseg.utils.config import build


class SegmentationNet(TrunkNet):
    """Images (B, 3, S, S), RGB, 0..255, to scores (B, C, h, w).

    Arguments as ``TrunkNet``; the names of the C classes begin with the background.
    """

    head: LargeFOVHead

    def classify(self, features: Sequence[Tensor]) -> Tensor:
        """Return the scores (B, C, h, w) of feature levels, in the head's precision."""
        return self.head(*self.prepared(features))

    def forward(self, images: Tensor) -> Tensor:
        return self.classify(self.features(images))


def build_network(backbone: Mapping[str, Any], class_names: Sequence[str], weights: bool = True) -> SegmentationNet:
    """Build the network of a ``conf/backbone`` node, plain.

    Args:
        backbone: ``trunk`` and ``head`` (nodes with ``_target_``), ``freeze`` and ``input_size``.
        class_names: names of the classes, background first.
        weights: load the trunk's first weights; False where a checkpoint's are loaded afterwards.

    Raises:
        UserError: for settings or weights that do not fit.
    """
    trunk = build(backbone["trunk"], Trunk, load=weights)
    head = build(backbone["head"], LargeFOVHead, in_channels=sum(trunk.channels), num_classes=len(class_names))
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
