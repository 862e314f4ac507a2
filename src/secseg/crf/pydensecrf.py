"""The official implementation of the lattice CRF, through the package pydensecrf."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from secseg.crf.base import CRFParams, check_input, with_diagonal_gradient, working_dtype
from secseg.utils.errors import UserError

try:
    from pydensecrf.densecrf import CONST_KERNEL, NORMALIZE_SYMMETRIC, DenseCRF2D
except ImportError as error:
    raise UserError(
        "The CRF backend pydensecrf needs the package of that name, which is not installed "
        f"({error}). Install it with: pip install 'secseg[pydensecrf]' (needs a C++ compiler), or choose the backend "
        "lattice, which computes the same."
    ) from error


class Backend:
    """pydensecrf, one image after the other; see :func:`secseg.crf.build_crf`. Computed in float32.

    Raises:
        UserError: on a call with input that does not fit together.
    """

    def __init__(self, params: CRFParams, gradient: str = "stop") -> None:
        self.params, self.gradient = params, gradient

    def __call__(self, logits: Tensor, images: Tensor) -> Tensor:
        check_input(logits, images)
        scores = logits.detach().float().cpu().numpy()
        photos = np.ascontiguousarray(images.cpu().permute(0, 2, 3, 1).numpy())
        results = [self._one(score, photo) for score, photo in zip(scores, photos, strict=True)]
        probs = torch.from_numpy(np.stack(results)).to(logits.device, working_dtype(logits))
        return with_diagonal_gradient(probs, logits) if self.gradient == "diagonal" else probs

    def _one(self, scores: np.ndarray, photo: np.ndarray) -> np.ndarray:
        """Scores (C, H, W) float32 and photograph (H, W, 3) uint8 to probabilities (C, H, W)."""
        p = self.params
        classes, height, width = scores.shape
        crf = DenseCRF2D(width, height, classes)
        crf.setUnaryEnergy(np.ascontiguousarray(-scores.reshape(classes, -1)))
        kind = {"kernel": CONST_KERNEL, "normalization": NORMALIZE_SYMMETRIC}
        crf.addPairwiseBilateral(p.bilateral_xy, p.bilateral_rgb, photo, compat=p.bilateral_weight, **kind)
        crf.addPairwiseGaussian(p.gaussian_xy, compat=p.gaussian_weight, **kind)
        return np.array(crf.inference(p.iterations), np.float32).reshape(scores.shape)
