"""From scores to masks at the size of the image: enlarge, choose the classes of the CRF, refine, take the maximum."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from secseg.crf import CRF
from secseg.utils.resizing import resize_aligned

FLOOR = 1e-5
"""Floor of the probabilities before the logarithm for the CRF (official test code)."""


def full_size_probs(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the softmax of scores (C, h, w), then enlarged with aligned corners to (C, H, W).

    Source: the official test code, in this order.
    """
    return resize_aligned(torch.softmax(logits.float(), 0)[None], size)[0]


def predict_mask(probs: Tensor, classes: Tensor | None = None) -> np.ndarray:
    """Return the mask (H, W) uint8 of the most probable classes, the first of equally probable ones.

    ``classes`` (k,) are the class numbers of ``probs`` (k, H, W); None for 0 to k - 1.
    """
    # On a CPU, max is several times faster than argmax.
    numbers = probs.max(0).indices.to(torch.uint8).cpu().numpy()
    return numbers if classes is None else classes.numpy().astype(np.uint8)[numbers]


def crf_classes(probs: Tensor, allowed: Tensor | None = None, least: float = 0.0) -> Tensor:
    """Return the numbers (k,) of the classes for the CRF.

    These are the background, and the classes that are allowed (all if ``allowed``, (C,) bool, is None) and have a
    probability of at least ``least`` at some pixel of ``probs`` (C, H, W).
    """
    keep = torch.ones(len(probs), dtype=torch.bool) if allowed is None else allowed
    if least > 0:
        keep = keep & (probs.amax((1, 2)) >= least).cpu()
        keep[0] = True
    return keep.nonzero()[:, 0]


def apply_crf(probs: Tensor, photo: np.ndarray, crf: CRF) -> Tensor:
    """Refine probabilities (C, H, W) with a CRF on their logarithms, floored at 1e-5. ``photo``: (H, W, 3) uint8."""
    image = torch.from_numpy(np.ascontiguousarray(photo.transpose(2, 0, 1)))[None].to(probs.device)
    return crf(probs.clamp(min=FLOOR).log_()[None], image)[0]


def refine_classes(probs: Tensor, photo: np.ndarray, crf: CRF, classes: Tensor) -> Tensor:
    """Refine only ``classes`` (k,), at least one, of ``probs`` (C, H, W) with a CRF; return (k, H, W)."""
    kept = probs if len(classes) == len(probs) else probs[classes.to(probs.device)]
    return apply_crf(kept, photo, crf) if len(classes) > 1 else torch.ones_like(kept)


def predict_masks(
    logits: Tensor, photos: Sequence[np.ndarray], crf: CRF | None = None
) -> list[tuple[np.ndarray, np.ndarray | None]]:
    """Return the masks (H, W) uint8 of each image without CRF and, if a CRF is given, with it.

    Images are refined in parallel threads.

    Args:
        logits: (B, C, h, w), the scores of the network.
        photos: B images, (H, W, 3) uint8 RGB, of any size.
    """

    def one(scores: Tensor, photo: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        with torch.inference_mode():
            probs = full_size_probs(scores, (photo.shape[0], photo.shape[1]))
            refined = None if crf is None else predict_mask(apply_crf(probs, photo, crf))
            return predict_mask(probs), refined

    if crf is None or len(photos) == 1:
        return [one(scores, photo) for scores, photo in zip(logits, photos, strict=True)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(one, logits, photos))
