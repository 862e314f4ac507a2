"""Pixel-adaptive refinement (PAR): each pixel takes the mean of its neighbours, weighted by the likeness of their
colours. It is a local, parallel alternative to the fully connected CRF, on any device."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from secseg.crf.base import CRFParams, check_input, working_dtype

#: The eight neighbours of a pixel: steps in y and x.
NEIGHBOURS = tuple((y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if (y, x) != (0, 0))
#: Distances of the eight neighbours, in pixels: all of them are neighbours at once.
DISTANCES, WIDTH = (1, 2, 4, 8, 12, 24), 80.0
#: ``s`` and ``p`` of ``Backend``.
SHARPNESS, POSITION_WEIGHT = 0.3, 0.01
_SMALLEST = 1e-8


class Backend:
    """Refine probabilities by ``Q_i <- sum_j w_ij Q_j`` over the neighbours j of pixel i, starting at the softmax.

    ``w_ij = softmax_j(-mean_rgb((I_i - I_j) / (sigma_i s))^2) + p softmax_j(-(d_ij / (sigma_d s))^2)`` with the
    standard deviations ``sigma_i`` of each colour over pixel i and its neighbours, and ``sigma_d`` of the distances.
    The neighbours are at ``DISTANCES`` for a ``bilateral_xy`` of 80 pixels, and in proportion for others.

    Args:
        params: ``iterations`` and ``bilateral_xy`` are used.
        gradient: ``stop`` (the result is a constant) or ``exact`` (through all iterations).

    Source: Ru et al., Learning Affinity from Attention, CVPR 2022, and the distances and constants of its official
    code.
    """

    def __init__(self, params: CRFParams, gradient: str = "stop") -> None:
        self.params, self.gradient = params, gradient
        self.distances = sorted({max(1, round(d * params.bilateral_xy / WIDTH)) for d in DISTANCES})

    def __call__(self, logits: Tensor, images: Tensor, /) -> Tensor:
        """Return probabilities (B, C, H, W); see ``CRF``."""
        check_input(logits, images)
        with torch.autocast(logits.device.type, enabled=False):
            weights = self._weights(images.to(working_dtype(logits)))
            with torch.set_grad_enabled(torch.is_grad_enabled() and self.gradient == "exact"):
                probs = logits.to(weights.dtype).softmax(1)
                for _ in range(self.params.iterations):
                    probs = sum(w * shifted for w, shifted in zip(weights, self._shifted(probs), strict=True))
                return probs / probs.sum(1, keepdim=True)

    @torch.no_grad()
    def _weights(self, images: Tensor) -> Tensor:
        """Return the weights (n, B, 1, H, W) of the n neighbours of each pixel."""
        own = images[None]
        others = torch.stack(list(self._shifted(images)))
        deviation = torch.cat([own, others]).std(0, correction=1)
        apart = ((others - own) / (deviation + _SMALLEST) / SHARPNESS).square().mean(2, keepdim=True)
        steps = torch.tensor([[d * y, d * x] for d in self.distances for y, x in NEIGHBOURS], dtype=images.dtype)
        distances = steps.square().sum(1).sqrt()
        far = (distances / (distances.std(correction=1) + _SMALLEST) / SHARPNESS).square()
        position = POSITION_WEIGHT * (-far).softmax(0).view(-1, 1, 1, 1, 1)
        # Without non_blocking, the host would wait for the GPU.
        return (-apart).softmax(0) + position.to(images.device, non_blocking=images.device.type == "cuda")

    def _shifted(self, x: Tensor) -> Iterator[Tensor]:
        """Yield the values (B, C, H, W) of each neighbour; beyond the frame, those of the nearest pixel."""
        height, width = x.shape[2:]
        for d in self.distances:
            padded = F.pad(x, (d, d, d, d), mode="replicate")
            for y, step in NEIGHBOURS:
                yield padded[:, :, d + d * y : d + d * y + height, d + d * step : d + d * step + width]
