"""Mean field on a permutohedral lattice: the official approximation, for images of any size.

Three sparse steps, whose cost is linear in the number of pixels, replace the dense kernel. The splat adds the values of
each pixel to the corners of the lattice simplex that encloses its features. The blur runs along each direction of the
lattice. The slice reads the result of each pixel back from the same corners. The result equals pydensecrf's.

A lattice of positions and colours is called bilateral here, and a lattice of positions Gaussian.

Slice, softmax and the next splat are one pass over the pixels. Their packed scores (see
:mod:`secseg.densecrf.packed`) are the only large array in memory.

Reference:
    Adams, Baek and Davis, Fast High-Dimensional Filtering Using the Permutohedral Lattice, Eurographics 2010.
    Krähenbühl and Koltun, Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials, NIPS 2011.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np

from secseg.densecrf.packed import CACHE_LINE, TILE, Length, empty_packed, pack, packed_width, softmax, unpack
from secseg.densecrf.parts import bounds_of, parts_of, workers
from secseg.densecrf.permutohedral import Lattice, build_lattice, filtered
from secseg.densecrf.simd import add, fetch, load, muladd, njit, spread, store, zeros

Kernels: TypeAlias = tuple[Lattice, Lattice]
#: The corners and weights of a :class:`Lattice`.
Simplices: TypeAlias = tuple[np.ndarray, np.ndarray]
#: The values of the labels at the lattice points of the bilateral kernel, and of the Gaussian one.
Grids: TypeAlias = tuple[np.ndarray, np.ndarray]

#: How many pixels ahead the lattice points are prefetched.
AHEAD = 8
#: Most pixels of an image whose Gaussian lattice is kept for the next image. It takes 24 bytes for each pixel.
MOST_KEPT = 2**20


def gaussian_lattice(height: int, width: int, weight: float, xy: float) -> Lattice:
    """Return the kernel of the positions, cached for all images of a size. A data set has few sizes.

    At the training widths, no pixel reaches another one on the lattice, and the kernel is its weight times the
    identity. It then has one lattice point for each pixel, instead of three.
    """
    build = _kept_gaussian if height * width <= MOST_KEPT else _gaussian
    return build(height, width, weight, xy)


def _gaussian(height: int, width: int, weight: float, xy: float) -> Lattice:
    lattice = build_lattice(height, width, weight, xy)
    rng = np.random.default_rng(0)
    probe = rng.choice(np.array([-1, 1], np.float32), height * width)
    if np.allclose(filtered(lattice, probe[None])[0], weight * probe, rtol=0, atol=1e-5 * weight):
        n, nothing = height * width, np.zeros(0, np.int32)
        roots = np.full((n, 1), np.sqrt(weight), np.float32)
        return Lattice(np.arange(1, n + 1, dtype=np.int32)[:, None], roots, n, nothing, nothing, np.zeros(1, np.int64))
    return lattice


_kept_gaussian = lru_cache(maxsize=8)(_gaussian)


def merged(lattices: Sequence[Lattice], pixels: int) -> Lattice:
    """Return one lattice for the sum of several kernels of the same pixels. Without a kernel, it has no corners."""
    if len(lattices) == 1:
        return lattices[0]
    points = sum(lattice.points for lattice in lattices)
    starts = np.cumsum([0] + [lattice.points for lattice in lattices])
    corners, weights = [np.zeros((pixels, 0), np.int32)], [np.zeros((pixels, 0), np.float32)]
    reads, writes, bounds = [np.zeros(0, np.int32)], [np.zeros(0, np.int32)], [0]
    for lattice, start in zip(lattices, starts[:-1], strict=True):
        corners.append(lattice.corners + np.int32(start))
        weights.append(lattice.weights)
    for j in range(max((len(lattice.bounds) - 1 for lattice in lattices), default=0)):
        for lattice, start in zip(lattices, starts[:-1], strict=True):
            chains = slice(*lattice.bounds[j : j + 2]) if j + 1 < len(lattice.bounds) else slice(0)
            own = lattice.reads[chains]
            reads.append(np.where(own == 0, 0, own + start).astype(np.int32))
            writes.append(np.where(own == 0, points + 1, own + start).astype(np.int32))
        bounds.append(sum(map(len, reads)))
    simplices = np.concatenate(corners, 1), np.concatenate(weights, 1)
    return Lattice(*simplices, points, np.concatenate(reads), np.concatenate(writes), np.array(bounds, np.int64))


def mean_field(scores: np.ndarray, probs: np.ndarray, kernels: Kernels, iterations: int, threads: int = 1) -> None:
    """Iterate ``Q <- softmax(scores + sum_m K_m Q)``, starting at ``softmax(scores)``.

    Args:
        scores, probs: (C, n) float32; ``probs`` is overwritten with the result.
        kernels: the bilateral kernel and the Gaussian one. A lattice without corners is no kernel (see ``merged``).
        iterations: at least 0.
        threads: how many threads share the parts of a large image.
    """
    labels, n = scores.shape
    width = packed_width(labels)
    parts = parts_of(n)
    bounds = bounds_of(n, parts)
    unary = empty_packed(n * width)
    # Two grids of packed labels for each lattice: the slice reads one, and the splat writes the other.
    sources, targets = ([empty_packed(parts, (kernel.points + 2) * width) for kernel in kernels] for _ in range(2))
    row, sizes = (0,) * width, tuple((0,) * kernel.corners.shape[1] for kernel in kernels)
    # Each call unpacks the arrays of its tuples again, which costs a microsecond for a Lattice.
    simplices = [(kernel.corners, kernel.weights) for kernel in kernels]

    def update(part: int) -> None:
        start, stop = bounds[part]
        if iteration == 0:
            pack(scores, unary, width, start, stop)
        grids = (sources[0][0], sources[1][0]), (targets[0][part], targets[1][part])
        _update(unary, row, *sizes, *simplices, *grids, start, stop, iteration > 0, iteration < iterations)
        if iteration == iterations:
            unpack(unary, probs, width, start, stop)

    def blur(number: int) -> None:
        kernel = kernels[number]
        _blur(sources[number], kernel.reads, kernel.writes, kernel.bounds, row)

    with workers(min(threads, parts)) as run:
        for iteration in range(iterations + 1):
            list(run(update, range(parts)))
            if iteration < iterations:
                sources, targets = targets, sources
                list(run(blur, range(2)))


@njit
def _update(
    unary: np.ndarray,
    row: Length,
    outer: Length,
    inner: Length,
    bilateral: Simplices,
    gaussian: Simplices,
    sources: Grids,
    targets: Grids,
    start: int,
    stop: int,
    read: bool,
    splat: bool,
) -> None:
    """Update the pixels start..stop: slice from the source grids, softmax, and splat to the target grids.

    Args:
        unary: (n * width,), packed scores. The last iteration, which does not splat, overwrites them with the result.
        row: of ``width`` entries.
        outer, inner: of as many entries as a bilateral simplex has corners, and as a Gaussian one has.
        bilateral, gaussian: the simplices of each kernel.
        sources, targets: a grid of each kernel, blurred to read from, and another one to overwrite.
        read: whether to slice, as in all iterations but the first.
        splat: whether to splat, as in all iterations but the last.
    """
    width = len(row)
    packed, maxima = np.empty(TILE * width, np.float32), np.empty(TILE, np.float32)
    if splat:
        targets[0][:] = 0
        targets[1][:] = 0
    for first in range(start, stop, TILE):
        there = min(TILE, stop - first)
        if not read:
            packed[: there * width] = unary[first * width : (first + there) * width]
        for at in range(there if read else 0):
            i = first + at
            _fetch(sources[0], bilateral[0], min(i + AHEAD, stop - 1), row, outer)
            scores = load(unary, i * width, zeros(row))
            scores = _slice(sources[0], bilateral, i, scores, row, outer)
            store(packed, at * width, _slice(sources[1], gaussian, i, scores, row, inner))
        softmax(packed, there, row, maxima)
        if not splat:
            unary[first * width : (first + there) * width] = packed[: there * width]
            continue
        for at in range(there):
            probs = load(packed, at * width, zeros(row))
            _splat(targets[0], bilateral, first + at, probs, row, outer)
            _splat(targets[1], gaussian, first + at, probs, row, inner)


@njit
def _slice(grid: np.ndarray, kernel: Simplices, i: int, scores: Any, row: Length, simplex: Length) -> Any:
    """Return the row ``scores`` plus the values of the grid at pixel i."""
    width, like, (corners, weights) = len(row), zeros(row), kernel
    half, rest = len(simplex) // 2, len(simplex) % 2
    other = like
    for j in range(half + rest):
        value = load(grid, corners[i, j] * width, like)
        scores = muladd(spread(weights[i, j], like), value, scores)
    for j in range(half + rest, len(simplex)):  # in a second sum, so that additions need not wait for each other
        value = load(grid, corners[i, j] * width, like)
        other = muladd(spread(weights[i, j], like), value, other)
    return add(scores, other)


@njit
def _fetch(grid: np.ndarray, corners: np.ndarray, i: int, row: Length, simplex: Length) -> None:
    """Prefetch the lattice points at the corners of pixel i."""
    for j in range(len(simplex)):
        for line in range(0, len(row), CACHE_LINE // 4):
            fetch(grid, corners[i, j] * len(row) + line)


@njit
def _splat(grid: np.ndarray, kernel: Simplices, i: int, probs: Any, row: Length, simplex: Length) -> None:
    """Add the row ``probs`` of pixel i to its corners."""
    width, like, (corners, weights) = len(row), zeros(row), kernel
    for j in range(len(simplex)):
        corner = corners[i, j] * width
        store(grid, corner, muladd(spread(weights[i, j], like), probs, load(grid, corner, like)))


@njit
def _blur(grids: np.ndarray, reads: np.ndarray, writes: np.ndarray, bounds: np.ndarray, row: Length) -> None:
    """Add up the grids of all parts (parts, points * width) in the first one, and blur that in place."""
    width, nothing = len(row), zeros(row)
    grid, half = grids[0], spread(np.float32(0.5), nothing)
    for part in range(1, len(grids)):
        other = grids[part]
        for at in range(0, len(grid), width):
            store(grid, at, add(load(grid, at, nothing), load(other, at, nothing)))
    for j in range(len(bounds) - 1):
        before, here = nothing, nothing
        for k in range(bounds[j], bounds[j + 1] - 1):
            after = load(grid, reads[k + 1] * width, nothing)
            store(grid, writes[k] * width, muladd(half, add(before, after), here))
            before, here = here, after
