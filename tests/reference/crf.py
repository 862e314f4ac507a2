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


def pixel_adaptive_refinement(
    scores: np.ndarray, image: np.ndarray, distances: list[int], iterations: int, s: float = 0.3, p: float = 0.01
) -> np.ndarray:
    """Scores (C, H, W) and bytes (3, H, W) to probabilities (C, H, W), pixel by pixel; PAR of Ru et al. (2022)."""
    classes, height, width = scores.shape
    probs = softmax(scores.reshape(classes, -1).T).T.reshape(scores.shape)
    steps = [(d * y, d * x) for d in distances for y in (-1, 0, 1) for x in (-1, 0, 1) if (y, x) != (0, 0)]
    lengths = np.array([math.hypot(*step) for step in steps])

    def clipped(y: int, x: int) -> tuple[int, int]:
        return min(max(y, 0), height - 1), min(max(x, 0), width - 1)

    def weights(y: int, x: int) -> np.ndarray:
        own = image[:, y, x].astype(float)
        others = np.array([image[(slice(None), *clipped(y + dy, x + dx))] for dy, dx in steps], float)
        sigma = np.std(np.vstack([own, others]), axis=0, ddof=1)
        alike = -np.mean(((others - own) / (sigma + 1e-8) / s) ** 2, axis=1)
        near = -((lengths / (np.std(lengths, ddof=1) + 1e-8) / s) ** 2)
        return softmax(alike[None])[0] + p * softmax(near[None])[0]

    for _ in range(iterations):
        new = np.zeros_like(probs)
        for y, x in np.ndindex(height, width):
            for (dy, dx), w in zip(steps, weights(y, x), strict=True):
                new[:, y, x] += w * probs[(slice(None), *clipped(y + dy, x + dx))]
        probs = new
    return probs / probs.sum(0)
