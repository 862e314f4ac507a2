"""From scores to masks at the photograph's own size: enlarging, the labels that have a chance, the CRF."""

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
"""Floor of the probabilities before the CRF's logarithm (official test code)."""


def full_size_probs(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Softmax of scores (C, h, w), then enlarged with aligned corners to (C, H, W); in that order, as the official test
    code does."""
    return resize_aligned(torch.softmax(logits.float(), 0)[None], size)[0]


def labels(probs: Tensor, classes: Tensor | None = None) -> np.ndarray:
    """Return the most probable class (H, W) uint8 of probabilities (C, H, W), the first of equal ones.

    Args:
        probs: of all classes, or of some.
        classes: (C,) the numbers of these; None: 0 to C - 1.
    """
    # On a CPU torch's argmax takes several times as long as max.
    numbers = probs.max(0).indices.to(torch.uint8).cpu().numpy()
    return numbers if classes is None else classes.numpy().astype(np.uint8)[numbers]


def contenders(probs: Tensor, allowed: Tensor | None = None, least: float = 0.0) -> Tensor:
    """Return the numbers (k,) of the classes that take part in the CRF: those that are allowed, and whose probability
    is somewhere in the image at least ``least``.

    Args:
        probs: (C, H, W).
        allowed: (C,) bool; None for all.
        least: 0 leaves none out.
    """
    keep = torch.ones(len(probs), dtype=torch.bool) if allowed is None else allowed
    if least > 0:
        keep = keep & (probs.amax((1, 2)) >= least).cpu()
    return keep.nonzero()[:, 0]


def apply_crf(probs: Tensor, photo: np.ndarray, crf: CRF) -> Tensor:
    """Refine probabilities (C, H, W) of ``photo`` (H, W, 3) uint8 with a CRF on their logarithms, floored at 1e-5."""
    image = torch.from_numpy(np.ascontiguousarray(photo.transpose(2, 0, 1)))[None].to(probs.device)
    return crf(probs.clamp(min=FLOOR).log_()[None], image)[0]


def refine_contenders(probs: Tensor, photo: np.ndarray, crf: CRF, classes: Tensor) -> Tensor:
    """Return the probabilities (k, H, W) of ``classes`` (k,), at least one, that the CRF makes of theirs in ``probs``
    (C, H, W), with no other class taking part."""
    kept = probs if len(classes) == len(probs) else probs[classes.to(probs.device)]
    return apply_crf(kept, photo, crf) if len(classes) > 1 else torch.ones_like(kept)


def predict_masks(
    logits: Tensor, photos: Sequence[np.ndarray], crf: CRF | None = None
) -> list[tuple[np.ndarray, np.ndarray | None]]:
    """Return, for each photograph, its mask (H, W) uint8 without CRF, and the one with, where a CRF is given.

    Args:
        logits: (B, C, h, w), the network's scores.
        photos: B photographs, (H, W, 3) uint8 RGB, of any size.
        crf: ``(logits (1, C, H, W), image (1, 3, H, W) uint8) -> probs``. Images run side by side on the CPU's cores.
    """

    def one(scores: Tensor, photo: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        with torch.inference_mode():
            probs = full_size_probs(scores, (photo.shape[0], photo.shape[1]))
            refined = None if crf is None else labels(apply_crf(probs, photo, crf))
            return labels(probs), refined

    if crf is None or len(photos) == 1:
        return [one(scores, photo) for scores, photo in zip(logits, photos, strict=True)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(one, logits, photos))
