"""Masks in colours, and as overlays on images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from secseg.data.classes import VOID
from secseg.utils.resizing import resize_mask

VOID_COLOUR = (224, 224, 192)
"""The colour of void in VOC's masks."""


@dataclass(frozen=True)
class GalleryItem:
    """One image (H, W, 3) uint8 with its cues, predictions without and with CRF, and ground truth; None if missing.

    Masks are uint8: (h, w) on any grid for ``cues``, (H, W) for the others. 255 is no cue, or void.
    """

    name: str
    image: np.ndarray
    cues: np.ndarray | None
    prediction: np.ndarray | None
    prediction_crf: np.ndarray | None
    mask: np.ndarray | None


def colorize(mask: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """Return the colours (H, W, 3) uint8 of a mask (H, W) uint8. Void (255) has ``VOID_COLOUR``."""
    colours = palette.copy()
    colours[VOID] = VOID_COLOUR
    return colours[mask]


def overlay(image: np.ndarray, mask: np.ndarray, palette: np.ndarray, alpha: float = 0.6) -> np.ndarray:
    """Return an image (H, W, 3) uint8 with a mask (h, w) uint8 on it. Pixels that are 255 in the mask are kept.

    ``palette`` is (256, 3) uint8, RGB; ``alpha`` is the opacity of the mask, 0 to 1.
    """
    mask = resize_mask(mask, image.shape[:2])
    mixed = (1 - alpha) * image + alpha * palette[mask]
    return np.where((mask == VOID)[..., None], image, mixed.round().astype(np.uint8))


def cues_over_grey(image: np.ndarray, cues: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """Return an image (H, W, 3) uint8 in pale grey with cues (any size, uint8, 255 = no cue) on it."""
    return over_grey(image, cues, palette, 0.7, 0.85)


def over_grey(image: np.ndarray, mask: np.ndarray, palette: np.ndarray, paleness: float, alpha: float) -> np.ndarray:
    """Return an ``overlay`` on light grey, on which the colours of all classes can be distinguished.

    ``paleness`` is the share of white in the grey, 0 to 1.
    """
    grey = np.asarray(Image.fromarray(image).convert("L"))[..., None].repeat(3, axis=2)
    return overlay((255 * paleness + (1 - paleness) * grey).astype(np.uint8), mask, palette, alpha)


def hex_colour(colour: Sequence[int] | np.ndarray) -> str:
    """Return an RGB colour of bytes as ``#rrggbb``."""
    return "#{:02x}{:02x}{:02x}".format(*colour)
