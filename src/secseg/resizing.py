"""Resizing, named by its sampling grid: the two grids of the official code differ, and so do their results."""

from __future__ import annotations

import torch.nn.functional as F
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
