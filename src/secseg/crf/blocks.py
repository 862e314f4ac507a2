"""Exact mean field of one image on a CPU, without the products that change nothing.

Two things are left out. Sorted by brightness, locations that feel each other lie close together: more than half of the
kernel's blocks of 8 x 8 locations hold nothing but numbers below rounding. And in an iteration only those locations
send anew whose probabilities have moved since they last did: after three iterations most have not.
The Gaussian kernel is a product of one over rows and one over columns.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from secseg.crf.base import CRFParams
from secseg.crf.compiled import njit
from secseg.crf.packed import TILE, enter, leave, row_width, softmax
from secseg.crf.simd import (
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

#: Entries of a kernel below this, the largest being 1, are left out where they fill a block, and far along an axis.
#: That moves probabilities by about 1e-6, where float32's rounding moves them by 1e-5.
CUT = 1e-6
#: A location sends anew when one of its probabilities differs by more than this from what it sent: so the sums are
#: wrong by no more than this times the weight of the kernel and its largest row sum, which is about 1.2.
MOVED = 1e-6
#: Locations whose moves are added up at a time.
PART = 128


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
    y, x = np.divmod(order, width)
    colours = photo.reshape(3, -1)[:, order] / params.bilateral_rgb
    features = np.concatenate([np.stack([y, x]) / params.bilateral_xy, colours]).astype(np.float32)
    # What fills the last eight up is far from all others.
    features = np.pad(features, ((0, 0), (0, -n % 8)), constant_values=features.max() + 100)
    kernel = _kernel(features, np.float32(np.log(CUT)))
    axes = [_axis(size, params.gaussian_xy) for size in (height, width)]
    flat = scores.reshape(labels, -1), probs.reshape(labels, -1)
    weights = np.float32(params.bilateral_weight), np.float32(params.gaussian_weight)
    _mean_field(*flat, row_width(labels), order, *kernel, *axes, *weights, params.iterations)


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
def _kernel(features: np.ndarray, least: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The kernel of sorted locations with features (5, size), in panels: eight locations against all, and so on.

    Returns:
        panels: (groups, size, 8) float32, entry (8 i + k, j) of the kernel at [i, j, k]; undefined in blocks of zeros.
        held: (groups, groups) bool, the blocks that are not.
        roots: (size,) float32, ``D^-1/2``.
    """
    size = features.shape[1]
    groups = size // 8
    panels = np.empty((groups, size, 8), np.float32)  # memory that is not written to is not taken
    held = np.zeros((groups, groups), np.bool_)
    roots = np.zeros(size, np.float32)
    flat, places, block = panels.reshape(-1), features.reshape(-1), np.empty(64, np.float32)
    minus_half = spread(np.float32(-0.5))
    for one in range(groups):
        for other in range(one, groups):
            nearest = spread(np.float32(-1e30))
            for i in range(8):
                distance = spread(np.float32(0))
                for d in range(5):
                    apart = sub(spread(places[d * size + 8 * one + i]), load(places, d * size + 8 * other))
                    distance = muladd(apart, apart, distance)
                exponent = mul(distance, minus_half)
                nearest = larger(nearest, exponent)
                store(block, 8 * i, exponent)
            if first_lane(highest(nearest)) < least:
                continue
            held[one, other] = held[other, one] = True
            for i in range(8):
                values = exp_falling(load(block, 8 * i))
                store(block, 8 * i, values)
                store(flat, (other * size + 8 * one + i) * 8, values)
                store(roots, 8 * other, add(load(roots, 8 * other), values))
            if one != other:
                for j in range(8):
                    for i in range(8):
                        panels[one, 8 * other + j, i] = block[8 * i + j]
                        roots[8 * one + i] += block[8 * i + j]
    for i in range(size):
        roots[i] = np.float32(1) / np.sqrt(roots[i])
    return panels, held, roots


