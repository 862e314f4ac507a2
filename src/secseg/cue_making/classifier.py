"""Localization networks: classifiers with multi-label scores, class activation maps and saliency."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from secseg.cue_making.heads import ScoreHead
from secseg.models.files.load import build_stored
from secseg.models.files.model_file import read_model
from secseg.models.network import TrunkNet, build_trunk
from secseg.utils.config import build
from secseg.utils.errors import UserError


class LocalizationNet(TrunkNet):
    """Images (B, 3, S, S), RGB, 0..255, to scores (B, K), one per foreground class.

    Feature levels are brought to the finest level's grid with aligned corners and concatenated. Arguments as
    ``TrunkNet``; the names of the K classes do not include the background. Maps need evaluation mode, without dropout.
    """

    kind = "localization"
    head: ScoreHead

    def classify(self, features: Sequence[Tensor]) -> Tensor:
        """Return the scores (B, K) of feature levels (B, c, h, w), in the head's precision or float32."""
        return self.head(self.joined(features))

    def forward(self, images: Tensor) -> Tensor:
        return self.classify(self.features(images))

    def activation_maps_of(self, features: Sequence[Tensor]) -> Tensor:
        """Return the class activation maps (B, K, h, w) of feature levels (B, c, h, w).

        The maps are ``sum_k w_{k,c} A_k`` and may be negative. The mean of a map (with ranked pooling: a weighted mean)
        is the score of the class. A head without class activation maps raises a UserError.
        """
        return self.head.maps(self.joined(features))

    def activation_maps(self, images: Tensor) -> Tensor:
        """Return the class activation maps (B, K, h, w) of images (B, 3, S, S); see ``activation_maps_of``."""
        return self.activation_maps_of(self.features(images))

    def saliency(self, images: Tensor) -> Tensor:
        """Return how much the scores depend on each grid cell of images (B, 3, S, S): (B, h, w), at least 0.

        Saliency is the largest absolute value, over the channels, of the gradient of the sum of all K scores with
        respect to units inside the trunk (``Trunk.units``). These are VGG-16's conv4_1 before its ReLU, so a unit that
        is off has saliency 0, and the finest level of other trunks. The gradient flows through the deeper layers of the
        trunk, even of a frozen one: at the last features, under a linear head with average pooling, it would be the
        same in every cell.

        Source: the paper's background network, for conv4_1; other trunks are ours.
        """
        with torch.inference_mode(False), torch.enable_grad():
            units, levels = self.trunk.units(self.normalized(images).requires_grad_())
            (gradient,) = torch.autograd.grad(self.classify(levels).sum(), units)
        return gradient.abs().amax(1)


def build_localization_net(
    node: Mapping[str, Any], class_names: Sequence[str], weights: bool = True, key: str = "network"
) -> LocalizationNet:
    """Build the network of a node of ``conf/localization`` (``foreground.network``), plain.

    Args:
        node: ``trunk`` and ``head`` (nodes with ``_target_``), ``freeze`` and ``input_size``.
        class_names: names of the K foreground classes.
        weights: load the trunk's initial weights; False if trained weights are loaded afterwards.
        key: the node's key in the config, for messages: ``localization.foreground.network``.

    Raises:
        UserError: for settings or weights that do not fit.
    """
    with _named(key):
        trunk = build_trunk(node, weights)
        head = build(node["head"], ScoreHead, in_channels=sum(trunk.channels), num_classes=len(class_names))
        network = LocalizationNet(trunk, head, class_names, node["freeze"], node["input_size"])
        if weights:  # a trained network was checked when it was first built
            network.mask_size(network.input_size)
        return network


def load_localization(path: str | Path) -> LocalizationNet:
    """Return the localization network of a file of ``write_model``, in evaluation mode. No code from the file is run.

    Raises:
        UserError: if the file is missing, damaged or something else, or was written by a newer version.
    """
    path = Path(path).expanduser()
    stored = read_model(path, LocalizationNet.kind)
    return build_stored(stored, f"localization network {path}", ScoreHead, build_localization_net)


@contextmanager
def _named(key: str) -> Iterator[None]:
    """Let messages about trunks, which name keys of ``backbone``, name those of ``key``."""
    try:
        yield
    except UserError as error:
        text = re.sub(r"\bbackbone\.", f"{key}.", str(error))
        raise UserError(re.sub(r"\bbackbone=", "localization=", text)) from error
