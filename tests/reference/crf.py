"""Mean field of Krähenbühl and Koltun (2011) in a fully connected CRF, one pair of pixels at a time."""

from __future__ import annotations

import math

import numpy as np


def gaussian_kernel(features: np.ndarray) -> np.ndarray:
    """(n, d) features in standard deviations to D^-1/2 k D^-1/2: k_ij = exp(-|f_i - f_j|^2 / 2), D its row sums."""
    n = len(features)
    k = np.empty((n, n))
    for i in range(n):
        for j in range(n):
            k[i, j] = math.exp(-0.5 * sum((a - b) ** 2 for a, b in zip(features[i], features[j], strict=True)))
    row_sums = [math.fsum(row) for row in k]
    return np.array([[k[i, j] / math.sqrt(row_sums[i] * row_sums[j]) for j in range(n)] for i in range(n)])


def softmax(scores: np.ndarray) -> np.ndarray:
    """(n, C) scores to probabilities."""
    e = np.exp(scores - scores.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def mean_field(
    scores: np.ndarray,
    image: np.ndarray,
    bilateral_weight: float,
    bilateral_xy: float,
    bilateral_rgb: float,
    gaussian_weight: float,
    gaussian_xy: float,
    iterations: int,
) -> np.ndarray:
    """Scores (C, H, W), that is negative unary energies, and bytes (3, H, W) to Q (C, H, W); Potts compatibility."""
    classes, height, width = scores.shape
    places = [(y, x) for y in range(height) for x in range(width)]
    position = np.array([(x, y) for y, x in places], float)
    colour = np.array([image[:, y, x] for y, x in places], float)
    bilateral = gaussian_kernel(np.concatenate([position / bilateral_xy, colour / bilateral_rgb], 1))
    gaussian = gaussian_kernel(position / gaussian_xy)

    unary = -scores.reshape(classes, -1).T
    q = softmax(-unary)
    for _ in range(iterations):
        messages = bilateral_weight * bilateral @ q + gaussian_weight * gaussian @ q
        # Potts: a label pays for the messages of all other labels.
        pairwise = messages.sum(1, keepdims=True) - messages
        q = softmax(-unary - pairwise)
    return q.T.reshape(classes, height, width)
