"""Label scores as rows: the labels of a location lie side by side, filled up to whole groups of eight lanes."""

from __future__ import annotations

import numpy as np

from secseg.crf.compiled import njit
from secseg.crf.lanes import add, divide, exp_falling, highest, larger, load, mul, spread, store, sub, total

#: Locations that are worked on together: few enough for the first cache.
TILE = 32


def row_width(labels: int) -> int:
    """Return the length of a row of so many labels: the next multiple of 8."""
    return -(-labels // 8) * 8


@njit
def enter(scores: np.ndarray, rows: np.ndarray, width: int, start: int, stop: int) -> None:
    """Copy the locations start..stop of scores (C, n) to ``rows`` (n * width,).

    What fills a row up can get no probability.
    """
    labels = len(scores)
    for first in range(start, stop, TILE):
        last = min(first + TILE, stop)
        for label in range(labels):
            for i in range(first, last):
                rows[i * width + label] = scores[label, i]
        for i in range(first, last):
            rows[i * width + labels : (i + 1) * width] = np.float32(-1e30)


@njit
def leave(rows: np.ndarray, probs: np.ndarray, width: int, start: int, stop: int) -> None:
    """Copy the locations start..stop of ``rows`` (n * width,) to ``probs`` (C, n)."""
    for first in range(start, stop, TILE):
        for label in range(len(probs)):
            for i in range(first, min(first + TILE, stop)):
                probs[label, i] = rows[i * width + label]


@njit
def softmax(rows: np.ndarray, start: int, stop: int) -> None:
    """Replace the row ``rows[start:stop]`` by its softmax."""
    top = load(rows, start)
    for at in range(start + 8, stop, 8):
        top = larger(top, load(rows, at))
    top = highest(top)
    sum_of_all = spread(np.float32(0))
    for at in range(start, stop, 8):
        part = exp_falling(sub(load(rows, at), top))
        store(rows, at, part)
        sum_of_all = add(sum_of_all, part)
    scale = divide(spread(np.float32(1)), total(sum_of_all))
    for at in range(start, stop, 8):
        store(rows, at, mul(load(rows, at), scale))
