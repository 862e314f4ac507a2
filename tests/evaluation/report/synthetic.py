"""Run folders in the real layout, without a training: predictions are the truth with patches of wrong classes."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from hydra import compose, initialize_config_dir

from secseg.data.classes import VOID
from secseg.data.masks import read_mask
from secseg.data.shapes import SHAPES_CLASSES, draw_shapes
from secseg.evaluation.metrics import SegmentationScore
from secseg.evaluation.predictions import ImagePredictions
from secseg.utils.config import config_dir, to_plain

IMAGES = 5
COMMIT = "0123456789abcdef"


@cache
def config(*words: str) -> dict[str, Any]:
    """The composed config of ``conf/train.yaml``, plain."""
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        return to_plain(compose("train", ["run_dir=run", *words]))


@cache
def options(*words: str) -> dict[str, str]:
    """The options that the composed config of ``conf/train.yaml`` has chosen."""
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        choices = compose("train", ["run_dir=run", *words], return_hydra_config=True).hydra.runtime.choices
    return {group: option for group, option in choices.items() if option and not group.startswith("hydra/")}


def draw(root: Path) -> dict[str, np.ndarray]:
    """Draw the built-in data into ``root``; returns the masks of its validation images."""
    draw_shapes(root, train=1, val=IMAGES, seed=0)
    return validation_masks(root)


def validation_masks(root: Path) -> dict[str, np.ndarray]:
    """The masks of the validation images of data in VOC's layout."""
    names = (root / "ImageSets" / "Segmentation" / "val.txt").read_text().split()
    return {name: read_mask(root / "SegmentationClassAug" / f"{name}.png", len(SHAPES_CLASSES)) for name in names}


def write_run(
    folder: Path,
    words: tuple[str, ...],
    truths: dict[str, np.ndarray],
    wrong: float = 0.3,
    seed: int = 0,
    **protocol: Any,
) -> dict[str, dict[str, np.ndarray]]:
    """Write a finished run.

    Args:
        folder: for it.
        words: settings, as on the command line.
        truths: masks by image.
        wrong: share of an image's side that a patch of a wrong class covers; with the CRF half of it.
        seed: of the run.
        protocol: entries of its protocol that are other ones.

    Returns:
        The predicted masks by variant and image.
    """
    rng = np.random.default_rng(seed + round(1000 * wrong))
    palette = np.arange(768, dtype=np.uint8).reshape(256, 3)
    gathered = ImagePredictions(SHAPES_CLASSES, palette)
    predicted: dict[str, dict[str, np.ndarray]] = {"without_crf": {}, "with_crf": {}}
    scores = {variant: SegmentationScore(SHAPES_CLASSES) for variant in predicted}
    for name, truth in truths.items():
        for variant, share in (("without_crf", wrong), ("with_crf", wrong / 2)):
            mask = np.where(truth == VOID, 0, truth).astype(np.uint8)
            height, width = (max(1, int(share * side)) for side in mask.shape)
            mask[:height, :width] = rng.integers(len(SHAPES_CLASSES))
            predicted[variant][name] = mask
            scores[variant].update(mask, truth)
        gathered.add(name, {variant: masks[name] for variant, masks in predicted.items()}, truth)
    folder.mkdir(parents=True)
    gathered.write(folder)
    figures = {variant: score.compute() for variant, score in scores.items()}
    results = {
        "figures": json.loads(json.dumps(figures).replace("NaN", "null")),
        "losses": {"loss": 1.0},
        "protocol": {
            "scored": list(SHAPES_CLASSES),
            "val_split": "val",
            "val_images": len(truths),
            "seed": seed,
            **protocol,
        },
        "time": {"seconds": 90.0, "step_seconds": 0.5, "crf_share": 0.2, "peak_bytes": 2e9, "peak_gpu_bytes": None},
        "versions": {"git": {"commit": COMMIT, "dirty": False}, "packages": {"secseg": "0.1"}},
    }
    (folder / "results.json").write_text(json.dumps(results))
    (folder / "config.yaml").write_text(yaml.safe_dump(config(*words, f"seed={seed}")))
    (folder / "options.yaml").write_text(yaml.safe_dump(options(*words)))
    (folder / "command.txt").write_text(f"python src/train.py {' '.join(words)} seed={seed}\n")
    lines = [f"{step},{5 / (step + 1) + wrong},{1 / (step + 1)},{step / 100}" for step in range(0, 100, 10)]
    (folder / "metrics.csv").write_text("\n".join(["step,train/loss,train/seed,val/miou", *lines]) + "\n")
    return predicted
