"""Sums over all pairs of pixels, weighted by a Gaussian of the distance in position and colour."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias

import torch
from torch import Tensor

from secseg.crf.exact import MOST_PIXELS
from secseg.densecrf.permutohedral import Lattice, build_lattice, filtered
from secseg.utils.errors import UserError

Affinity: TypeAlias = Callable[[Tensor], Tensor]
"""``A x`` for values x (B, C, n) of the n pixels of each image."""


def exact_affinity(images: Tensor, xy: float, rgb: float, dtype: torch.dtype) -> Affinity:
    """Return ``x -> A x`` with ``A_ij = exp(-|p_i - p_j|^2 / (2 xy^2) - |I_i - I_j|^2 / (2 rgb^2))``, a dense matrix.

    Args:
        images: (B, 3, H, W) uint8.
        xy, rgb: standard deviations of the position in pixels and of the colour in byte values, above 0.
        dtype: of the matrix.

    Raises:
        UserError: for a grid of more than ``MOST_PIXELS`` pixels.
    """
    height, width = images.shape[2:]
    if height * width > MOST_PIXELS:
        raise UserError(
            f"The exact affinity holds a matrix of pixels x pixels, so a grid of {height} x {width} is too large (at "
            f"most {MOST_PIXELS} pixels). Choose the backend lattice."
        )
    sides = (torch.arange(side, dtype=dtype, device=images.device) for side in (height, width))
    y, x = torch.meshgrid(*sides, indexing="ij")
    positions = torch.stack([x.flatten(), y.flatten()]) / xy
    features = torch.cat([positions.expand(len(images), 2, -1), images.flatten(2).to(dtype) / rgb], 1).mT
    matrix = torch.cdist(features, features, compute_mode="donot_use_mm_for_euclid_dist").square().mul(-0.5).exp()
    return lambda values: values @ matrix  # A is symmetric


def lattice_affinity(images: Tensor, xy: float, rgb: float, dtype: torch.dtype) -> Affinity:
    """Return the approximation of ``exact_affinity`` on permutohedral lattices, on the CPU and in float32.

    It has another constant factor: at 41 x 41 pixels the values are about half of the exact ones.

    The gradient is exact: the backward pass filters with the transpose.

    Source: Adams, Baek and Davis, Fast High-Dimensional Filtering Using the Permutohedral Lattice, Eurographics 2010.
    """
    del dtype
    height, width = images.shape[2:]
    pixels = images.cpu().contiguous().numpy()
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        kernels = list(pool.map(lambda image: build_lattice(height, width, None, xy, image, rgb), pixels))
    return lambda values: _Filter.apply(values, kernels)


class _Filter(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, kernels: Sequence[Lattice]) -> Tensor:
        ctx.kernels = kernels
        return _filter(values, kernels, False)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return _filter(grads[0], ctx.kernels, True), None


def _filter(values: Tensor, kernels: Sequence[Lattice], transposed: bool) -> Tensor:
    """Filter values (B, C, n), each image by its own kernel."""
    arrays = values.detach().float().cpu().contiguous().numpy()
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        results = pool.map(filtered, kernels, arrays, [transposed] * len(kernels))
        return torch.stack([torch.from_numpy(result) for result in results]).to(values)
