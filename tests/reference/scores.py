"""Figures of an evaluation from their definitions: class by class, pixel by pixel."""

from __future__ import annotations

import math

import numpy as np

VOID = 255


def class_iou(predictions: list[np.ndarray], targets: list[np.ndarray], classes: int) -> list[float]:
    """Intersection over union of each class over all images, void left out; NaN where the union is empty."""
    intersection, union = [0] * classes, [0] * classes
    for prediction, target in zip(predictions, targets, strict=True):
        known = target != VOID
        for number in range(classes):
            predicted, true = (prediction == number) & known, target == number
            intersection[number] += int(np.count_nonzero(predicted & true))
            union[number] += int(np.count_nonzero(predicted | true))
    return [i / u if u else math.nan for i, u in zip(intersection, union, strict=True)]


def mean(values: list[float]) -> float:
    """The mean of those that are not NaN; NaN where there are none."""
    known = [value for value in values if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan


def size_bias(predictions: list[np.ndarray], targets: list[np.ndarray], classes: int) -> list[float]:
    """Predicted over true area of each class, void left out; NaN where there is no true area."""
    bias = []
    for number in range(classes):
        true = predicted = 0
        for prediction, target in zip(predictions, targets, strict=True):
            true += int(np.count_nonzero(target == number))
            predicted += int(np.count_nonzero((prediction == number) & (target != VOID)))
        bias.append(predicted / true if true else math.nan)
    return bias


def boundary(target: np.ndarray) -> set[tuple[int, int]]:
    """Void pixels where there are any; else the pixels with a 4-neighbour of another class."""
    height, width = target.shape
    places = [(y, x) for y in range(height) for x in range(width)]
    if (target == VOID).any():
        return {(y, x) for y, x in places if target[y, x] == VOID}
    return {
        (y, x)
        for y, x in places
        for v, u in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1))
        if 0 <= v < height and 0 <= u < width and target[v, u] != target[y, x]
    }


def band(target: np.ndarray, width: int) -> np.ndarray:
    """(H, W) bool: not void, and at most ``width`` from the nearest boundary pixel."""
    edge = boundary(target)
    inside = np.zeros(target.shape, bool)
    for y, x in np.ndindex(target.shape):
        near = any((y - v) ** 2 + (x - u) ** 2 <= width**2 for v, u in edge)
        inside[y, x] = near and target[y, x] != VOID
    return inside
