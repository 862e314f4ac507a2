"""Pictures for people, pixel by pixel: masks in colours, and over photographs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from secseg.data.classes import VOID
from secseg.utils.resizing import resize_mask

VOID_COLOUR = (224, 224, 192)
"""VOC's colour of void."""


@dataclass(frozen=True)
class GalleryItem:
    """One image with what was predicted for it.

    Attributes:
        name: image id.
        photo: (H, W, 3) uint8.
        cues: (h, w) uint8 on any grid, 255 = no cue; None where there are none.
        prediction: (H, W) uint8, class numbers; None where nothing was predicted.
        prediction_crf: (H, W) uint8; None where no CRF was run.
        mask: (H, W) uint8, 255 = void; None where there is no ground truth.
    """

    name: str
    photo: np.ndarray
    cues: np.ndarray | None
    prediction: np.ndarray | None
    prediction_crf: np.ndarray | None
    mask: np.ndarray | None


def colorize(mask: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """Return the colours (H, W, 3) uint8 of a mask (H, W) uint8; 255 has VOC's colour of void."""
    colours = palette.copy()
    colours[VOID] = VOID_COLOUR
    return colours[mask]


def overlay(photo: np.ndarray, mask: np.ndarray, palette: np.ndarray, alpha: float = 0.6) -> np.ndarray:
    """Lay a mask (any size, uint8) over a photograph (H, W, 3) uint8; where it is 255, the photograph stays.

    Args:
        alpha: how much of the mask's colour is seen, 0 to 1.
    """
    mask = resize_mask(mask, photo.shape[:2])
    mixed = (1 - alpha) * photo + alpha * palette[mask]
    return np.where((mask == VOID)[..., None], photo, mixed.round().astype(np.uint8))


def cues_over_grey(photo: np.ndarray, cues: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """Lay cues (any size, uint8, 255 = no cue) over a photograph (H, W, 3) uint8 in pale grey."""
    return over_grey(photo, cues, palette, 0.7, 0.85)


def over_grey(photo: np.ndarray, mask: np.ndarray, palette: np.ndarray, paleness: float, alpha: float) -> np.ndarray:
    """Lay a mask over the photograph in light grey: over its own colours those of the classes could not be told."""
    grey = np.asarray(Image.fromarray(photo).convert("L"))[..., None].repeat(3, axis=2)
    return overlay((255 * paleness + (1 - paleness) * grey).astype(np.uint8), mask, palette, alpha)


def hex_colour(colour: Sequence[int] | np.ndarray) -> str:
    """Return an RGB colour of bytes as ``#rrggbb``."""
    return "#{:02x}{:02x}{:02x}".format(*colour)
