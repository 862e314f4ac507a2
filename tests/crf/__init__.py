"""Synthetic and real input for the tests of the CRF."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from secseg.crf import CRFParams

TRAINING = CRFParams().scaled(12)


def textured(
    size: tuple[int, int, int, int], seed: int = 0, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor]:
    """Smooth scores (B, C, H, W) that the CRF changes, and images (B, 3, H, W) uint8 of noisy blobs."""
    generator = torch.Generator().manual_seed(seed)
    batch, _, height, width = size
    blobs = torch.rand(batch, 3, height // 8 + 2, width // 8 + 2, generator=generator)
    pixels = interpolate(blobs, (height, width), mode="bicubic") * 255
    pixels += 6 * torch.randn(pixels.shape, generator=generator)
    return scores(size, seed, dtype), pixels.clamp(0, 255).to(torch.uint8)


def scores(size: tuple[int, int, int, int], seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """Smooth random scores."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(*size[:2], size[2] // 10 + 2, size[3] // 10 + 2, generator=generator)
    return (4 * interpolate(coarse, size[2:], mode="bilinear")).to(dtype)


def real_images(voc: Path, count: int, size: int | None = None) -> list[Tensor]:
    """The first ``count`` validation images, (1, 3, H, W) uint8, at full size or resized to ``size`` x ``size``."""
    names = (voc / "ImageSets/Segmentation/val.txt").read_text().split()[:count]
    images = [Image.open(voc / "JPEGImages" / f"{name}.jpg").convert("RGB") for name in names]
    if size is not None:
        images = [image.resize((size, size)) for image in images]
    return [torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].contiguous() for image in images]
