"""Seeded region growing: in each step, the cues grow over the pixels in which the CRF's output is certain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from secseg.densecrf.simd import njit


@dataclass(frozen=True)
class Growing:
    """The thresholds of ``grow_seeds``: probabilities in [0, 1] for foreground classes and for the background."""

    foreground: float = 0.85
    background: float = 0.99

    def __call__(self, cues: Tensor, crf_probs: Tensor, labels: Tensor) -> Tensor:
        return grow_seeds(cues, crf_probs, labels, self.foreground, self.background)


def grow_seeds(
    cues: Tensor, crf_probs: Tensor, labels: Tensor, foreground: float = 0.85, background: float = 0.99
) -> Tensor:
    """Return the cues, and the pixels that they grow to.

    A pixel is a candidate of the class with the highest probability among the background and the classes of the image,
    if that probability is above the threshold. A connected region of candidates of a class (8 neighbours) becomes seeds
    of the class if it touches a cue of the class. A pixel with a cue of another class never becomes a seed.

    Args:
        cues: (B, C, H, W), 1 or True where a pixel is a cue of a class.
        crf_probs: (B, C, H, W), the CRF's output in [0, 1].
        labels: (B, C), 1 for classes in the image, else 0. Column 0 is the background and is not read.
        foreground, background: thresholds of the probability, in [0, 1].

    Returns:
        (B, C, H, W) bool, on the device of the cues. On a GPU, the work is done on the CPU, so this synchronises.

    Source: Huang et al., Weakly-Supervised Semantic Segmentation Network with Deep Seeded Region Growing, CVPR 2018,
    section 3.2; the official code's thresholds.
    """
    own = own_classes(labels)
    best, classes = crf_probs.detach().masked_fill(~own[:, :, None, None], -1).max(1)
    least = torch.where(classes == 0, background, foreground)
    candidates = torch.where(best > least, classes, -1)
    grown = cues.bool().cpu().numpy().copy()
    _grow(grown, candidates.cpu().numpy())
    return torch.from_numpy(grown).to(cues.device)


def own_classes(labels: Tensor) -> Tensor:
    """Return (B, C) bool: the classes of each image, and the background. Column 0 of ``labels`` is not read."""
    own = labels.bool().clone()
    own[:, 0] = True
    return own


@njit
def _grow(seeds: np.ndarray, candidates: np.ndarray) -> None:
    """Grow the seeds (B, C, H, W) bool in place; ``candidates`` (B, H, W) holds the class of a candidate, or -1."""
    images, classes, height, width = seeds.shape
    stack = np.empty((height * width, 2), np.int64)
    for b in range(images):
        taken = np.zeros((height, width), np.bool_)  # pixels with a cue, of whatever class
        for c in range(classes):
            taken |= seeds[b, c]
        for c in range(classes):
            count = 0
            for y in range(height):
                for x in range(width):
                    if seeds[b, c, y, x]:
                        stack[count, 0], stack[count, 1] = y, x
                        count += 1
            while count > 0:
                count -= 1
                y0, x0 = stack[count, 0], stack[count, 1]
                for y in range(max(y0 - 1, 0), min(y0 + 2, height)):
                    for x in range(max(x0 - 1, 0), min(x0 + 2, width)):
                        if candidates[b, y, x] == c and not taken[y, x] and not seeds[b, c, y, x]:
                            seeds[b, c, y, x] = True
                            stack[count, 0], stack[count, 1] = y, x
                            count += 1
