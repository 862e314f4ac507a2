"""Mean field on a permutohedral lattice: the official approximation, for images of any size, on the CPU.

Locations are splatted onto the corners of the lattice simplex that encloses their feature vector, the corners are
blurred along each lattice direction, and the locations read their result back: three sparse steps, linear in the
number of locations, in place of the dense kernel. The result equals pydensecrf's.

Reference:
    Adams, Baek and Davis, Fast High-Dimensional Filtering Using the Permutohedral Lattice, Eurographics 2010.
    Krähenbühl and Koltun, Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials, NIPS 2011.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from secseg.crf.base import CRFParams, check_input, with_diagonal_gradient, working_dtype
from secseg.crf.compiled import njit
from secseg.errors import UserError

#: Largest coordinate on the lattice: up to here float32 places a location in a simplex to 1/64 of a step.
MOST = 2.0**18


class Backend:
    """Lattice mean field; see :func:`secseg.crf.build_crf`. Computed in float32; images of a batch run side by side.

    Raises:
        UserError: on a call with input that does not fit together, or with widths too small for a lattice.
    """

    def __init__(self, params: CRFParams, gradient: str = "stop") -> None:
        self.params, self.gradient = params, gradient

    def __call__(self, logits: Tensor, images: Tensor) -> Tensor:
        check_input(logits, images)
        scores = np.ascontiguousarray(logits.detach().float().cpu().permute(0, 2, 3, 1).numpy())
        photos = np.ascontiguousarray(images.cpu().permute(0, 2, 3, 1).numpy())
        with ThreadPoolExecutor(min(len(scores), torch.get_num_threads())) as pool:
            results = list(pool.map(self._one, scores, photos))
        probs = torch.from_numpy(np.stack(results)).permute(0, 3, 1, 2).contiguous()
        probs = probs.to(logits.device, working_dtype(logits))
        return with_diagonal_gradient(probs, logits) if self.gradient == "diagonal" else probs

    def _one(self, scores: np.ndarray, photo: np.ndarray) -> np.ndarray:
        """Scores (H, W, C) float32 and photograph (H, W, 3) uint8 to probabilities (H, W, C)."""
        p = self.params
        y, x = np.indices(photo.shape[:2], dtype=np.float32)
        position = np.stack([x, y], axis=2)
        bilateral = np.concatenate(
            [position / np.float32(p.bilateral_xy), photo / np.float32(p.bilateral_rgb)], axis=2, dtype=np.float32
        )
        gaussian = position / np.float32(p.gaussian_xy)
        unary = scores.reshape(-1, scores.shape[2])
        lattices = [build_lattice(features.reshape(-1, features.shape[2])) for features in (bilateral, gaussian)]
        weights = float(p.bilateral_weight), float(p.gaussian_weight)  # whole numbers would be compiled once more
        probs = _mean_field(unary, *lattices[0], weights[0], *lattices[1], weights[1], p.iterations)
        return probs.reshape(scores.shape)


def build_lattice(features: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The lattice of ``features`` (n, d) float32, with the symmetric normalisation inside of its weights.

    Returns:
        corners: (n, d + 1) int32, the lattice points of each location's simplex, counted from 1.
        weights: (n, d + 1) float32, barycentric weights times ``D^-1/2``.
        neighbours: (d + 1, m, 2) int32, of each of the m lattice points along each direction; 0 where there is none.

    Raises:
        UserError: for coordinates above ``MOST``, where rounding would lead out of the simplex.
    """
    reach = 2 * (features.shape[1] + 1) * float(features.max())  # no elevated coordinate is larger
    if not reach <= MOST:
        raise UserError(
            "The CRF's widths are too small for the lattice: a location of this image is "
            f"{features.max():.3g} standard deviations away from another. Choose larger widths "
            "(bilateral_xy, bilateral_rgb, gaussian_xy) or a smaller crf scale."
        )
    corners, weights, neighbours = _connect(features)
    norm = np.zeros((len(features), 1), np.float32)
    _filter(np.ones_like(norm), corners, weights, neighbours, 1.0, norm)
    # 1e-20 as in the reference implementation: nothing to float32, but no division by zero.
    weights *= 1 / np.sqrt(norm + np.float32(1e-20))
    return corners, weights, neighbours


