"""Inputs of a recipe, drawn at random."""

from __future__ import annotations

from typing import Any

import numpy as np

from secseg.cue_making.recipes import CueInputs


def random_maps(seed: int, shape: tuple[int, ...] = (4, 9, 7)) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def inputs(maps: np.ndarray, labels: tuple[int, ...], **others: Any) -> CueInputs:
    """The inputs of an image whose highest map and scores are those of ``maps``."""
    image = np.random.default_rng(1).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    given = {"scores": maps.mean((1, 2)), "highest": maps.max(0), "read_image": lambda: image, **others}
    return CueInputs(labels=labels, maps=maps, **given)
