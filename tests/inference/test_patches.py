"""Evaluation at several sizes with a trunk that divides images into patches."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from secseg.cue_making.classifier import LocalizationNet
from secseg.cue_making.heads import ActivationMapHead
from secseg.cue_making.maps import MapSettings, class_maps, saliency_map
from secseg.inference.predictor import Predictor, Protocol
from secseg.models import LargeFOVHead, SegmentationNet
from secseg.models.timm_trunk import TimmTrunk
from secseg.utils.errors import UserError

PHOTO = np.random.default_rng(0).integers(0, 256, (40, 160, 3), dtype=np.uint8)


def segmenter(model: str, side: int) -> SegmentationNet:
    torch.manual_seed(0)
    trunk = TimmTrunk(model, None, input_size=side)
    return SegmentationNet(trunk, LargeFOVHead(sum(trunk.channels), 3, 4, 1), "abc", True, side).eval()


def sizes_seen(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    seen: list[tuple[int, ...]] = []
    forward = predictor._forward

    def watched(images: Tensor) -> Tensor:
        seen.append(tuple(images.shape[-2:]))
        return forward(images)

    monkeypatch.setattr(predictor, "_scores", watched)
    predictor.probabilities(PHOTO)
    return seen


@pytest.mark.parametrize("keep_ratio", [False, True])
def test_other_sizes_are_the_nearest_multiples_of_the_patch(monkeypatch: pytest.MonkeyPatch, keep_ratio: bool) -> None:
    protocol = Protocol(input_size=160, scales=[0.75, 1.0, 1.25], keep_ratio=keep_ratio)
    seen = sizes_seen(Predictor(segmenter("test_vit", 160), protocol), monkeypatch)
    squares = [(128, 128), (160, 160), (208, 208)] if not keep_ratio else [(64, 240), (80, 320), (96, 400)]
    assert seen == squares


def test_the_probabilities_of_several_sizes_are_the_mean_of_those_at_each() -> None:
    network = segmenter("test_vit", 160)
    parts = [Predictor(network, Protocol(160, [scale])).probabilities(PHOTO) for scale in (0.5, 1.0)]
    both = Predictor(network, Protocol(160, [0.5, 1.0])).probabilities(PHOTO)
    torch.testing.assert_close(both, sum(parts) / 2)


def test_a_trunk_that_is_built_for_one_size_refuses_others() -> None:
    predictor = Predictor(segmenter("test_vit_relpos", 160), Protocol(160, [1.0, 1.5]))
    with pytest.raises(UserError, match=r"test_vit_relpos.* cannot process images of 241 x 241.*inference\.scales"):
        predictor.probabilities(PHOTO)


def test_maps_and_saliency_are_computed_at_multiples_of_the_patch() -> None:
    torch.manual_seed(0)
    trunk = TimmTrunk("test_vit", None)
    network = LocalizationNet(trunk, ActivationMapHead(64, 2, 8, (1, 3), std=None), ("a", "b"), True, 160).eval()
    settings = MapSettings(scales=(0.5, 1.0, 1.5), mirror=True, grid=(10, 10))
    assert class_maps(network, PHOTO, settings).shape == (2, 10, 10)
    saliency = saliency_map(network, PHOTO, settings)
    assert saliency.shape == (10, 10)
    assert saliency.std() > 0
