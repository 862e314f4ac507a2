"""Mean field on the permutohedral lattice in torch operations: a batch on a GPU stays there, images side by side.

Computes what :mod:`secseg.crf.lattice` computes with numba, which is faster on a CPU. The host waits for the device
once a lattice, while it is built; the iterations only queue work.

Reference:
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

from secseg.crf.base import MOST_COORDINATE, CRFParams, too_narrow, working_dtype

#: Locations times (classes + 20) that are worked on together: building the lattices takes about what 20 classes take,
#: and both 80 bytes each, up to 110 where each location has lattice points of its own. So 1.3 to 1.8 GB.
TOGETHER = 2**24


@torch.no_grad()
def mean_field(logits: Tensor, images: Tensor, params: CRFParams) -> Tensor:
    """``Q <- softmax(logits + sum_m w_m K_m Q)`` from ``softmax(logits)``, computed in float32.

    Equals the numba lattice but for the order of sums. On CUDA that order changes from call to call, and with it the
    last bits; where ``torch.use_deterministic_algorithms`` is set, torch adds in a fixed order, which takes longer.

    Shape:
        logits: (B, C, H, W), floating; images: (B, 3, H, W) uint8 on the same device, as ``check_input`` wants them.
        returns: (B, C, H, W), float64 for float64 logits and float32 for all others; a constant to autograd.

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
    """Images that are worked on together. Inside, a location is a row, so that what is gathered is contiguous."""
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


@lru_cache(maxsize=4)  # each holds 44 bytes a location
def _gaussian_lattice(count: int, height: int, width: int, xy: float, device: torch.device) -> Lattice:
    """The lattice of ``count`` images of one size, whatever they show: kept for the next batches."""
    position = _position(height, width, xy, device).expand(count, -1, -1)
    return build_lattice(position, _farthest(height, width, xy))


def _farthest(height: int, width: int, xy: float, rgb: float = math.inf) -> float:
    """A bound on all features, in standard deviations: of the grid and of bytes, so that no image need be read."""
    return max(max(height, width) / xy, 255 / rgb)


def _position(height: int, width: int, xy: float, device: torch.device) -> Tensor:
    """x and y of each location in standard deviations, (2, n)."""
    y, x = (torch.arange(size, dtype=torch.float32, device=device) for size in (height, width))
    return _divide(torch.stack([x.repeat(height, 1), y[:, None].repeat(1, width)]).flatten(1), xy)


def _divide(features: Tensor, width: float) -> Tensor:
    """Divide by a tensor: by a plain number CUDA would multiply with its inverse, which rounds differently."""
    return features / torch.full((), width, dtype=torch.float64, device=features.device).float()


#: Points of a batch of lattices that an int64 can tell apart.
NUMBERS = 2**63


@dataclass(frozen=True)
class SparseMatrix:
    """A sparse matrix with the same number k of entries in each of its r rows: ``rows @ dense`` gathers and sums.

    Attributes:
        columns, values: (r * k,) int64 and float32, row after row.
        starts: (r,) int64, where each row begins.
    """

    columns: Tensor
    values: Tensor
    starts: Tensor

    @classmethod
    def of(cls, columns: Tensor, values: Tensor) -> SparseMatrix:
        """Take ``columns`` and ``values`` as (r, k)."""
        starts = torch.arange(0, columns.numel(), columns.shape[1], device=columns.device)
        return cls(columns.flatten(), values.flatten(), starts)

    def __matmul__(self, dense: Tensor) -> Tensor:
        return embedding_bag(self.columns, dense, self.starts, mode="sum", per_sample_weights=self.values)


@dataclass(frozen=True)
class Lattice:
    """Lattice points count from 1; row 0 of each matrix is the missing neighbour, whose value stays 0.

    Attributes:
        slicing: (N, m + 1), the corners of each location's simplex: barycentric weights times ``D^-1/2``.
        blurs: d + 1 matrices (m + 1, m + 1), one a direction: each point and half of its two neighbours.
    """

    slicing: SparseMatrix
    blurs: list[SparseMatrix]

    def filter(self, values: Tensor) -> Tensor:
        """Return ``D^-1/2 k D^-1/2`` times ``values``, (N, C) float32: splat, blur, slice."""
        rows = self.slicing
        weighted = values[:, None] * rows.values.view(len(values), -1, 1)
        grid = values.new_zeros(len(self.blurs[0].starts), values.shape[1])
        grid.index_add_(0, rows.columns, weighted.flatten(0, 1))
        for blur in self.blurs:
            grid = blur @ grid
        return rows @ grid


