"""Mean field on the permutohedral lattice in torch operations, for a batch of images that stays on the GPU.

The result is that of :mod:`secseg.densecrf.mean_field`, which is faster on a CPU, but without loops over pixels and
without a hash table. A lattice point has a number, made of its image and its coordinates. The sorted numbers of all
corners are the points, and a binary search among them finds the neighbours. The host synchronises with the device once
per lattice, while it is built.

Not for ``torch.compile``: a multiplication and an addition fused to one rounding would move pixels on the face between
two simplices into the other one.

Reference:
    Adams, Baek and Davis, Fast High-Dimensional Filtering Using the Permutohedral Lattice, Eurographics 2010.
    Krähenbühl and Koltun, Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials, NIPS 2011.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding_bag, pad

from secseg.crf.base import CRFParams, working_dtype
from secseg.densecrf.permutohedral import MOST_COORDINATE, too_narrow

#: Pixels times (classes + 20) that are processed together. Building the lattices takes as much memory as 20 classes,
#: and each takes 80 bytes, up to 110 if no pixels share a lattice point. Together these are 1.3 to 1.8 GB.
TOGETHER = 2**24
#: Numbers of lattice points in a batch that an int64 can hold.
NUMBERS = 2**63


@torch.no_grad()
def mean_field(logits: Tensor, images: Tensor, params: CRFParams) -> Tensor:
    """Iterate ``Q <- softmax(logits + sum_m w_m K_m Q)`` in float32, starting at ``softmax(logits)``.

    The result equals the Numba lattice up to the order of sums. On CUDA this order, and with it the last bits, changes
    from call to call. With ``torch.use_deterministic_algorithms``, torch adds in a fixed order, which takes longer.

    Shape:
        logits: (B, C, H, W), floating point; images: (B, 3, H, W) uint8 on the same device (see ``check_input``).
        returns: (B, C, H, W), float64 for float64 logits and float32 for all others; without a gradient.

    Raises:
        UserError: for widths too small for the lattice.
    """
    classes, height, width = logits.shape[1:]
    bilateral = _farthest(height, width, params.bilateral_xy, params.bilateral_rgb)
    gaussian = _farthest(height, width, params.gaussian_xy)
    apart = NUMBERS // max(numbers(5, bilateral), numbers(2, gaussian))
    size = min(apart, max(1, TOGETHER // (height * width * (classes + 20))))
    with torch.autocast(logits.device.type, enabled=False):
        parts = zip(logits.split(size), images.split(size), strict=True)
        return torch.cat([_solve(*part, params) for part in parts]).to(working_dtype(logits))


def _solve(logits: Tensor, images: Tensor, p: CRFParams) -> Tensor:
    """Solve images that are processed together. A pixel is a row of a matrix: gathered values are contiguous."""
    count, classes, height, width = logits.shape
    position = _position(height, width, p.bilateral_xy, logits.device).expand(count, -1, -1)
    colour = _divide(images.flatten(2).float(), p.bilateral_rgb)
    farthest = _farthest(height, width, p.bilateral_xy, p.bilateral_rgb)
    bilateral = build_lattice(torch.cat([position, colour], 1), farthest)
    gaussian = _gaussian_lattice(count, height, width, p.gaussian_xy, logits.device)
    unary = logits.float().permute(0, 2, 3, 1).reshape(-1, classes)
    probs = unary.softmax(1)
    for _ in range(p.iterations):
        scores = unary.add(bilateral.filter(probs), alpha=p.bilateral_weight)
        probs = scores.add_(gaussian.filter(probs), alpha=p.gaussian_weight).softmax(1)
    return probs.view(count, height, width, classes).permute(0, 3, 1, 2).contiguous()


@lru_cache(maxsize=4)  # each takes 44 bytes per pixel
def _gaussian_lattice(count: int, height: int, width: int, xy: float, device: torch.device) -> Lattice:
    """Return the lattice of the positions for ``count`` images of one size, cached for the next batches."""
    position = _position(height, width, xy, device).expand(count, -1, -1)
    return build_lattice(position, _farthest(height, width, xy))


def _farthest(height: int, width: int, xy: float, rgb: float = math.inf) -> float:
    """Return a bound on all features, in standard deviations. It depends on the grid, not on the images."""
    return max(max(height, width) / xy, 255 / rgb)


def _position(height: int, width: int, xy: float, device: torch.device) -> Tensor:
    """Return x and y of each pixel in standard deviations, (2, n)."""
    y, x = (torch.arange(size, dtype=torch.float32, device=device) for size in (height, width))
    return _divide(torch.stack([x.repeat(height, 1), y[:, None].repeat(1, width)]).flatten(1), xy)


def _divide(features: Tensor, width: float) -> Tensor:
    """Divide by a tensor. For a plain number, CUDA would multiply by its inverse, which rounds differently."""
    return features / torch.full((), width, dtype=torch.float64, device=features.device).float()


@dataclass(frozen=True)
class SparseMatrix:
    """A sparse matrix of r rows with k entries each; ``sparse @ dense`` gathers and sums.

    Attributes:
        columns, values: (r * k,) int64 and float32, row after row.
        starts: (r,) int64, the index at which each row begins.
    """

    columns: Tensor
    values: Tensor
    starts: Tensor

    @classmethod
    def of(cls, columns: Tensor, values: Tensor) -> SparseMatrix:
        """Make the matrix from ``columns`` and ``values`` of shape (r, k)."""
        starts = torch.arange(0, columns.numel(), columns.shape[1], device=columns.device)
        return cls(columns.flatten(), values.flatten(), starts)

    def __matmul__(self, dense: Tensor) -> Tensor:
        return embedding_bag(self.columns, dense, self.starts, mode="sum", per_sample_weights=self.values)


@dataclass(frozen=True)
class Lattice:
    """A kernel for N pixels with m lattice points, numbered from 1. Point 0, whose value is 0, is a missing neighbour.

    Attributes:
        slicing: (N, m + 1), the corners of each pixel's simplex: barycentric weights times ``D^-1/2``.
        blurs: d + 1 matrices (m + 1, m + 1), one for each direction: each point and half of its two neighbours.
    """

    slicing: SparseMatrix
    blurs: list[SparseMatrix]

    def filter(self, values: Tensor) -> Tensor:
        """Return ``D^-1/2 k D^-1/2`` times ``values`` (N, C) float32: splat, blur, slice."""
        weighted = values[:, None] * self.slicing.values.view(len(values), -1, 1)
        grid = values.new_zeros(len(self.blurs[0].starts), values.shape[1])
        grid.index_add_(0, self.slicing.columns, weighted.flatten(0, 1))
        for blur in self.blurs:
            grid = blur @ grid
        return self.slicing @ grid


def numbers(d: int, farthest: float) -> int:
    """Return how many numbers the lattice points of one image can have, for ``d`` features from 0 to ``farthest``.

    Raises:
        UserError: for coordinates above ``MOST_COORDINATE``, at which rounding would lead out of the simplex, or for
            more than ``NUMBERS``.
    """
    if 2 * (d + 1) * farthest <= MOST_COORDINATE:  # the bound of an elevated coordinate
        count = _side(farthest) ** d * (d + 1)
        if count <= NUMBERS:
            return count
    raise too_narrow(farthest)


def _side(farthest: float) -> int:
    """Return how many values the quotient of a coordinate by d + 1 can have, with steps to corners and neighbours."""
    return 2 * (math.ceil(2 * farthest) + 4) + 1


def build_lattice(features: Tensor, farthest: float) -> Lattice:
    """Build the normalised lattice of ``features`` (B, d, n) float32, each from 0 to ``farthest``; N = B * n pixels.

    The host synchronises with the device once, to read the number of lattice points.
    """
    count, d, n = features.shape
    image, side = numbers(d, farthest), _side(farthest)
    # The coordinates of a lattice point are congruent modulo d + 1. Its number consists of their remainder and their
    # quotients, which are at most side // 2 in magnitude. The last one follows from the sum, which is 0.
    strides = pad((d + 1) * side ** torch.arange(d, device=features.device), (0, 1))
    corners, weights = _simplices(features, strides)
    corners += image * torch.arange(count, device=features.device)[:, None]
    points, rows = torch.unique(corners, return_inverse=True)
    rows, weights = (x[..., :n].permute(1, 2, 0).reshape(-1, d + 1) for x in (rows + 1, weights))
    lattice = Lattice(SparseMatrix.of(rows, weights), _blurs(points, strides))
    # The gain of the blur, whose taps sum to 2, cancels in the normalisation. Every sum is at least 1 / (d + 1).
    norm = lattice.filter(weights.new_ones(len(weights), 1))
    return replace(lattice, slicing=SparseMatrix.of(rows, weights * norm.rsqrt()))


def _simplices(features: Tensor, strides: Tensor) -> tuple[Tensor, Tensor]:
    """Find the simplex that encloses each pixel: the numbers of its corners and their barycentric weights.

    All arithmetic is float32 in a fixed order, one operation at a time. A pixel on the face between two simplices must
    get the same one as in the reference implementation.

    Args:
        features: (B, d, n).
        strides: (d + 1,) int64, the factor of each coordinate's quotient in a number.

    Returns:
        (d + 1, B, n or n + 1), int64 and float32; the numbers are those within an image.
    """
    d, n = features.shape[1:]
    # The reference processes blocks of four pixels and pads the last block with zeros. The padding has no value, but
    # its lattice points exist, and the blur passes through them.
    coordinates = pad(features, (0, 0 if n % 4 == 0 else 1)).unbind(1)
    total = torch.zeros_like(coordinates[0])
    elevated: list[Tensor] = []
    for j in range(d, 0, -1):  # p. 5 and 6: the elevation's diagonal, and the standard deviation of the blur
        scale = np.float32(1 / math.sqrt((j + 1) * j) * float(np.float32(math.sqrt(2 / 3) * (d + 1))))
        value = coordinates[j - 1] * float(scale)
        elevated.insert(0, total - value * j)
        total = total + value
    position = torch.stack([total, *elevated])

    # The nearest lattice point of remainder 0, then the order of the differences to it (p. 5).
    down = float(np.float32(1) / np.float32(d + 1))
    quotient = (position * down).round()
    difference = position - quotient * (d + 1)
    before = [
        (difference[:i] >= difference[i]).sum(0) + (difference[i + 1 :] > difference[i]).sum(0) for i in range(d + 1)
    ]
    rank = torch.stack(before) + quotient.sum(0).long()
    turn = (rank < 0).long() - (rank > d).long()  # steps back onto the plane of coordinates that sum to 0
    rank, quotient = rank + turn * (d + 1), quotient + turn

    # From corner to corner, one coordinate after the other goes down, the one of the highest rank first.
    order = d - rank
    share = torch.empty_like(position).scatter_(0, order, (position - quotient * (d + 1)) * down)
    weights = share - torch.cat([share[d:] - 1, share[:d]])
    column = strides.view(-1, 1, 1)
    steps = torch.empty_like(order).scatter_(0, order, column.expand_as(order))
    remainder = torch.arange(d + 1, device=features.device).view(-1, 1, 1)
    first = (quotient.long() * column).sum(0)
    return first + remainder - (steps.cumsum(0) - steps), weights


def _blurs(points: Tensor, strides: Tensor) -> list[SparseMatrix]:
    """Return the blur along each direction of the lattice with ``points``, sorted numbers (m,)."""
    directions = len(strides)
    remainder = points % directions
    # The remainder after the last one is 0, with all quotients one higher.
    wrap = strides.sum() - directions
    up = points + 1 + wrap * (remainder == directions - 1)
    down = points - 1 - wrap * (remainder == 0)
    taps = torch.full((len(points) + 1, 3), 0.5, device=points.device)
    taps[:, 0] = 1
    rows = torch.zeros(directions, len(points) + 1, 3, dtype=torch.int64, device=points.device)
    rows[:, :, 0] = torch.arange(len(points) + 1, device=points.device)
    for row, stride in zip(rows, strides, strict=True):
        for side, sought in enumerate((down + stride, up - stride), 1):
            found = torch.searchsorted(points, sought).clamp_(max=len(points) - 1)
            row[1:, side] = torch.where(points[found] == sought, found + 1, 0)
    blur = SparseMatrix.of(rows[0], taps)
    return [replace(blur, columns=row.flatten()) for row in rows]
