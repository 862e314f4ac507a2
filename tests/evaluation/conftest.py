"""Real masks that several tests score."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from secseg.data.masks import read_mask
from secseg.data.voc import open_split


@pytest.fixture(scope="session")
def real_masks(voc_animals: Path) -> dict[str, np.ndarray]:
    """The 186 masks of the slice's validation split by id."""
    images = open_split(voc_animals, "val", require_masks=True)
    assert len(images.names) == 186
    return {name: read_mask(path, 21) for name, path in zip(images.names, images.masks or (), strict=True)}


@pytest.fixture(scope="session")
def real_pairs(real_masks: dict[str, np.ndarray]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """As predictions for each of them: the next mask of its size, or itself shifted where there is no other; void as
    background."""
    by_size: dict[tuple[int, ...], list[str]] = {}
    for name, mask in real_masks.items():
        by_size.setdefault(mask.shape, []).append(name)
    pairs = {}
    for names in by_size.values():
        for name, other in zip(names, names[1:] + names[:1], strict=True):
            wrong = real_masks[other] if other != name else np.roll(real_masks[name], (9, 5), (0, 1))
            pairs[name] = (np.where(wrong == 255, 0, wrong).astype(np.uint8), real_masks[name])
    return pairs
