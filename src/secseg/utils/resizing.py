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


def resize_half_pixel(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize ``x`` (B, C, H, W), floating point, linearly on the half-pixel grid with no antialiasing.

    This is OpenCV's ``resize``. Caffe's data layer uses it for the training input.
    """
    return F.interpolate(x, size, mode="bilinear", align_corners=False)


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
