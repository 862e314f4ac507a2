"""Mean field on the permutohedral lattice in torch operations: a batch on a GPU stays there, images side by side.

Computes what :mod:`secseg.crf.lattice` computes with numba, which is faster on a CPU. The host waits for the device
once a lattice, while it is built; the iterations only queue work.

Reference:
    Krähenbühl and Koltun, Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials, NIPS 2011.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from secseg.crf.base import CRFParams, working_dtype
from secseg.crf.permutohedral_torch import NUMBERS, Lattice, build_lattice, numbers

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
