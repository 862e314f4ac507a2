"""Label scores as rows: the labels of a location lie side by side, filled up to whole groups of eight lanes."""

from __future__ import annotations

import math

import numpy as np

from secseg.crf.compiled import njit
from secseg.crf.simd import add, divide, exp_falling, highest, larger, load, mul, spread, store, sub, total

#: Locations that are worked on together: few enough for the first cache.
TILE = 32
CACHE_LINE = 64
"""Bytes."""


def row_width(labels: int) -> int:
    """Return the length of a row of so many labels: the next multiple of 8."""
    return -(-labels // 8) * 8


def empty_rows(*shape: int) -> np.ndarray:
    """Return a float32 array of this shape, uninitialised, that begins with a cache line: rows then lie in as few lines
    as can be."""
    size = 4 * math.prod(shape)
    memory = np.empty(size + CACHE_LINE, np.uint8)
    start = -memory.ctypes.data % CACHE_LINE
    return memory[start : start + size].view(np.float32).reshape(shape)


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
def softmax(rows: np.ndarray, start: int, stop: int, width: int, tops: np.ndarray) -> None:
    """Replace each row of ``rows[start:stop]`` by its softmax: step by step for all of them, since within a row each
    step waits for the one before.

    Args:
        rows: float32; start and stop are positions in it.
        width: of a row.
        tops: eight numbers a row, to work with.
    """
    k = 0
    for row in range(start, stop, width):
        top = load(rows, row)
        for at in range(row + 8, row + width, 8):
            top = larger(top, load(rows, at))
        store(tops, k, highest(top))
        k += 8
    k = 0
    for row in range(start, stop, width):
        top = load(tops, k)
        for at in range(row, row + width, 8):
            store(rows, at, exp_falling(sub(load(rows, at), top)))
        k += 8
    for row in range(start, stop, width):
        sum_of_all = load(rows, row)
        for at in range(row + 8, row + width, 8):
            sum_of_all = add(sum_of_all, load(rows, at))
        scale = divide(spread(np.float32(1)), total(sum_of_all))
        for at in range(row, row + width, 8):
            store(rows, at, mul(load(rows, at), scale))
