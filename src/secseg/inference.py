"""Scores on the grid to masks at the photograph's own size, with and without CRF."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from secseg.crf import CRF
from secseg.resizing import resize_aligned

FLOOR = 1e-5
"""Floor of the probabilities before the CRF's logarithm (official test code)."""


def full_size_probs(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Softmax of scores (C, h, w), then enlarged with aligned corners to (C, H, W); in that order, as the official test
    code does."""
    return resize_aligned(torch.softmax(logits.float(), 0)[None], size)[0]


def apply_crf(probs: Tensor, photo: np.ndarray, crf: CRF) -> Tensor:
    """Refine probabilities (C, H, W) of ``photo`` (H, W, 3) uint8 with a CRF on their logarithms, floored at 1e-5."""
    image = torch.from_numpy(np.ascontiguousarray(photo.transpose(2, 0, 1)))[None].to(probs.device)
    return crf(probs.clamp(min=FLOOR).log()[None], image)[0]


def predict_masks(
    logits: Tensor, photos: Sequence[np.ndarray], crf: CRF | None = None
) -> list[tuple[np.ndarray, np.ndarray | None]]:
    """Return, for each photograph, its mask (H, W) uint8 without CRF, and the one with, where a CRF is given.

    Args:
        logits: (B, C, h, w), the network's scores.
        photos: B photographs, (H, W, 3) uint8 RGB, of any size.
        crf: ``(logits (1, C, H, W), image (1, 3, H, W) uint8) -> probs``. Images run side by side on the CPU's cores.

    Source: the official test protocol: softmax, enlarge, floor, CRF on the logarithms, argmax.
    """

    def one(scores: Tensor, photo: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        with torch.inference_mode():
            probs = full_size_probs(scores, photo.shape[:2])
            refined = None if crf is None else _labels(apply_crf(probs, photo, crf))
            return _labels(probs), refined

    if crf is None or len(photos) == 1:
        return [one(scores, photo) for scores, photo in zip(logits, photos, strict=True)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(one, logits, photos))


def _labels(probs: Tensor) -> np.ndarray:
    return probs.argmax(0).to(torch.uint8).cpu().numpy()
