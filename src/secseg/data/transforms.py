"""Resize images to the network's square input, and mirror them. Training and evaluation use different grids."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from secseg.utils.resizing import resize_aligned, resize_like_opencv


def training_input(photo: np.ndarray, size: int) -> Tensor:
    """Resize ``photo`` (H, W, 3) uint8 to (3, size, size) uint8 on the half-pixel grid, without its aspect ratio.

    Source: Caffe's data layer, as in the official training (no crop), with the bytes of OpenCV's resize.
    """
    return torch.from_numpy(np.ascontiguousarray(resize_like_opencv(photo, (size, size)).transpose(2, 0, 1)))


def evaluation_input(photo: np.ndarray, size: int | tuple[int, int]) -> Tensor:
    """Resize ``photo`` (H, W, 3) uint8 to (3, size, size) uint8, or (3, *size), with aligned corners.

    Source: SciPy's ``zoom(order=1)`` in the official test code. The result is rounded to bytes, so that a cache can
    hold it.
    """
    height, width = (size, size) if isinstance(size, int) else size
    return _to_bytes(resize_aligned(_channels_first(photo), (height, width)))[0]


def crf_image(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize input images (B, 3, S, S) uint8 to the grid of the mask, for the CRF: (B, 3, h, w) uint8, aligned corners.

    Source: ``zoom(order=1)`` in the official CRF layer. The result is rounded to bytes.
    """
    rows, columns = (_step(old, new) for old, new in zip(images.shape[-2:], size, strict=True))
    if rows and columns:  # 321 or 641 to 41: each target pixel lies on an input pixel
        return images[..., ::rows, ::columns].contiguous()
    return _to_bytes(resize_aligned(images.double(), size))


def _step(old: int, new: int) -> int:
    """Return the distance of the target pixels in input pixels, 0 if it is not a whole number."""
    return (old - 1) // (new - 1) if 1 < new <= old and (old - 1) % (new - 1) == 0 else 0


def mirror(x: Tensor, mirrored: bool) -> Tensor:
    """Flip the last dimension (left and right) if ``mirrored``."""
    return x.flip(-1) if mirrored else x


# torch chooses its resizing kernel by the number of threads, and a loader process has one thread. Double precision, and
# halves that are always rounded up, give the same bytes with every kernel.
_HALVES_UP = 1e-6


def _channels_first(photo: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(photo.transpose(2, 0, 1)))[None].double()


def _to_bytes(x: Tensor) -> Tensor:
    return (x + _HALVES_UP).round().clamp(0, 255).to(torch.uint8)
