"""Photographs to the network's square input, and mirroring. Training and evaluation resize on different grids."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from secseg.utils.resizing import resize_aligned, resize_half_pixel


def training_input(photo: np.ndarray, size: int) -> Tensor:
    """Squeeze ``photo`` (H, W, 3) uint8 to (3, size, size) uint8 on the half-pixel grid, whatever its aspect ratio.

    Source: Caffe's data layer, as the official training uses it (no crop).
    """
    return _to_bytes(resize_half_pixel(_planes(photo), (size, size)))[0]


def evaluation_input(photo: np.ndarray, size: int | tuple[int, int]) -> Tensor:
    """Squeeze ``photo`` (H, W, 3) uint8 to (3, size, size) uint8, or (3, *size), with aligned corners.

    Source: SciPy's ``zoom(order=1)`` of the official test code. Rounded to bytes, so that a cache can hold it.
    """
    height, width = (size, size) if isinstance(size, int) else size
    return _to_bytes(resize_aligned(_planes(photo), (height, width)))[0]


def crf_image(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Bring input images (B, 3, S, S) uint8 to the mask's grid for the CRF: (B, 3, h, w) uint8, aligned corners.

    Source: the official CRF layer's ``zoom(order=1)``, rounded to bytes.
    """
    rows, columns = (_step(old, new) for old, new in zip(images.shape[-2:], size, strict=True))
    if rows and columns:  # 321 or 641 to 41: nothing lies between two pixels, and no other pixel need be read
        return images[..., ::rows, ::columns].contiguous()
    return _to_bytes(resize_aligned(images.double(), size))


def _step(old: int, new: int) -> int:
    """Return every how many pixels aligned corners take, 0 where that is no whole number."""
    return (old - 1) // (new - 1) if 1 < new <= old and (old - 1) % (new - 1) == 0 else 0


def mirror(x: Tensor, mirrored: bool) -> Tensor:
    """Mirror the last dimension (left and right) where ``mirrored``."""
    return x.flip(-1) if mirrored else x


# torch chooses its kernel for resizing by the number of threads, of which a worker has one: without double precision
# and a fixed side for halves, the same photograph would give other bytes there.
_HALVES_UP = 1e-6


def _planes(photo: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(photo.transpose(2, 0, 1)))[None].double()


def _to_bytes(x: Tensor) -> Tensor:
    return (x + _HALVES_UP).round().clamp(0, 255).to(torch.uint8)
