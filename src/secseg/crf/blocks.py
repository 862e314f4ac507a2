"""Exact mean field of one image on a CPU: the bilateral kernel in blocks of 8 x 8 locations, where it is not zero.

Sorted by brightness, locations that feel each other lie close together: more than half of the blocks of a photograph
hold nothing but numbers below rounding, and are left out. The kernel is symmetric, so one triangle is kept; the
Gaussian kernel is a product of one over rows and one over columns.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from secseg.crf.base import CRFParams
from secseg.crf.compiled import njit
from secseg.crf.lanes import (
    add,
    exp_falling,
    first_lane,
    highest,
    larger,
    load,
    mul,
    muladd,
    spread,
    store,
    sub,
)
from secseg.crf.rows import enter, leave, row_width, softmax

#: Entries of a kernel below this, the largest being 1, are left out where they fill a block, and far along an axis.
#: That moves probabilities by about 1e-6, where float32's rounding moves them by 1e-5.
CUT = 1e-6


def solve(scores: np.ndarray, photo: np.ndarray, probs: np.ndarray, params: CRFParams) -> None:
    """Write ``Q``, iterated from ``softmax(scores)``, to ``probs``.

    Args:
        scores, probs: (C, H, W) float32.
        photo: (3, H, W) uint8.
        params: kernels and iterations.
    """
    labels, height, width = scores.shape
    n = height * width
    order = np.argsort(photo.reshape(3, -1).sum(0), kind="stable").astype(np.int32)
    place = np.empty(n, np.int32)
    place[order] = np.arange(n, dtype=np.int32)
    y, x = np.divmod(order, width)
    colours = photo.reshape(3, -1)[:, order] / params.bilateral_rgb
    features = np.concatenate([np.stack([y, x]) / params.bilateral_xy, colours]).astype(np.float32)
    # What fills the last eight up is far from all others.
    features = np.pad(features, ((0, 0), (0, -n % 8)), constant_values=features.max() + 100)
    blocks, pairs = _kernel(features, np.float32(params.bilateral_weight), np.float32(np.log(CUT)))
    axes = [_axis(size, params.gaussian_xy) for size in (height, width)]
    flat = scores.reshape(labels, -1), probs.reshape(labels, -1)
    _mean_field(*flat, row_width(labels), place, blocks, pairs, *axes, float(params.gaussian_weight), params.iterations)


@lru_cache(maxsize=64)
def _axis(size: int, xy: float) -> np.ndarray:
    """The normalised Gaussian kernel of one axis: (size, 2 r + 1) float32, of each location and those up to r away."""
    reach = min(size - 1, int(np.sqrt(-2 * np.log(CUT)) * xy))
    steps = np.arange(-reach, reach + 1)
    at = np.arange(size)[:, None] + steps
    kernel = np.exp(-0.5 * (steps / xy) ** 2) * ((at >= 0) & (at < size))
    root = np.sqrt(kernel.sum(1))
    return (kernel / root[:, None] / root[at.clip(0, size - 1)]).astype(np.float32)


@njit
def _kernel(features: np.ndarray, weight: float, least: float) -> tuple[np.ndarray, np.ndarray]:
    """The upper triangle of the normalised kernel: blocks (N, 64), and the groups of eight that each joins, (N, 2)."""
    groups = features.shape[1] // 8
    most = groups * (groups + 1) // 2  # memory that is not written to is not taken
    blocks, pairs = np.empty((most, 64), np.float32), np.empty((most, 2), np.int32)
    flat, places = blocks.reshape(-1), features.reshape(-1)
    size = features.shape[1]
    sums = np.zeros(size, np.float32)
    minus_half, count = spread(np.float32(-0.5)), 0
    for one in range(groups):
        for other in range(one, groups):
            nearest = spread(np.float32(-1e30))
            for i in range(8):
                exponent = spread(np.float32(0))
                for d in range(5):
                    apart = sub(spread(places[d * size + 8 * one + i]), load(places, d * size + 8 * other))
                    exponent = muladd(apart, apart, exponent)
                exponent = mul(exponent, minus_half)
                nearest = larger(nearest, exponent)
                store(flat, 64 * count + 8 * i, exponent)
            if first_lane(highest(nearest)) < least:
                continue
            for i in range(8):
                values = exp_falling(load(flat, 64 * count + 8 * i))
                store(flat, 64 * count + 8 * i, values)
                store(sums, 8 * other, add(load(sums, 8 * other), values))
            if one != other:
                for j in range(8):
                    for i in range(8):
                        sums[8 * one + i] += blocks[count, 8 * i + j]
            pairs[count, 0], pairs[count, 1] = one, other
            count += 1
    for i in range(size):
        sums[i] = np.float32(1) / np.sqrt(sums[i])
    for k in range(count):
        for i in range(8):
            scale = spread(sums[8 * pairs[k, 0] + i] * weight)
            values = mul(load(flat, 64 * k + 8 * i), mul(scale, load(sums, 8 * pairs[k, 1])))
            store(flat, 64 * k + 8 * i, values)
    return blocks[:count], pairs[:count]


@njit
def _mean_field(
    scores: np.ndarray,
    probs: np.ndarray,
    width: int,
    place: np.ndarray,
    blocks: np.ndarray,
    pairs: np.ndarray,
    vertical: np.ndarray,
    horizontal: np.ndarray,
    gaussian_weight: float,
    iterations: int,
) -> None:
    """Rows of labels lie in the order of the image, but for those that the blocks work on, which lie in theirs."""
    n = scores.shape[1]
    sorted_rows = -(-n // 8) * 8 * width
    unary, rows, between = (
        np.empty(n * width, np.float32),
        np.empty(n * width, np.float32),
        np.empty(n * width, np.float32),
    )
    inputs, outputs = np.zeros(sorted_rows, np.float32), np.empty(sorted_rows, np.float32)
    enter(scores, unary, width, 0, n)
    rows[:] = unary
    for iteration in range(iterations + 1):
        for i in range(n):
            softmax(rows, i * width, (i + 1) * width)
        if iteration == iterations:
            break
        for i in range(n):
            for label in range(0, width, 8):
                store(inputs, place[i] * width + label, load(rows, i * width + label))
        outputs[:] = 0
        _multiply(blocks, pairs, inputs, outputs, width)
        _along(rows, between, horizontal, 1, width)
        _along(between, rows, vertical, len(horizontal), width)
        factor = spread(np.float32(gaussian_weight))
        for i in range(n):
            for label in range(0, width, 8):
                at = i * width + label
                score = muladd(factor, load(rows, at), load(unary, at))
                store(rows, at, add(score, load(outputs, place[i] * width + label)))
    leave(rows, probs, width, 0, n)


@njit
def _along(rows: np.ndarray, out: np.ndarray, kernel: np.ndarray, stride: int, width: int) -> None:
    """``out`` = the kernel of one axis times ``rows``; neighbours along the axis are ``stride`` locations apart."""
    size, reach = len(kernel), kernel.shape[1] // 2
    for i in range(len(rows) // width):
        at = i // stride % size
        first, last = max(0, at - reach), min(size, at + reach + 1)
        for label in range(0, width, 8):
            sum_there = spread(np.float32(0))
            for other in range(first, last):
                row = load(rows, (i + (other - at) * stride) * width + label)
                sum_there = muladd(spread(kernel[at, other - at + reach]), row, sum_there)
            store(out, i * width + label, sum_there)


@njit
def _multiply(blocks: np.ndarray, pairs: np.ndarray, inputs: np.ndarray, outputs: np.ndarray, width: int) -> None:
    """Add the symmetric kernel times ``inputs`` to ``outputs``, both rows of labels in the order of the blocks."""
    flat = blocks.reshape(-1)
    for k in range(len(pairs)):
        one, other = 8 * pairs[k, 0] * width, 8 * pairs[k, 1] * width
        for label in range(0, width, 8):
            _block(flat, 64 * k, 8, 1, inputs, other + label, outputs, one + label, width)
            if one != other:
                _block(flat, 64 * k, 1, 8, inputs, one + label, outputs, other + label, width)


@njit
def _block(
    blocks: np.ndarray,
    entry: int,
    down: int,
    across: int,
    inputs: np.ndarray,
    start: int,
    outputs: np.ndarray,
    at: int,
    width: int,
) -> None:
    """Add the block whose first entry is ``entry``, or its transpose, times eight rows to eight rows, for one group of
    labels. Names in place of an array: they stay in registers."""
    row_0, row_1 = load(inputs, start), load(inputs, start + width)
    row_2, row_3 = load(inputs, start + 2 * width), load(inputs, start + 3 * width)
    row_4, row_5 = load(inputs, start + 4 * width), load(inputs, start + 5 * width)
    row_6, row_7 = load(inputs, start + 6 * width), load(inputs, start + 7 * width)
    for i in range(8):
        here = entry + i * down
        even = muladd(spread(blocks[here]), row_0, load(outputs, at + i * width))
        odd = mul(spread(blocks[here + across]), row_1)
        even = muladd(spread(blocks[here + 2 * across]), row_2, even)
        odd = muladd(spread(blocks[here + 3 * across]), row_3, odd)
        even = muladd(spread(blocks[here + 4 * across]), row_4, even)
        odd = muladd(spread(blocks[here + 5 * across]), row_5, odd)
        even = muladd(spread(blocks[here + 6 * across]), row_6, even)
        odd = muladd(spread(blocks[here + 7 * across]), row_7, odd)
        store(outputs, at + i * width, add(even, odd))
