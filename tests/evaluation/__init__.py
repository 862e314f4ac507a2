"""Random masks to score."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from secseg.evaluation import Evaluation


def random_pair(
    seed: int, classes: int = 4, size: tuple[int, int] = (11, 14), void: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """A prediction and a target (H, W) of blocks, the target with or without scattered void pixels."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, classes, (2, -(-size[0] // 4), -(-size[1] // 4)))
    prediction, target = blocks.repeat(4, 1).repeat(4, 2)[:, : size[0], : size[1]].astype(np.uint8)
    if void:
        target[rng.random(size) < 0.08] = 255
    return prediction, target


def evaluated(seeds: Iterable[int], class_names: Sequence[str], **settings: Any) -> Evaluation:
    """An evaluation of the random pairs of these seeds, of all classes; one in three is without void."""
    evaluation = Evaluation(class_names, **settings)
    for seed in seeds:
        evaluation.update(f"image {seed}", *random_pair(seed, len(class_names), void=seed % 3 > 0))
    return evaluation
