"""Packed scores: the labels of a pixel lie side by side, padded to whole SIMD vectors."""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np

from secseg.densecrf.simd import WIDTH, exp_falling, highest, load, mul, njit, spread, store, sub, total, zeros

#: A tuple of which only the length matters: the compiler knows the length of a tuple, and unrolls the inner loops.
Length: TypeAlias = tuple[int, ...]
#: Pixels that are processed together: few enough for the first-level cache.
TILE = 32
#: Bytes.
CACHE_LINE = 64


def packed_width(labels: int) -> int:
    """Return how many float32 values a pixel takes: the next multiple of ``WIDTH``."""
    return -(-labels // WIDTH) * WIDTH


def empty_packed(*shape: int) -> np.ndarray:
    """Return an uninitialised float32 array that starts at a cache line, so that a pixel lies in as few as possible."""
    size = 4 * math.prod(shape)
    memory = np.empty(size + CACHE_LINE, np.uint8)
    start = -memory.ctypes.data % CACHE_LINE
    return memory[start : start + size].view(np.float32).reshape(shape)


@njit
def pack(scores: np.ndarray, packed: np.ndarray, width: int, start: int, stop: int) -> None:
    """Copy the pixels start..stop of scores (C, n) to ``packed`` (n * width,).

    The padding gets scores whose probability is 0.
    """
    labels = len(scores)
    for first in range(start, stop, TILE):
        last = min(first + TILE, stop)
        for label in range(labels):
            for i in range(first, last):
                packed[i * width + label] = scores[label, i]
        for i in range(first, last):
            packed[i * width + labels : (i + 1) * width] = np.float32(-1e30)


@njit
def unpack(packed: np.ndarray, probs: np.ndarray, width: int, start: int, stop: int) -> None:
    """Copy the pixels start..stop of ``packed`` (n * width,) to ``probs`` (C, n)."""
    for first in range(start, stop, TILE):
        for label in range(len(probs)):
            for i in range(first, min(first + TILE, stop)):
                probs[label, i] = packed[i * width + label]


@njit
def softmax(packed: np.ndarray, pixels: int, row: Length, maxima: np.ndarray) -> None:
    """Replace the first ``pixels`` pixels of ``packed``, at most ``TILE``, by their softmax.

    Each step runs over all pixels before the next one starts: within a pixel, each step waits for the one before.
    ``row`` has as many entries as a pixel takes values, and ``maxima`` is scratch memory, (TILE,) float32.
    """
    width, like = len(row), zeros(row)
    for i in range(pixels):
        maxima[i] = highest(load(packed, i * width, like))
    for i in range(pixels):
        scores = load(packed, i * width, like)
        store(packed, i * width, exp_falling(sub(scores, spread(maxima[i], like))))
    for i in range(pixels):
        values = load(packed, i * width, like)
        store(packed, i * width, mul(values, spread(np.float32(1) / total(values), like)))
