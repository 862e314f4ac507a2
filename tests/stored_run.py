"""A run folder with a checkpoint of a tiny network in the real layout, without the training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from secseg.models import SegmentationNet, build_network
from secseg.utils.config import compose, to_plain

CLASSES = ("background", "cat", "dog")
STEPS = 4
TINY = [
    "backbone=timm",
    "backbone.trunk.model=test_efficientnet",
    "backbone.trunk.weights=/home/someone/pretrained.pth",
    "backbone.head.width=16",
    "backbone.head.dilation=2",
    "backbone.input_size=65",
    "run_dir=run",
]
RESULTS: dict[str, Any] = {
    "figures": {
        "without_crf": {"miou": 0.512, "pixel_accuracy": 0.8, "iou": {"background": 0.9, "cat": 0.124, "dog": None}},
        "with_crf": None,
    },
    "losses": {"loss": 1.0},
    "time": {"seconds": 9.0},
    "protocol": {
        "data": "shapes",
        "steps": STEPS,
        "val_split": "val",
        "val_images": 3,
        "train_images": 6,
        "cues": {"source": "simulated for the drawn shapes", "file": "/home/someone/cues.safetensors"},
        "decay": {"pos": 0.996, "neg": 0.0, "bg": 0.999},
        "scored": ["background", "cat"],
        "crf": None,
        "scales": [1.0],
        "mirror": False,
        "input_size": 65,
        "precision": "32-true",
        "checkpoint": "the last step's weights",
    },
}


def write_run(folder: Path, results: dict[str, Any] | None = RESULTS, **backbone: Any) -> SegmentationNet:
    """Write ``checkpoints/last.ckpt`` and ``results.json``; returns the network in evaluation mode."""
    config = to_plain(compose("train", *TINY))
    torch.manual_seed(0)
    network = build_network(config["backbone"], CLASSES, weights=False).eval()
    config["backbone"] |= backbone
    state = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    record = {"config": config, "class_names": list(CLASSES)}
    (folder / "checkpoints").mkdir(parents=True)
    checkpoint = {"state_dict": state, "secseg": record, "global_step": STEPS}
    torch.save(checkpoint, folder / "checkpoints" / "last.ckpt")
    if results is not None:
        (folder / "results.json").write_text(json.dumps(results))
    return network
