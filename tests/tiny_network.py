"""A checkpoint as training writes it, of a tiny network with random weights whose masks are not empty."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from secseg.data.classes import VOC_CLASSES
from secseg.models import SegmentationNet, build_network

BACKBONE = {
    "name": "timm",
    "input_size": 65,
    "freeze": False,
    "trunk": {
        "_target_": "secseg.models.timm_trunk.TimmTrunk",
        "model": "test_efficientnet",
        "weights": None,
        "output_stride": 8,
        "levels": None,
    },
    "head": {
        "_target_": "secseg.models.head.LargeFOVHead",
        "width": 16,
        "dilation": 2,
        "dropout": 0.5,
        "reduce": None,
    },
}


def tiny_network(class_names: Sequence[str] = VOC_CLASSES, seed: int = 0) -> SegmentationNet:
    torch.manual_seed(seed)
    network = build_network(BACKBONE, class_names)
    for module in network.head.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.normal_(module.weight, std=0.5)
    return network.eval()


def write_run(
    folder: Path, class_names: Sequence[str] = VOC_CLASSES, seed: int = 0, step: int = 300, steps: int = 300
) -> Path:
    """Write ``checkpoints/last.ckpt``, of a step out of ``steps``, into ``folder`` and return the folder."""
    network = tiny_network(class_names, seed)
    record = {"config": {"backbone": BACKBONE, "trainer": {"max_steps": steps}}, "class_names": list(class_names)}
    checkpoint = {
        "state_dict": {f"network.{name}": tensor for name, tensor in network.state_dict().items()},
        "secseg": record,
        "global_step": step,
    }
    (folder / "checkpoints").mkdir(parents=True)
    torch.save(checkpoint, folder / "checkpoints" / "last.ckpt")
    return folder
