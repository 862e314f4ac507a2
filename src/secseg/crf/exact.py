"""Mean field with the dense kernels themselves: on any device, differentiable.

On a training grid of 41 x 41 the kernel is a matrix of 1681 x 1681, small enough to be held. The lattice that the
official code uses instead approximates it, and the two do not agree everywhere (95 to 98 % of the labels at the
training widths): which one a run used is part of its protocol.
"""

from __future__ import annotations

import torch
from torch import Tensor

from secseg.crf.base import CRFParams, check_input, with_diagonal_gradient, working_dtype
from secseg.utils.errors import UserError

#: Most grid cells: 81 x 81, the mask of a 641 x 641 input at stride 8, takes 172 MB in float32.
MOST_CELLS = 81 * 81
#: Entries of all kernels that a GPU works on at a time: 1 GB in float32, 95 images of 41 x 41.
TOGETHER = 2**28
#: Least exponent of a kernel: smaller ones change nothing, but as denormal numbers they slow a CPU down several times.
LEAST = -70.0


class Backend:
    """Exact mean field on small grids; see :func:`secseg.crf.build_crf`.

    Raises:
        UserError: on a call with more than ``MOST_CELLS`` grid cells, or with input that does not fit together.
    """

    def __init__(self, params: CRFParams, gradient: str = "stop") -> None:
        self.params, self.gradient = params, gradient
        self._grid: tuple[object, Tensor, Tensor] | None = None

    def __call__(self, logits: Tensor, images: Tensor) -> Tensor:
        check_input(logits, images)
        height, width = logits.shape[2:]
        if height * width > MOST_CELLS:
            raise UserError(
                f"The exact CRF holds a kernel of cells x cells: a grid of {height} x {width} is too large for it "
                f"(at most {MOST_CELLS} cells, as 81 x 81). Choose the backend lattice, which takes any size."
            )
        # On a CPU one kernel stays in the cache where several do not.
        size = 1 if logits.device.type == "cpu" else max(1, TOGETHER // (height * width) ** 2)
        with torch.autocast(logits.device.type, enabled=False):
            probs = torch.cat([self._solve(*part) for part in zip(logits.split(size), images.split(size), strict=True)])
        return with_diagonal_gradient(probs, logits) if self.gradient == "diagonal" else probs

    def _solve(self, logits: Tensor, images: Tensor) -> Tensor:
        with torch.no_grad():
            kernels = self._kernels(images, working_dtype(logits))
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.gradient == "exact"):
            unary = logits.to(kernels.dtype).flatten(2)
            return mean_field(unary, kernels, self.params.iterations).view(logits.shape)

    def _kernels(self, images: Tensor, dtype: torch.dtype) -> Tensor:
        """The weighted sum of both normalised kernels, one matrix an image: (B, n, n), symmetric."""
        p = self.params
        spatial, gaussian = self._grid_kernels(images.shape[2], images.shape[3], dtype, images.device)
        # Centred bytes and their products are whole numbers below 2**24: the distances have no rounding error.
        colours = images.flatten(2).to(dtype) - 128
        squares = colours.square().sum(1)
        kernels = torch.add(squares[:, :, None], squares[:, None, :]).baddbmm_(colours.mT, colours, alpha=-2)
        torch.add(spatial, kernels, alpha=-0.5 / p.bilateral_rgb**2, out=kernels).clamp_(LEAST).exp_()
        scale = kernels.sum(2).rsqrt_()
        return kernels.mul_(scale[:, :, None]).mul_(p.bilateral_weight * scale[:, None, :]).add_(gaussian)

    def _grid_kernels(self, height: int, width: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
        """What depends on the grid alone, kept for the next batch: the bilateral kernel's spatial exponent, and the
        normalised Gaussian kernel times its weight; (n, n) each."""
        key = (height, width, dtype, device)
        if self._grid is None or self._grid[0] != key:
            p = self.params
            y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
            dy, dx = (a.flatten()[:, None] - a.flatten() for a in (y, x))
            distances = (dx.square() + dy.square()).to(device, dtype)
            gaussian = (distances * (-0.5 / p.gaussian_xy**2)).clamp_(LEAST).exp_()
            scale = gaussian.sum(1).rsqrt_()
            gaussian.mul_(scale[:, None]).mul_(p.gaussian_weight * scale)
            self._grid = (key, distances.mul_(-0.5 / p.bilateral_xy**2), gaussian)
        return self._grid[1], self._grid[2]


def mean_field(unary: Tensor, kernels: Tensor, iterations: int) -> Tensor:
    """``Q <- softmax(unary + K Q)``, starting at ``softmax(unary)``.

    Shape:
        unary: (B, C, n), scores, that is negative energies.
        kernels: (B, n, n), symmetric: so ``Q K`` with Q as (C, n) is ``K Q``, and faster.
        returns: (B, C, n).
    """
    probs = unary.softmax(1)
    for _ in range(iterations):
        probs = torch.baddbmm(unary, probs, kernels).softmax(1)
    return probs
