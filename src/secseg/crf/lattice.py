"""Mean field on a permutohedral lattice: the official approximation, for images of any size.

Locations are splatted onto the corners of the lattice simplex that encloses their feature vector, the corners are
blurred along each lattice direction, and the locations read their result back: three sparse steps, linear in the
number of locations, in place of the dense kernel. The result equals pydensecrf's.

Reading back, softmax and the next splat are one pass over the locations, whose scores are the only large array that is
held; labels lie side by side in groups of eight.

Reference:
    Adams, Baek and Davis, Fast High-Dimensional Filtering Using the Permutohedral Lattice, Eurographics 2010.
    Krähenbühl and Koltun, Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials, NIPS 2011.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from secseg.crf.base import CRFParams, check_input, with_diagonal_gradient, working_dtype
from secseg.crf.compiled import njit
from secseg.crf.lanes import (
    add,
    divide,
    exp_falling,
    highest,
    larger,
    load,
    mul,
    muladd,
    spread,
    store,
    sub,
    total,
)
from secseg.crf.permutohedral import Lattice, build_lattice

#: Locations whose scores are worked on together: few enough for the first cache.
TILE = 32
#: From so many locations on an image is worked on in 2, 4 or 8 parts, which threads can share. The parts do not depend
#: on the number of threads, so neither does the result.
PARTS = ((2**21, 8), (2**19, 4), (2**16, 2))


class Backend:
    """Lattice mean field; see :func:`secseg.crf.build_crf`. Computed in float32.

    Images of a batch run side by side on torch's number of threads, and parts of a large image do.

    Raises:
        UserError: on a call with input that does not fit together, or with widths too small for a lattice.
    """

    def __init__(self, params: CRFParams, gradient: str = "stop") -> None:
        self.params, self.gradient = params, gradient

    def __call__(self, logits: Tensor, images: Tensor) -> Tensor:
        check_input(logits, images)
        scores = logits.detach().float().cpu().contiguous().numpy()
        photos = images.cpu().contiguous().numpy()
        probs = np.empty_like(scores)
        threads = torch.get_num_threads()
        if len(scores) == 1 or threads == 1:
            for one in zip(scores, photos, probs, strict=True):
                self._solve(*one, threads)
        else:
            with ThreadPoolExecutor(min(len(scores), threads)) as pool:
                list(pool.map(self._solve, scores, photos, probs))
        result = torch.from_numpy(probs).to(logits.device, working_dtype(logits))
        return with_diagonal_gradient(result, logits) if self.gradient == "diagonal" else result

    def _solve(self, scores: np.ndarray, photo: np.ndarray, probs: np.ndarray, threads: int = 1) -> None:
        """Write the probabilities (C, H, W) for scores (C, H, W) float32 and a photograph (3, H, W) uint8."""
        p, (height, width) = self.params, scores.shape[1:]
        bilateral = build_lattice(height, width, p.bilateral_xy, photo, p.bilateral_rgb)
        gaussian = _gaussian_lattice(height, width, p.gaussian_xy)
        flat = scores.reshape(len(scores), -1), probs.reshape(len(scores), -1)
        mean_field(*flat, (bilateral, gaussian), (p.bilateral_weight, p.gaussian_weight), p.iterations, threads)


@lru_cache(maxsize=8)
def _gaussian_lattice(height: int, width: int, xy: float) -> Lattice:
    """The lattice of the positions, the same for all images of a size; photographs have few sizes."""
    return build_lattice(height, width, xy)


def mean_field(
    scores: np.ndarray,
    probs: np.ndarray,
    lattices: tuple[Lattice, Lattice],
    weights: tuple[float, float],
    iterations: int,
    threads: int = 1,
) -> None:
    """``Q <- softmax(scores + sum_m w_m K_m Q)``, from ``softmax(scores)``.

    Args:
        scores: (C, n) float32.
        probs: (C, n) float32, is overwritten with the result.
        lattices: of the bilateral and of the Gaussian kernel.
        weights: of both kernels.
        iterations: at least 1.
        threads: that share the parts of a large image.
    """
    labels, n = scores.shape
    blocks = -(-labels // 8)
    width = 8 * blocks
    parts = next((parts for least, parts in PARTS if n >= least), 1)
    bounds = [n * part // parts for part in range(parts + 1)]
    unary = np.empty(n * width, np.float32)
    # Of each lattice two grids, a row of labels for each point: one is read from while the other is splatted to.
    sources = [np.empty((parts, lattice.neighbours.shape[1] * width), np.float32) for lattice in lattices]
    targets = [np.empty_like(grid) for grid in sources]
    bilateral, gaussian = lattices
    # The gain of the blur: each step has taps of 1/2, 1, 1/2 that are not divided by their sum.
    gains = [weight / (1 + 2.0 ** (1 - len(k.neighbours))) for weight, k in zip(weights, lattices, strict=True)]

    def update(part: int) -> None:
        start, stop = bounds[part], bounds[part + 1]
        if iteration == 0:
            _enter(scores, unary, width, start, stop)
        _update(
            *(unary, blocks, bilateral.corners, bilateral.weights, gaussian.corners, gaussian.weights),
            *(sources[0][0], sources[1][0], targets[0][part], targets[1][part]),
            *(start, stop, iteration > 0, iteration < iterations),
        )
        if iteration == iterations:
            _leave(unary, probs, width, start, stop)

    def blur(unit: tuple[int, int]) -> None:
        kernel, block = unit
        neighbours = lattices[kernel].neighbours
        _blur(targets[kernel], sources[kernel][0], neighbours, width, 8 * block, np.float32(gains[kernel]))

    units = [(kernel, block) for kernel in (0, 1) for block in range(blocks)]
    threads = min(threads, parts)
    with ThreadPoolExecutor(threads) if threads > 1 else nullcontext() as pool:
        run = map if pool is None else pool.map
        for iteration in range(iterations + 1):
            list(run(update, range(parts)))
            if iteration < iterations:
                list(run(blur, units))
                for kernel, lattice in enumerate(lattices):
                    if len(lattice.neighbours) % 2 == 0:  # the last step of the blur wrote to the grid of the splat
                        sources[kernel], targets[kernel] = targets[kernel], sources[kernel]


@njit
def _enter(scores: np.ndarray, unary: np.ndarray, width: int, start: int, stop: int) -> None:
    """Transpose scores (C, n) into rows of ``width`` labels; those that fill a row up can get no probability."""
    labels = len(scores)
    for first in range(start, stop, TILE):
        last = min(first + TILE, stop)
        for label in range(labels):
            for i in range(first, last):
                unary[i * width + label] = scores[label, i]
        for i in range(first, last):
            unary[i * width + labels : (i + 1) * width] = np.float32(-1e30)


@njit
def _leave(unary: np.ndarray, probs: np.ndarray, width: int, start: int, stop: int) -> None:
    """The way back of ``_enter``."""
    for first in range(start, stop, TILE):
        for label in range(len(probs)):
            for i in range(first, min(first + TILE, stop)):
                probs[label, i] = unary[i * width + label]


@njit
def _update(
    unary: np.ndarray,
    blocks: int,
    bilateral_corners: np.ndarray,
    bilateral_weights: np.ndarray,
    gaussian_corners: np.ndarray,
    gaussian_weights: np.ndarray,
    bilateral: np.ndarray,
    gaussian: np.ndarray,
    bilateral_target: np.ndarray,
    gaussian_target: np.ndarray,
    start: int,
    stop: int,
    read: bool,
    splat: bool,
) -> None:
    """For locations start..stop: scores with what is read from the grids, softmax, and the splat to the targets.

    Args:
        unary: (n * 8 blocks,), rows of scores; the last iteration, which does not splat, writes the result there.
        blocks: of eight labels in a row.
        bilateral, gaussian: blurred grids, whose rows the corners number, read from unless it is the first time.
        bilateral_target, gaussian_target: grids of these locations alone, overwritten.
    """
    width = 8 * blocks
    rows = np.empty(TILE * width, np.float32)
    if splat:
        bilateral_target[:] = 0
        gaussian_target[:] = 0
    for first in range(start, stop, TILE):
        there = min(TILE, stop - first)
        for at in range(there):
            i = first + at
            for label in range(0, width, 8):
                score = load(unary, i * width + label)
                if read:  # two sums, which do not wait for each other; the numbers of corners are those of d = 5 and 2
                    other = spread(np.float32(0))
                    for j in range(3):
                        row = load(bilateral, bilateral_corners[i, j] * width + label)
                        score = muladd(spread(bilateral_weights[i, j]), row, score)
                        row = load(bilateral, bilateral_corners[i, j + 3] * width + label)
                        other = muladd(spread(bilateral_weights[i, j + 3]), row, other)
                    for j in range(3):
                        row = load(gaussian, gaussian_corners[i, j] * width + label)
                        other = muladd(spread(gaussian_weights[i, j]), row, other)
                    score = add(score, other)
                store(rows, at * width + label, score)
        for at in range(0, there * width, width):
            _softmax(rows, at, at + width)
        for at in range(there):
            i = first + at
            for label in range(0, width, 8):
                prob = load(rows, at * width + label)
                if not splat:
                    store(unary, i * width + label, prob)
                    continue
                for j in range(6):
                    row = bilateral_corners[i, j] * width + label
                    sum_there = muladd(spread(bilateral_weights[i, j]), prob, load(bilateral_target, row))
                    store(bilateral_target, row, sum_there)
                for j in range(3):
                    row = gaussian_corners[i, j] * width + label
                    sum_there = muladd(spread(gaussian_weights[i, j]), prob, load(gaussian_target, row))
                    store(gaussian_target, row, sum_there)


@njit
def _softmax(rows: np.ndarray, start: int, stop: int) -> None:
    """Softmax of ``rows[start:stop]`` in place."""
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


@njit
def _blur(grids: np.ndarray, other: np.ndarray, neighbours: np.ndarray, width: int, label: int, gain: float) -> None:
    """Add up the parts' grids (parts, rows * width) and blur labels label..label+8 along each direction, in turns
    between the first grid and ``other``: the result is in the first where the directions are even, else in ``other``.
    """
    directions, rows = neighbours.shape[:2]
    first, nothing = grids[0], spread(np.float32(0))
    for part in range(1, len(grids)):
        grid = grids[part]
        for at in range(width + label, rows * width, width):
            store(first, at, add(load(first, at), load(grid, at)))
    store(first, label, nothing)  # the missing neighbour
    store(other, label, nothing)
    half = spread(np.float32(0.5))
    for j in range(directions):
        source, target = (first, other) if j % 2 == 0 else (other, first)
        factor = spread(gain if j == directions - 1 else np.float32(1))
        for point in range(1, rows):
            before, after = neighbours[j, point, 0] * width + label, neighbours[j, point, 1] * width + label
            pulled = add(load(source, before), load(source, after))
            at = point * width + label
            store(target, at, mul(factor, muladd(half, pulled, load(source, at))))
