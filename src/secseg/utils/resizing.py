"""Resizing, named by its sampling grid: the official code uses two grids, which give different results."""

from __future__ import annotations

import numpy as np
import torch.nn.functional as F
from PIL import Image
from torch import Tensor


def resize_aligned(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize ``x`` (B, C, H, W), floating point, linearly with aligned corners and no antialiasing.

    This is SciPy's ``zoom(order=1)``. The official code uses it for the CRF's image, for test images and to enlarge
    probabilities. From 321 to 41 pixels it takes exactly every eighth pixel.
    """
    return F.interpolate(x, size, mode="bilinear", align_corners=True)


def resize_like_opencv(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize ``image`` (h, w, 3) uint8 to (H, W, 3) uint8 linearly on the half-pixel grid, with no antialiasing.

    The bytes equal those of OpenCV's ``resize(INTER_LINEAR)``, which Caffe's data layer uses for the training input:
    weights of 11 bits and truncated products, so a value is 0.12 lower on average than the rounded one.
    """
    (top, bottom, upper, lower), (left, right, near, far) = (
        _fixed_point_weights(old, new) for old, new in zip(image.shape, size, strict=False)
    )
    inside = left < right  # OpenCV clamps the weights of columns at the border, not those of rows
    near, far = np.where(inside, near, _ONE), np.where(inside, far, 0)

    def row_sums(rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
        pixels = image[rows]
        mixed = (pixels.take(left, 1) * near[:, None] + pixels.take(right, 1) * far[:, None]) >> 4
        return (weights[:, None, None] * mixed) >> 16

    return ((row_sums(top, upper) + row_sums(bottom, lower) + 2) >> 2).astype(np.uint8)


_ONE = 2048


def _fixed_point_weights(old: int, new: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the two source pixels of each target pixel, clipped to the image, and their weights in 1/2048."""
    place = ((np.arange(new) + 0.5) * (old / new) - 0.5).astype(np.float32)
    low = np.floor(place).astype(np.int64)
    far = np.rint((place - low.astype(np.float32)) * np.float32(_ONE)).astype(np.int32)
    return low.clip(0, old - 1), (low + 1).clip(0, old - 1), _ONE - far, far


def reduced_size(size: tuple[int, ...], side: int) -> tuple[int, int]:
    """Return height and width with at most ``side`` pixels on the longer side."""
    scale = min(1.0, side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def reduce_image(image: np.ndarray, side: int) -> np.ndarray:
    """Return an image (H, W, 3) uint8 with at most ``side`` pixels on the longer side, to be shown on a page."""
    height, width = reduced_size(image.shape[:2], side)
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))


def resize_mask(mask: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Resize a mask (h, w) uint8 to ``size`` (H, W). It takes the nearest pixel, so that no new class appears."""
    if mask.shape == size:
        return mask
    return np.asarray(Image.fromarray(mask).resize((size[1], size[0]), Image.Resampling.NEAREST))