def numbers(d: int, farthest: float) -> int:
    """How many numbers the lattice points of one image can have, with ``d`` features from 0 to ``farthest``.

    Raises:
        UserError: for coordinates above ``MOST_COORDINATE``, where rounding would lead out of the simplex, and for more
            than ``NUMBERS``.
    """
    if 2 * (d + 1) * farthest <= MOST_COORDINATE:  # no elevated coordinate is larger
        count = _side(farthest) ** d * (d + 1)
        if count <= NUMBERS:
            return count
    raise too_narrow(farthest)


def _side(farthest: float) -> int:
    """How many values the quotient of a coordinate by d + 1 can have, the steps to corners and neighbours included."""
    return 2 * (math.ceil(2 * farthest) + 4) + 1


def build_lattice(features: Tensor, farthest: float) -> Lattice:
    """The lattice of ``features`` (B, d, n) float32, each from 0 to ``farthest``, with the symmetric normalisation
    inside of it; N = B * n locations.

    The host waits for the device once, to read the number of lattice points.

    Raises:
        UserError: for features that reach too far (see :func:`numbers`).
    """
    count, d, n = features.shape
    image, side = numbers(d, farthest), _side(farthest)
    # Coordinates of a lattice point are congruent modulo d + 1: its number is made of their remainder and their
    # quotients, of either sign and at most side // 2, but for the last, which follows from their sum of 0.
    strides = pad((d + 1) * side ** torch.arange(d, device=features.device), (0, 1))
    corners, weights = _simplices(features, strides)
    corners += image * torch.arange(count, device=features.device)[:, None]
    points, rows = torch.unique(corners, return_inverse=True)
    rows, weights = (x[..., :n].permute(1, 2, 0).reshape(-1, d + 1) for x in (rows + 1, weights))
    lattice = Lattice(SparseMatrix.of(rows, weights), _blurs(points, strides))
    # The gain of the blur, whose taps sum to 2, cancels in the normalisation. No sum is below 1 / (d + 1).
    norm = lattice.filter(weights.new_ones(len(weights), 1))
    return replace(lattice, slicing=SparseMatrix.of(rows, weights * norm.rsqrt()))


def _simplices(features: Tensor, strides: Tensor) -> tuple[Tensor, Tensor]:
    """Find the enclosing simplex of each location: the numbers of its corners and their barycentric weights.

    Arithmetic is float32 in a fixed order, one operation at a time: a location on the face of two simplices must fall
    into the same one as in the reference implementation.

    Args:
        features: (B, d, n).
        strides: (d + 1,) int64, what each coordinate's quotient counts in a number.

    Returns:
        (d + 1, B, n or n + 1), int64 and float32; the numbers are those within an image.
    """
    d, n = features.shape[1:]
    # The reference works on blocks of four locations and fills the last with zeros: these have no value, but their
    # lattice points exist and pass on what is blurred.
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
    turn = (rank < 0).long() - (rank > d).long()  # off the plane of coordinates that sum to 0: step back onto it
    rank, quotient = rank + turn * (d + 1), quotient + turn

    # From corner to corner one coordinate after the other steps down, that of the highest rank first.
    order = d - rank
    share = torch.empty_like(position).scatter_(0, order, (position - quotient * (d + 1)) * down)
    weights = share - torch.cat([share[d:] - 1, share[:d]])
    column = strides.view(-1, 1, 1)
    steps = torch.empty_like(order).scatter_(0, order, column.expand_as(order))
    remainder = torch.arange(d + 1, device=features.device).view(-1, 1, 1)
    first = (quotient.long() * column).sum(0)
    return first + remainder - (steps.cumsum(0) - steps), weights


def _blurs(points: Tensor, strides: Tensor) -> list[SparseMatrix]:
    """The blur along each direction of the lattice with ``points``, sorted numbers (m,)."""
    directions = len(strides)
    remainder = points % directions
    # Of the last remainder the next one is 0, with all quotients one higher.
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
