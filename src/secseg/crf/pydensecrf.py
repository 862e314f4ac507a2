"""The official implementation of the lattice CRF, through the package pydensecrf."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from secseg.crf.base import MeanField
from secseg.utils.errors import UserError

try:
    from pydensecrf.densecrf import CONST_KERNEL, NORMALIZE_SYMMETRIC, DenseCRF2D
except ImportError as error:
    raise UserError(
        f"The CRF backend pydensecrf needs the package pydensecrf, which is not installed ({error}). Install it with: "
        "pip install 'secseg[pydensecrf]' (needs a C++ compiler), or choose the backend lattice, which gives the same "
        "result."
    ) from error


class Backend(MeanField):
    """pydensecrf, one image after the other, in float32."""

    def solve(self, logits: Tensor, images: Tensor) -> Tensor:
        scores = logits.detach().float().cpu().numpy()
        pixels = np.ascontiguousarray(images.cpu().permute(0, 2, 3, 1).numpy())
        return torch.from_numpy(np.stack([self._solve(*one) for one in zip(scores, pixels, strict=True)]))

    def _solve(self, scores: np.ndarray, image: np.ndarray) -> np.ndarray:
        """Return the probabilities (C, H, W) for scores (C, H, W) float32 and an image (H, W, 3) uint8."""
        p = self.params
        classes, height, width = scores.shape
        crf = DenseCRF2D(width, height, classes)
        crf.setUnaryEnergy(np.ascontiguousarray(-scores.reshape(classes, -1)))
        kind = {"kernel": CONST_KERNEL, "normalization": NORMALIZE_SYMMETRIC}
        crf.addPairwiseBilateral(p.bilateral_xy, p.bilateral_rgb, image, compat=p.bilateral_weight, **kind)
        crf.addPairwiseGaussian(p.gaussian_xy, compat=p.gaussian_weight, **kind)
        return np.array(crf.inference(p.iterations), np.float32).reshape(scores.shape)
