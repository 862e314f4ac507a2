"""Random cues with masks, some of them degenerate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from secseg.cue_making.audit.measure import count_cues, summarize
from secseg.data.classes import voc_palette
from secseg.data.cues import Cues, CueStore
from secseg.data.masks import save_mask
from secseg.data.splits import ImageSet

NAMES = ("background", "cat", "dog", "a <very> odd name", "bird")


def random_store(seed: int, images: int = 7, grid: tuple[int, int] = (5, 7)) -> CueStore:
    """Random cues of classes 0..3; the first image has no cue, the second no label, the third one class everywhere."""
    rng = np.random.default_rng(seed)
    cues = {}
    for number in range(images):
        own = tuple(sorted(rng.choice(np.arange(1, 4), rng.integers(1, 4), replace=False).tolist()))
        cue_map = rng.choice(np.array([0, 255, 255, *own], np.uint8), grid)
        cues[f"image {number}"] = Cues(own, cue_map)
    cues["image 0"] = Cues((1, 2), np.full(grid, 255, np.uint8))
    cues["image 1"] = Cues((), np.where(rng.random(grid) < 0.5, 0, 255).astype(np.uint8))
    cues["image 2"] = Cues((3,), np.full(grid, 3, np.uint8))
    return CueStore.from_dict(cues, {"source": "a test", "overlaps": 2})


def audit_cues(
    store: CueStore,
    class_names: Sequence[str],
    masks: Mapping[str, Path] | None = None,
    names: Sequence[str] | None = None,
    scored: Sequence[str] | None = None,
) -> dict[str, Any]:
    return summarize(count_cues(store, class_names, masks, names), scored)


def random_masks(folder: Path, store: CueStore, seed: int, size: tuple[int, int] = (23, 31)) -> dict[str, Path]:
    """A mask of classes 0..3 and void for each image but the last."""
    rng = np.random.default_rng(seed)
    masks = {}
    for name in store.names[:-1]:
        masks[name] = folder / "masks" / f"{name}.png"
        save_mask(rng.choice(np.array([0, 0, 1, 2, 3, 255], np.uint8), size), masks[name], voc_palette())
    return masks


def image_set(
    folder: Path, store: CueStore, masks: dict[str, Path] | None, size: tuple[int, int] = (23, 31)
) -> ImageSet:
    """A split with images of noise."""
    rng = np.random.default_rng(0)
    paths = tuple(folder / f"{name}.jpg" for name in store.names)
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(path)
    mask_paths = None if masks is None else tuple(masks.get(name, folder / "none.png") for name in store.names)
    return ImageSet("noise/train", store.names, paths, mask_paths, NAMES, voc_palette())