@njit
def _connect(features: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find the enclosing simplex of each location and the neighbours of each lattice point.

    All arithmetic is float32 in a fixed order: a location on the face of two simplices must fall into the same one as
    in the reference implementation.
    """
    n, d = features.shape
    corners, weights = np.zeros((n, d + 1), np.int32), np.zeros((n, d + 1), np.float32)
    # The reference works on blocks of four locations and fills the last with zeros: these have no value, but their
    # lattice points exist and pass on what is blurred.
    points = n if n % 4 == 0 else n + 1
    size = 1
    while size < 2 * points * (d + 1):
        size *= 2
    table = np.zeros(size, np.int32)  # open addressing; lattice points from 1, 0 is empty
    keys = np.empty((points * (d + 1) + 1, d), np.int32)  # coordinates; the last one follows from their sum of 0
    count = 0

    scale = np.empty(d, np.float32)
    for i in range(d):  # p. 5 and 6: the elevation's diagonal, and the standard deviation of the blur
        scale[i] = np.float32(1 / np.sqrt((i + 2.0) * (i + 1.0)) * np.float32(np.sqrt(2 / 3) * (d + 1)))
    down = np.float32(1) / np.float32(d + 1)
    elevated, base = np.empty(d + 1, np.float32), np.empty(d + 1, np.float32)
    rank, barycentric, key = np.empty(d + 1, np.int32), np.empty(d + 2, np.float32), np.empty(d, np.int32)

    for location in range(points):
        total = np.float32(0)
        for j in range(d, 0, -1):
            value = features[location, j - 1] * scale[j - 1] if location < n else np.float32(0)
            elevated[j] = total - np.float32(j) * value
            total += value
        elevated[0] = total

        # The nearest lattice point of remainder 0, then the order of the differences to it (p. 5).
        excess = 0
        for i in range(d + 1):
            rounded = np.rint(elevated[i] * down)
            base[i] = rounded * np.float32(d + 1)
            excess += int(rounded)
            rank[i] = 0
        for i in range(d):
            for j in range(i + 1, d + 1):
                if elevated[i] - base[i] < elevated[j] - base[j]:
                    rank[i] += 1
                else:
                    rank[j] += 1
        for i in range(d + 1):  # off the plane of coordinates that sum to 0: step back onto it
            rank[i] += excess
            step = d + 1 if rank[i] < 0 else (-(d + 1) if rank[i] > d else 0)
            rank[i] += step
            base[i] += np.float32(step)

        barycentric[:] = 0
        for i in range(d + 1):
            share = (elevated[i] - base[i]) * down
            barycentric[d - rank[i]] += share
            barycentric[d + 1 - rank[i]] -= share
        barycentric[0] += np.float32(1) + barycentric[d + 1]

        for remainder in range(d + 1):
            for i in range(d):
                key[i] = int(base[i]) + remainder - (d + 1 if rank[i] > d - remainder else 0)
            slot = _slot(key, keys, table)
            if table[slot] == 0:
                count += 1
                keys[count] = key
                table[slot] = count
            if location < n:
                corners[location, remainder] = table[slot]
                weights[location, remainder] = barycentric[remainder]

    neighbours = np.zeros((d + 1, count, 2), np.int32)
    for j in range(d + 1):
        for point in range(1, count + 1):
            for i in range(d):
                key[i] = keys[point, i] - 1
            if j < d:
                key[j] += d + 1
            other = table[_slot(key, keys, table)]
            if other > 0:  # a step along j is the other point's step back
                neighbours[j, point - 1, 0] = other
                neighbours[j, other - 1, 1] = point
    return corners, weights, neighbours


@njit
def _slot(key: np.ndarray, keys: np.ndarray, table: np.ndarray) -> int:
    """The place of ``key`` in the hash table, or the empty one where it belongs."""
    mixed = np.uint64(0)
    for i in range(key.shape[0]):
        mixed = (mixed ^ np.uint64(np.uint32(key[i]))) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(29)
    slot = np.int64(mixed & np.uint64(table.shape[0] - 1))
    while table[slot] > 0:
        same = True
        for i in range(key.shape[0]):
            same = same and keys[table[slot], i] == key[i]
        if same:
            break
        slot = (slot + 1) & (table.shape[0] - 1)
    return int(slot)


@njit
def _filter(
    values: np.ndarray,
    corners: np.ndarray,
    weights: np.ndarray,
    neighbours: np.ndarray,
    weight: float,
    out: np.ndarray,
) -> None:
    """Add ``weight`` times the filtered ``values`` (n, C) to ``out`` (n, C): splat, blur, slice."""
    n, channels = values.shape
    directions, count = neighbours.shape[:2]
    grid = np.zeros((count + 1, channels), np.float32)  # row 0: the missing neighbour
    blurred = np.zeros((count + 1, channels), np.float32)
    for location in range(n):
        for j in range(directions):
            point, w = corners[location, j], weights[location, j]
            for c in range(channels):
                grid[point, c] += w * values[location, c]
    half = np.float32(0.5)
    for j in range(directions):
        for point in range(1, count + 1):
            before, after = neighbours[j, point - 1, 0], neighbours[j, point - 1, 1]
            for c in range(channels):
                blurred[point, c] = grid[point, c] + half * (grid[before, c] + grid[after, c])
        grid, blurred = blurred, grid
    # The gain of the blur: each step has taps of 1/2, 1, 1/2 that are not divided by their sum.
    gain = np.float32(weight / (1 + 2.0 ** (1 - directions)))
    for location in range(n):
        for j in range(directions):
            point, w = corners[location, j], weights[location, j] * gain
            for c in range(channels):
                out[location, c] += w * grid[point, c]


@njit
def _softmax(scores: np.ndarray, probs: np.ndarray) -> None:
    for location in range(scores.shape[0]):
        highest = scores[location, 0]
        for c in range(1, scores.shape[1]):
            highest = max(highest, scores[location, c])
        total = np.float32(0)
        for c in range(scores.shape[1]):
            probs[location, c] = np.exp(scores[location, c] - highest)
            total += probs[location, c]
        for c in range(scores.shape[1]):
            probs[location, c] /= total


@njit
def _mean_field(
    unary: np.ndarray,
    bilateral_corners: np.ndarray,
    bilateral_weights: np.ndarray,
    bilateral_neighbours: np.ndarray,
    bilateral_weight: float,
    gaussian_corners: np.ndarray,
    gaussian_weights: np.ndarray,
    gaussian_neighbours: np.ndarray,
    gaussian_weight: float,
    iterations: int,
) -> np.ndarray:
    """``Q <- softmax(unary + sum_m w_m K_m Q)`` from ``softmax(unary)``; unary and result (n, C) float32."""
    probs, scores = np.empty_like(unary), np.empty_like(unary)
    _softmax(unary, probs)
    for _ in range(iterations):
        scores[:] = unary
        _filter(probs, bilateral_corners, bilateral_weights, bilateral_neighbours, bilateral_weight, scores)
        _filter(probs, gaussian_corners, gaussian_weights, gaussian_neighbours, gaussian_weight, scores)
        _softmax(scores, probs)
    return probs
