"""Images with image-level labels that a small network learns in seconds: each class is a colour on grey."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from secseg.data.classes import voc_palette
from secseg.data.splits import ImageSet
from tests.tiny_network import BACKBONE

CLASSES = ("background", "red", "green", "blue")
OPTIM = {
    "optimizer": {"_target_": "torch.optim.AdamW", "lr": 3e-3, "weight_decay": 0.01},
    "bias_lr": 1.0,
    "bias_decay": 0.0,
    "classifier_lr": 1.0,
    "caffe_momentum": False,
    "schedule": {"kind": "poly"},
}
NETWORK = {
    "input_size": 65,
    "freeze": False,
    "trunk": BACKBONE["trunk"],
    "head": {
        "_target_": "secseg.cue_making.heads.ActivationMapHead",
        "width": 16,
        "kernels": [1],
        "dropout": 0.0,
        "std": None,
    },
}


def training_node(**changed: Any) -> dict[str, Any]:
    return {
        "network": NETWORK,
        "steps": 40,
        "batch_size": 8,
        "mirror": True,
        "balance": "none",
        "background_share": None,
        "running_maximum": None,
        "holdout": 0.25,
        "validate_every": 20,
        "optim": OPTIM,
        **changed,
    }


def draw(folder: Path, count: int = 32) -> tuple[ImageSet, dict[str, tuple[int, ...]]]:
    """Draw squares in the colours of an image's classes, which are the binary digits of its number: none to three."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    labels: dict[str, tuple[int, ...]] = {}
    for number in range(count):
        classes = tuple(c for c in (1, 2, 3) if number >> (c - 1) & 1)
        image = rng.integers(100, 156, (66, 66, 3), dtype=np.uint8)
        for at, c in zip(rng.permutation(4), classes, strict=False):
            top, left = 33 * (at // 2), 33 * (at % 2)
            image[top : top + 33, left : left + 33] = np.eye(3, dtype=np.uint8)[c - 1] * 255
        name = f"image{number:02}"
        Image.fromarray(image).save(folder / f"{name}.png")
        labels[name] = classes
    paths = tuple(folder / f"{name}.png" for name in labels)
    return ImageSet("toy/train", tuple(labels), paths, None, CLASSES, voc_palette()), labels