@njit
def _mean_field(
    scores: np.ndarray,
    probs: np.ndarray,
    width: int,
    order: np.ndarray,
    panels: np.ndarray,
    held: np.ndarray,
    roots: np.ndarray,
    vertical: np.ndarray,
    horizontal: np.ndarray,
    bilateral_weight: float,
    gaussian_weight: float,
    iterations: int,
) -> None:
    """``order``: the location at each place of the sorting. What has to do with ``panels`` lies in that order."""
    n, size = scores.shape[1], len(roots)
    unary = np.empty(n * width, np.float32)
    rows, between = np.empty_like(unary), np.empty_like(unary)
    sent = np.zeros(size * width, np.float32)
    sums, moves = np.zeros_like(sent), np.empty_like(sent)
    movers, tops = np.empty(size, np.int64), np.empty(TILE * 8, np.float32)
    enter(scores, unary, width, 0, n)
    rows[:] = unary
    for iteration in range(iterations + 1):
        for first in range(0, n, TILE):
            softmax(rows, first * width, min(first + TILE, n) * width, width, tops)
        if iteration == iterations:
            break
        count = _find_movers(rows, order, roots, sent, moves, movers, width)
        _send(panels, held, moves, movers[:count], sums, width)
        _along(rows, between, horizontal, 1, width)
        _along(between, rows, vertical, len(horizontal), width)
        factor = spread(gaussian_weight)
        for place in range(n):
            i, own = order[place], spread(bilateral_weight * roots[place])
            for label in range(0, width, 8):
                score = muladd(factor, load(rows, i * width + label), load(unary, i * width + label))
                store(rows, i * width + label, muladd(own, load(sums, place * width + label), score))
    leave(rows, probs, width, 0, n)


@njit
def _find_movers(
    rows: np.ndarray,
    order: np.ndarray,
    roots: np.ndarray,
    sent: np.ndarray,
    moves: np.ndarray,
    movers: np.ndarray,
    width: int,
) -> int:
    """List the places that have moved since they sent, and their moves times ``D^-1/2``; return how many they are."""
    count, zero = 0, spread(np.float32(0))
    for place in range(len(order)):
        i = order[place]
        largest = zero
        for label in range(0, width, 8):
            move = sub(load(rows, i * width + label), load(sent, place * width + label))
            largest = larger(largest, larger(move, sub(zero, move)))
        if first_lane(highest(largest)) > MOVED:
            root = spread(roots[place])
            for label in range(0, width, 8):
                now = load(rows, i * width + label)
                store(moves, count * width + label, mul(root, sub(now, load(sent, place * width + label))))
                store(sent, place * width + label, now)
            movers[count] = place
            count += 1
    return count


@njit
def _send(
    panels: np.ndarray,
    held: np.ndarray,
    moves: np.ndarray,
    movers: np.ndarray,
    sums: np.ndarray,
    width: int,
) -> None:
    """Add the kernel times the moves to the sums, a part at a time: long sums in float32 lose digits."""
    size, groups = panels.shape[1], len(panels)
    flat, zero = panels.reshape(-1), spread(np.float32(0))
    felt = np.empty(len(movers) + 1, np.int64)
    for group in range(groups):
        some = 0
        for k in range(len(movers)):  # without a branch that nobody can predict
            felt[some] = k
            some += held[group, movers[k] // 8]
        for label in range(0, width, 8):
            for first in range(0, some, PART):
                # Names in place of an array: they stay in registers.
                sum_0, sum_1, sum_2, sum_3, sum_4, sum_5, sum_6, sum_7 = zero, zero, zero, zero, zero, zero, zero, zero
                for k in felt[first : min(first + PART, some)]:
                    move = load(moves, k * width + label)
                    here = (group * size + movers[k]) * 8
                    sum_0 = muladd(spread(flat[here]), move, sum_0)
                    sum_1 = muladd(spread(flat[here + 1]), move, sum_1)
                    sum_2 = muladd(spread(flat[here + 2]), move, sum_2)
                    sum_3 = muladd(spread(flat[here + 3]), move, sum_3)
                    sum_4 = muladd(spread(flat[here + 4]), move, sum_4)
                    sum_5 = muladd(spread(flat[here + 5]), move, sum_5)
                    sum_6 = muladd(spread(flat[here + 6]), move, sum_6)
                    sum_7 = muladd(spread(flat[here + 7]), move, sum_7)
                at = 8 * group * width + label
                for part in (sum_0, sum_1, sum_2, sum_3, sum_4, sum_5, sum_6, sum_7):
                    store(sums, at, add(load(sums, at), part))
                    at += width


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
