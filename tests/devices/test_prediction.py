"""Prediction on a fake device: the network, the CRF, and the masks and probabilities that come to the host."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from secseg.evaluation import SegmentationScore
from secseg.inference.predictor import Prediction, build_predictor
from secseg.models import SegmentationNet
from secseg.utils.config import compose, to_plain
from tests.devices.conftest import Plant
from tests.devices.fake import MEANT, fake_device, needs_fake_cuda
from tests.tiny_network import tiny_network

pytestmark = needs_fake_cuda

FOR_AN_IMAGE = {
    "models.network.TrunkNet.normalized": "the image goes to the device",
    "utils.parallel.Batched._compute": "the scores of a batch are complete",
    "inference.predictor.Predictor.probabilities": "the labels go to the device",
    "inference.full_size.predict_mask": "the mask, without and with the CRF",
    "inference.full_size.crf_classes": "the classes that the CRF gets",
    "inference.full_size.refine_classes": "their numbers go to the device",
    "inference.full_size.apply_crf": "the image of the CRF goes to the device",
    "inference.predictor.Predictor.__call__": "the probabilities",
}
"""Where the host waits for the device in a prediction, apart from those of the CRF."""

CLASSES = ("background", "cat", "dog")
EXACT_AT_TEST = ["crf.test.backend=exact", "crf.test.widths_at=null", "crf.test.widths_from=null"]


def predict(device: str, *settings: str, allowed: list[int] | None = None) -> tuple[Prediction, dict[str, int]]:
    """Predict the mask of an image of 20 x 30 pixels; return the prediction, and the waits."""
    config = to_plain(compose("predict", "ckpt=none", "images=none", *settings))
    network = tiny_network(CLASSES)
    with fake_device(device, meant=(*MEANT, *FOR_AN_IMAGE)) as fake:
        predictor, _ = build_predictor(network.to(fake.device), config["inference"], config["crf"]["test"])
        return predictor(np.zeros((20, 30, 3), np.uint8), allowed), dict(fake.waits)


@pytest.mark.parametrize("device", ["cuda:0", "mps:0"])
@pytest.mark.parametrize(
    ("settings", "allowed"),
    [
        ([], None),
        (["inference.precision=bf16", "inference.mirror=true", "crf=objects"], [1]),
        (["inference.scales=[0.5,1]", "inference.drop_labels_below=0.1", "crf.test.backend=par"], [1, 2]),
        (["inference.keep_ratio=true", *EXACT_AT_TEST], None),
    ],
)
def test_a_prediction_comes_from_the_device(settings: list[str], allowed: list[int] | None, device: str) -> None:
    found, waits = predict(device, *settings, allowed=allowed)
    assert {name: mask.shape for name, mask in found.masks.items()} == {"without_crf": (20, 30), "with_crf": (20, 30)}
    assert found.probs.device.type == "cpu"
    assert (len(found.classes), found.num_classes) == (len(found.kept_probs), 3)
    assert waits["inference.full_size.predict_mask"] == 2


def test_a_fault_in_a_prediction_is_found(plant: Plant) -> None:
    with plant(SegmentationNet, "classify") as device:
        predict(device)


def test_a_score_reads_the_masks_from_the_device_once_each() -> None:
    score = SegmentationScore(CLASSES)
    with fake_device(meant=["evaluation.metrics._flat"]) as fake:
        masks = [torch.zeros(4, 5, dtype=torch.uint8).to(fake.device) for _ in range(2)]
        score.update(*masks)
    assert score.confusion[0, 0] == 20
    assert fake.waits == {"evaluation.metrics._flat": 2}
