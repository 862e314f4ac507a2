"""Cue making on a fake device: the classifier's training, and the maps of an image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import secseg.cue_making.training
from secseg.cue_making.classifier import LocalizationNet, build_localization_net
from secseg.cue_making.maps import MapSettings, class_maps, saliency_map
from secseg.cue_making.training import average_precision, train_classifier
from tests.cue_making import toy
from tests.devices.conftest import Plant
from tests.devices.fake import MEANT, NoFloat64, fake_device, needs_fake_cuda
from tests.devices.test_training import LIGHTNING

pytestmark = [needs_fake_cuda, pytest.mark.filterwarnings("ignore:'pin_memory' argument is set as true")]

BETWEEN_STEPS = (
    *LIGHTNING,
    "cue_making.training.average_precision",
    "cue_making.training._fit",
    "cue_making.snapshots.Snapshots.on_train_batch_end",
    "cue_making.stopping.StopWhenPerfect.on_validation_end",
    "training.checkpoints.CheckpointFiles.save_checkpoint",
    "training.checkpoints.Checkpoints.on_validation_end",
    "training.feature_cache.FeatureCache._compute",
    "models.files.model_file.write_model",
    "models.network.trunk_fingerprint",
)
MAPS = ("models.network.TrunkNet.normalized", "cue_making.maps.class_maps", "cue_making.maps.saliency_map")


def train_a_classifier(device: str, precision: str, folder: Path) -> dict[str, int]:
    """Train two steps with a validation after each; return the waits."""
    images, labels = toy.draw(folder / "images", 8)
    changed = {"balance": "equal", "background_share": 0.2, "running_maximum": 1}
    node = toy.training_node(steps=2, validate_every=1, batch_size=2, **changed)
    network = build_localization_net(node["network"], toy.CLASSES[1:])
    with fake_device(device, meant=(*MEANT, *BETWEEN_STEPS)) as fake:
        options = {"device": device.partition(":")[0], "precision": precision, "workers": 0, "callbacks": []}
        results = train_classifier(network, images, labels, node, folder / "run", **options)
    assert results["steps"] == 2
    return dict(fake.waits)


@pytest.mark.parametrize(("device", "precision"), [("cuda:0", "bf16-mixed"), ("mps:0", "32-true")])
def test_a_classifier_is_trained_on_the_device(device: str, precision: str, tmp_path: Path) -> None:
    waits = train_a_classifier(device, precision, tmp_path)
    monitor = "raise_if_not_finite" if device == "cuda:0" else "check"
    in_steps = {name: count for name, count in waits.items() if name in MEANT}
    assert in_steps == {f"training.monitor.LossMonitor.{monitor}": 2}


def test_a_fault_in_the_training_of_a_classifier_is_found(plant: Plant, tmp_path: Path) -> None:
    with plant(secseg.cue_making.training, "background_loss") as device:
        train_a_classifier(device, "32-true", tmp_path)


def compute_maps(device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the class activation maps of an image, one pass from cached features, and its saliency."""
    image = np.zeros((20, 30, 3), np.uint8)
    network = build_localization_net(toy.NETWORK, toy.CLASSES[1:]).eval()
    settings = MapSettings(scales=(1.0, 0.75), mirror=True, grid=(9, 9))
    with fake_device(device, meant=(*MEANT, *MAPS)) as fake:
        network.to(fake.device)
        features = [[torch.zeros(channels, 9, 9, dtype=torch.float16) for channels in network.trunk.channels]] * 2
        return class_maps(network, image, settings, features), saliency_map(network, image, settings)


@pytest.mark.parametrize("device", ["cuda:0", "mps:0"])
def test_the_maps_of_an_image_come_from_the_device(device: str) -> None:
    maps, saliency = compute_maps(device)
    assert (maps.shape, maps.device.type) == ((3, 9, 9), "cpu")
    assert (saliency.shape, saliency.device.type) == ((9, 9), "cpu")


@pytest.mark.parametrize("function", ["activation_maps_of", "saliency"])
def test_a_fault_in_the_maps_is_found(function: str, plant: Plant) -> None:
    with plant(LocalizationNet, function) as device:
        compute_maps(device)


def test_the_average_precision_is_computed_on_the_host() -> None:
    with fake_device("mps:0", meant=["cue_making.training.average_precision"]) as fake:
        scores, labels = (torch.zeros(4, 2).to(fake.device) for _ in range(2))
        average_precision(scores, labels)
        with pytest.raises(NoFloat64):
            scores.double()
    assert fake.waits == {"cue_making.training.average_precision": 2}
