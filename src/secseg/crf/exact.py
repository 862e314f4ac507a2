"""Mean field with dense kernels: on any device, differentiable, the reference for the lattice.

On a training grid of 41 x 41, a kernel is a matrix of 1681 x 1681, which fits into memory. The official code uses an
approximation on a lattice instead. At the training widths, 95 to 98 % of the labels agree. The protocol of a run
therefore states the backend.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from secseg.crf.base import CRFParams, MeanField, working_dtype
from secseg.utils.errors import UserError

#: Most pixels of a grid: the kernel of 81 x 81, the mask of a 641 x 641 input at stride 8, takes 172 MB in float32.
MOST_PIXELS = 81 * 81
#: Entries of the kernels that a GPU processes at a time: 1 GB in float32, 95 images of 41 x 41.
TOGETHER = 2**28
#: Least exponent of a kernel. Smaller ones change nothing, but would be denormal numbers, which are slow on a CPU.
LEAST = -70.0


class Backend(MeanField):
    """Exact mean field on small grids, of at most ``MOST_PIXELS`` pixels."""

    def solve(self, logits: Tensor, images: Tensor) -> Tensor:
        height, width = logits.shape[2:]
        if height * width > MOST_PIXELS:
            raise UserError(
                f"The exact CRF holds a kernel of pixels x pixels, so that a grid of {height} x {width} is too large "
                f"(at most {MOST_PIXELS} pixels, such as 81 x 81). Choose the backend lattice, which takes any size."
            )
        # On a CPU, a single kernel stays in the cache; several do not.
        size = 1 if logits.device.type == "cpu" else max(1, TOGETHER // (height * width) ** 2)
        with torch.autocast(logits.device.type, enabled=False):
            return torch.cat([self._solve(*part) for part in zip(logits.split(size), images.split(size), strict=True)])

    def _solve(self, logits: Tensor, images: Tensor) -> Tensor:
        with torch.no_grad():
            kernels = self._kernels(images, working_dtype(logits))
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.gradient == "exact"):
            unary = logits.to(kernels.dtype).flatten(2)
            return mean_field(unary, kernels, self.params.iterations).view(logits.shape)

    def _kernels(self, images: Tensor, dtype: torch.dtype) -> Tensor:
        """Return the weighted sum of both normalised kernels, one symmetric matrix for each image: (B, n, n)."""
        p = self.params
        spatial, gaussian = _grid_kernels(p, images.shape[2], images.shape[3], dtype, images.device)
        # Centred bytes and their products are whole numbers below 2**24, so that the distances have no rounding error.
        colours = images.flatten(2).to(dtype) - 128
        squares = colours.square().sum(1)
        kernels = torch.add(squares[:, :, None], squares[:, None, :]).baddbmm_(colours.mT, colours, alpha=-2)
        torch.add(spatial, kernels, alpha=-0.5 / p.bilateral_rgb**2, out=kernels).clamp_(LEAST).exp_()
        scale = kernels.sum(2).rsqrt_()
        return kernels.mul_(scale[:, :, None]).mul_(p.bilateral_weight * scale[:, None, :]).add_(gaussian)


@lru_cache(maxsize=1)
def _grid_kernels(
    p: CRFParams, height: int, width: int, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Return what depends on the grid alone, cached for the next batch; (n, n) each.

    These are the spatial exponent of the bilateral kernel, and the normalised Gaussian kernel times its weight.
    """
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    dy, dx = (a.flatten()[:, None] - a.flatten() for a in (y, x))
    distances = (dx.square() + dy.square()).to(device, dtype)
    gaussian = (distances * (-0.5 / p.gaussian_xy**2)).clamp_(LEAST).exp_()
    scale = gaussian.sum(1).rsqrt_()
    gaussian.mul_(scale[:, None]).mul_(p.gaussian_weight * scale)
    return distances.mul_(-0.5 / p.bilateral_xy**2), gaussian


def mean_field(unary: Tensor, kernels: Tensor, iterations: int) -> Tensor:
    """Iterate ``Q <- softmax(unary + K Q)``, starting at ``softmax(unary)``.

    Shape:
        unary: (B, C, n), scores, that is negative energies.
        kernels: (B, n, n), symmetric. Therefore ``Q K``, with Q as (C, n), equals ``K Q``, and it is faster.
        returns: (B, C, n).
    """
    probs = unary.softmax(1)
    for _ in range(iterations):
        probs = torch.baddbmm(unary, probs, kernels).softmax(1)
    return probs
