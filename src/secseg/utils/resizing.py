"""Resizing, named by its sampling grid: the two grids of the official code differ, and so do their results."""

from __future__ import annotations

import numpy as np
import torch.nn.functional as F
from PIL import Image
from torch import Tensor


def resize_aligned(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize ``x`` (B, C, H, W), floating point, linearly with aligned corners and no antialiasing.

    This is SciPy's ``zoom(order=1)``, which the official code uses for the CRF's image, for test images and for
    enlarging probabilities: 321 to 41 takes exactly every eighth pixel.
    """
    return F.interpolate(x, size, mode="bilinear", align_corners=True)


def resize_half_pixel(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize ``x`` (B, C, H, W), floating point, linearly on the half-pixel grid with no antialiasing.

    This is OpenCV's ``resize``, with which Caffe's data layer makes the training input.
    """
    return F.interpolate(x, size, mode="bilinear", align_corners=False)


def reduced_size(size: tuple[int, ...], side: int) -> tuple[int, int]:
    """Return height and width with at most ``side`` pixels on the longer side."""
    scale = min(1.0, side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def reduce_photo(photo: np.ndarray, side: int) -> np.ndarray:
    """Reduce a photograph (H, W, 3) uint8, for people to look at, to at most ``side`` pixels on its longer side."""
    height, width = reduced_size(photo.shape[:2], side)
    return np.asarray(Image.fromarray(photo).resize((width, height), Image.Resampling.BILINEAR))


def resize_mask(mask: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Bring a mask (h, w) uint8 to ``size`` (H, W) by the nearest pixel, which makes no new classes."""
    if mask.shape == size:
        return mask
    return np.asarray(Image.fromarray(mask).resize((size[1], size[0]), Image.Resampling.NEAREST))
