"""What localization networks compute, from the definitions."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np


def average_precision(scores: np.ndarray, truth: np.ndarray) -> float:
    """Sum over the distinct scores, from the highest: precision there times the rise of recall.

    NaN without positives or without negatives.

    Args:
        scores, truth: (n,), the latter 0 or 1.
    """
    positives = int(truth.sum())
    if positives in (0, len(truth)):
        return math.nan
    total, recall = 0.0, 0.0
    for threshold in sorted(set(scores.tolist()), reverse=True):
        found = scores >= threshold
        hits = int(truth[found].sum())
        total += hits / int(found.sum()) * (hits / positives - recall)
        recall = hits / positives
    return total


def activation_map(weights: np.ndarray, activations: np.ndarray) -> np.ndarray:
    """Class activation maps (K, h, w): ``sum_k w_{k,c} A_k`` of weights (K, n) and activations (n, h, w)."""
    maps = np.zeros((len(weights), *activations.shape[1:]))
    for number, row in enumerate(weights):
        for weight, activation in zip(row, activations, strict=True):
            maps[number] += weight * activation
    return maps


def log_mean_exp(scores: np.ndarray, sharpness: float) -> float:
    """``log((1/n) sum_j exp(r s_j)) / r`` of the scores (n,) of one class."""
    return math.log(sum(math.exp(sharpness * score) for score in scores.tolist()) / len(scores)) / sharpness


def logistic_loss(scores: np.ndarray, truth: np.ndarray, positive_weights: np.ndarray) -> float:
    """Mean over images and classes of ``-w y log s - (1 - y) log(1 - s)``, ``s`` the logistic function of the score."""
    s = 1 / (1 + np.exp(-scores))
    return float(np.mean(-positive_weights * truth * np.log(s) - (1 - truth) * np.log(1 - s)))


def saliency(units: np.ndarray, total_score: Callable[[np.ndarray], float], step: float = 1e-4) -> np.ndarray:
    """Largest absolute slope, over the channels, of ``total_score`` at each grid cell of units (c, h, w): (h, w).

    Slopes are central differences.
    """
    slopes = np.zeros(units.shape)
    for at in np.ndindex(units.shape):
        up, down = units.copy(), units.copy()
        up[at] += step
        down[at] -= step
        slopes[at] = (total_score(up) - total_score(down)) / (2 * step)
    return np.abs(slopes).max(0)


def background_loss(maps: np.ndarray, share: float) -> float:
    """Mean, over the images, of ``-log(1 - s)`` of the highest map where it is lowest, in ``share`` of the cells.

    Args:
        maps: (B, K, h, w); ``s`` is the logistic function of the highest of the K.
        share: of the cells, rounded down, but at least one cell.
    """
    losses = []
    for image in maps:
        highest = sorted(image.max(0).ravel().tolist())
        lowest = highest[: max(1, int(share * len(highest)))]
        losses.append(sum(math.log1p(math.exp(value)) for value in lowest) / len(lowest))
    return sum(losses) / len(losses)
