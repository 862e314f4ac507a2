"""The permutohedral lattice of an image: the lattice points that each pixel is splatted to, and their neighbours.

All arithmetic that determines the simplex of a pixel is float32 in a fixed order. A pixel on the face between two
simplices must get the same one as in the reference implementation.

Reference:
    Adams, Baek and Davis, Fast High-Dimensional Filtering Using the Permutohedral Lattice, Eurographics 2010.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from secseg.densecrf.parts import bounds_of, parts_of, workers
from secseg.densecrf.points import REMAINDER_BITS, Points, find_slot, follow, joined, no_points, units_of, with_room
from secseg.densecrf.simd import VECTOR, WIDEST, add, below, load, mul, njit, rint, spread, store, sub, zeros
from secseg.utils.errors import UserError

#: Pixels that are processed together; a multiple of ``WIDEST``.
TILE = 64
#: Bits of a key.
KEY_BITS = 63
#: Largest coordinate on a permutohedral lattice: up to it, float32 resolves 1/64 of a step between lattice points.
MOST_COORDINATE = 2.0**18


class Lattice(NamedTuple):
    """A kernel of d dimensions for n pixels, with m lattice points, numbered from 1.

    Point 0, whose value is 0, stands for a missing neighbour. Point m + 1 is written to and never read.

    Attributes:
        corners: (n, k) int32, the lattice points at the corners of each pixel's simplex; k = d + 1.
        weights: (n, k) float32, barycentric weights times the root of the kernel's weight over ``D``, the symmetric
            normalisation: ``weights (blur (weights^T Q))`` is the whole kernel.
        points: m.
        reads, writes: int32, the points of all chains of neighbours along direction 0, then 1, up to k - 1. Before each
            chain and at the end of a direction the point is 0 for reading and m + 1 for writing. Points without a
            neighbour are left out.
        bounds: (k + 1,) int64, the index in ``reads`` and ``writes`` at which each direction starts.
    """

    corners: np.ndarray
    weights: np.ndarray
    points: int
    reads: np.ndarray
    writes: np.ndarray
    bounds: np.ndarray


def build_lattice(
    height: int,
    width: int,
    weight: float | None,
    xy: float,
    image: np.ndarray | None = None,
    rgb: float = 1.0,
    threads: int = 1,
) -> Lattice:
    """Build the kernel of the positions (d = 2), or of the positions and colours (d = 5), of an image.

    Args:
        height, width: of the grid. A pixel has the index ``y * width + x``.
        weight: of the kernel with its symmetric normalisation, at least 0; None for the Gaussian itself, which is 1 at
            distance 0.
        xy, rgb: standard deviations of the kernel in pixels and in byte values.
        image: (3, H, W) uint8, or None for the positions alone.
        threads: at most so many share the parts of a large image.

    Raises:
        UserError: for widths so small that the coordinates exceed the range of the lattice.
    """
    dimensions = 2 if image is None else 5
    farthest = max((width - 1) / xy, (height - 1) / xy, 0.0 if image is None else 255 / rgb)
    if not farthest <= largest_feature(dimensions):
        raise too_narrow(farthest)
    n = height * width
    features = np.zeros((dimensions, -(-n // TILE) * TILE), np.float32)  # in standard deviations
    positions = features[:2, :n].reshape(2, height, width)
    positions[0] = np.arange(width, dtype=np.float32) / np.float32(xy)
    positions[1] = (np.arange(height, dtype=np.float32) / np.float32(xy))[:, None]
    if image is not None:
        np.divide(image.reshape(3, n), np.float32(rgb), out=features[2:, :n], dtype=np.float32)
    with workers(min(threads, parts_of(n))) as run:
        kernel, mass = _connected(features, n, run)
        if weight is None:
            kernel.weights[:] *= np.sqrt(np.float32(1 / (1 + 2.0**-dimensions)))  # the gain of the blur: _normalise
        else:
            _blur(mass, kernel)
            normalise = partial(_normalise, kernel.corners, kernel.weights, mass, np.float32(weight))
            list(run(lambda bounds: normalise(*bounds), bounds_of(n, parts_of(n))))
    return kernel


def _connected(features: np.ndarray, n: int, run: Callable[..., Iterator[Any]]) -> tuple[Lattice, np.ndarray]:
    """Find the lattice of n pixels, not normalised yet, and the sum of the weights at each point (m + 2,)."""
    directions, parts = len(features) + 1, parts_of(n)
    corners, weights = np.empty((n, directions), np.int32), np.empty((n, directions), np.float32)
    # The reference processes blocks of four pixels and pads the last block with zeros. The padding has no value, but
    # its lattice points exist, and the blur passes through them.
    padded = n if n % 4 == 0 else n + 1
    bits = np.int64(_bits(len(features)))
    found = run(lambda bounds: _find(features, bits, corners, weights, *bounds), bounds_of(padded, parts, TILE))
    points, *others = found
    for bounds, other in zip(bounds_of(padded, parts, TILE)[1:], others, strict=True):
        points, numbers = joined(points, other)
        _renumber(corners[slice(*bounds)], numbers)
    points.mass[0] = points.mass[points.size + 1] = 0
    chains = list(run(lambda bounds: follow(points, bits, directions, *bounds), bounds_of(directions, parts)))
    reads, writes = (np.concatenate([each[number] for each in chains]) for number in range(2))
    ends = np.cumsum(np.concatenate([[0], *(each[2] for each in chains)]))
    return Lattice(corners, weights, points.size, reads, writes, ends), points.mass[: points.size + 2]


def largest_feature(dimensions: int) -> float:
    """Return how many standard deviations apart two pixels may be: in each feature, 0 to this number fits a key."""
    # The quotient of an elevated coordinate is at most twice the largest feature. A step to a neighbour adds one.
    return min(MOST_COORDINATE / (2 * (dimensions + 1)), (2 ** (_bits(dimensions) - 1) - 2) / 2)


def _bits(dimensions: int) -> int:
    """Return the bits of a key for each coordinate."""
    return (KEY_BITS - REMAINDER_BITS) // dimensions


def too_narrow(farthest: float) -> UserError:
    """Return the error for widths so small that the coordinates exceed the range of the lattice."""
    return UserError(
        f"The CRF's widths are too small for the lattice: pixels of an image can be {farthest:.3g} standard deviations "
        "apart. Choose larger widths (bilateral_xy, bilateral_rgb, gaussian_xy) or a smaller crf scale."
    )


@njit
def filtered(kernel: Lattice, values: np.ndarray, transposed: bool = False) -> np.ndarray:
    """Return the kernel, or its transpose, times each row of ``values`` (k, n) float32: splat, blur, slice."""
    corners, weights = kernel.corners, kernel.weights
    result = np.zeros_like(values)
    for row in range(len(values)):
        grid = np.zeros(kernel.points + 2, np.float32)
        for i in range(len(corners)):
            for j in range(corners.shape[1]):
                grid[corners[i, j]] += weights[i, j] * values[row, i]
        _blur(grid, kernel, transposed)
        for i in range(len(corners)):
            for j in range(corners.shape[1]):
                result[row, i] += weights[i, j] * grid[corners[i, j]]
    return result


@njit
def _find(features: np.ndarray, bits: int, corners: np.ndarray, weights: np.ndarray, start: int, stop: int) -> Points:
    """Find the points at the corners of the pixels start..stop, with their own numbers, and write both to the arrays.

    ``start`` is a multiple of ``TILE``.
    """
    d = len(features)
    scale = np.empty(d, np.float32)
    for i in range(d):  # p. 5 and 6: the elevation's diagonal, and the standard deviation of the blur
        scale[i] = np.float32(1 / np.sqrt((i + 2.0) * (i + 1.0)) * np.float32(np.sqrt(2 / 3) * (d + 1)))
    units, origin = units_of(d + 1, bits)
    points = no_points()
    places = np.empty((3, (d + 1) * TILE), np.float32)
    for first in range(start, stop, TILE):
        _place(features, first, scale, places)
        points = with_room(points, (d + 1) * TILE)
        points = _insert(first, min(TILE, stop - first), places, units, origin, points, corners, weights)
    return points


@njit
def _renumber(corners: np.ndarray, numbers: np.ndarray) -> None:
    """Replace the number of each point (n, k) by its number in ``numbers``."""
    for i in range(len(corners)):
        for j in range(corners.shape[1]):
            corners[i, j] = numbers[corners[i, j]]


@njit
def _place(features: np.ndarray, start: int, scale: np.ndarray, places: np.ndarray) -> None:
    """Find the simplex of each pixel of the tile at ``start``, from the features of all pixels; p. 5 of the paper.

    Writes to ``places`` (d + 1, TILE) each, flat: the nearest lattice point of remainder 0 (quotients of its
    coordinates by d + 1), the differences to it over d + 1, and the ranks of these.
    """
    d, (quotients, differences, ranks) = len(scale), (places[0], places[1], places[2])
    like = zeros(VECTOR)
    step, part = spread(np.float32(d + 1), like), spread(np.float32(1) / np.float32(d + 1), like)
    one, last = spread(np.float32(1), like), spread(np.float32(d), like)
    for first in range(0, TILE, WIDEST):
        total, excess = like, like
        for j in range(d, -1, -1):
            elevated = total
            if j > 0:
                value = mul(load(features[j - 1], start + first, like), spread(scale[j - 1], like))
                elevated = sub(total, mul(spread(np.float32(j), like), value))
                total = add(total, value)
            rounded = rint(mul(elevated, part))
            excess = add(excess, rounded)
            store(quotients, j * TILE + first, rounded)
            store(differences, j * TILE + first, sub(elevated, mul(rounded, step)))
        for j in range(d + 1):
            store(ranks, j * TILE + first, excess)
        for i in range(d + 1):
            own, rank = load(differences, i * TILE + first, like), load(ranks, i * TILE + first, like)
            for j in range(i + 1, d + 1):
                less = below(own, load(differences, j * TILE + first, like))
                rank = add(rank, less)
                store(ranks, j * TILE + first, add(load(ranks, j * TILE + first, like), sub(one, less)))
            # The point may be off the plane of coordinates that sum to 0: step back onto the plane.
            back = sub(below(rank, like), below(last, rank))
            store(ranks, i * TILE + first, add(rank, mul(back, step)))
            store(quotients, i * TILE + first, add(load(quotients, i * TILE + first, like), back))
            store(differences, i * TILE + first, mul(sub(own, mul(back, step)), part))


@njit
def _insert(
    first: int,
    there: int,
    places: np.ndarray,
    units: np.ndarray,
    origin: int,
    points: Points,
    corners: np.ndarray,
    weights: np.ndarray,
) -> Points:
    """Look up the corners of the pixels of a tile. Add the missing points, and return all points."""
    d, (quotients, differences, ranks) = len(units) - 1, (places[0], places[1], places[2])
    keys, mass, table, shift, count = points
    order, ranked = np.empty(d + 1, np.int64), np.empty(d + 1, np.float32)
    for at in range(there):
        key = origin
        for i in range(d + 1):
            rank = np.int64(ranks[i * TILE + at])
            order[rank] = i
            ranked[rank] = differences[i * TILE + at]
            key += np.int64(quotients[i * TILE + at]) * units[i]
        for remainder in range(d + 1):
            if remainder == 0:
                weight = ranked[d] + (np.float32(1) - ranked[0])
            else:  # all coordinates go up by one, except the next one in order, which goes down by d
                key += 1 - units[order[d + 1 - remainder]]
                weight = ranked[d - remainder] - ranked[d + 1 - remainder]
            slot = find_slot(key, table, shift)
            point = table[slot + 1]
            if point == 0:
                count += 1
                point = count
                table[slot], table[slot + 1] = key, point
                keys[point], mass[point] = key, 0
            if first + at < len(corners):
                corners[first + at, remainder] = point
                weights[first + at, remainder] = weight
                mass[point] += weight
    return Points(keys, mass, table, shift, count)


@njit
def _normalise(
    corners: np.ndarray, weights: np.ndarray, mass: np.ndarray, weight: float, start: int, stop: int
) -> None:
    """Multiply the weights of the pixels start..stop by the root of ``weight / D``.

    ``D`` is the kernel times ones, and ``mass`` the blurred splat of the ones.
    """
    directions = corners.shape[1]
    for i in range(start, stop):
        norm = np.float32(0)
        for j in range(directions):
            norm += weights[i, j] * mass[corners[i, j]]
        # The taps 1/2, 1, 1/2 of the blur are not divided by their sum. This gain is in D and in the kernel, where it
        # cancels, except for the tiny number, which is that of the reference implementation.
        gain = np.float32(1 / (1 + 2.0 ** (1 - directions)))
        root = np.sqrt(weight * gain / (gain * norm + np.float32(1e-20)))
        for j in range(directions):
            weights[i, j] *= root


@njit
def _blur(grid: np.ndarray, kernel: Lattice, backwards: bool = False) -> None:
    """Blur a grid (m + 2,) in place with taps of 1/2, 1, 1/2 along each direction, from the last one if ``backwards``.

    The blur along one direction is symmetric, but two blurs do not commute where lattice points are missing.
    """
    half, directions = np.float32(0.5), len(kernel.bounds) - 1
    for number in range(directions):
        j = directions - 1 - number if backwards else number
        before, here = np.float32(0), np.float32(0)
        for k in range(kernel.bounds[j], kernel.bounds[j + 1] - 1):
            after = grid[kernel.reads[k + 1]]
            grid[kernel.writes[k]] = here + half * (before + after)
            before, here = here, after
