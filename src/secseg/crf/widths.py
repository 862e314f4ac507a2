"""Spatial widths of a CRF that fit the image: its size, and the size of the objects in it."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from secseg.crf.base import CRF
from secseg.utils.checks import check_number, refuse

LEAST = 0.25
"""Objects make the widths smaller by at most this factor: 80 pixels become at least 20."""


class FittedCRF:
    """A CRF whose spatial widths are divided by a number for each image (see ``width_divisor``).

    Args:
        of_divisor: builds the CRF whose widths are divided by a number, above 0.
        widths_at: longest side of an image in pixels, above 0, for which the widths hold; None: for all images.
        widths_from: share of foreground pixels, above 0 to 1, from which the widths are full; None: they always are.

    Raises:
        UserError: for a value out of range; as ``of_divisor``.
    """

    def __init__(
        self, of_divisor: Callable[[float], CRF], widths_at: float | None = None, widths_from: float | None = None
    ) -> None:
        refuse(
            [
                *check_number("crf.test.widths_at", widths_at, above=0, null=True),
                *check_number("crf.test.widths_from", widths_from, above=0, most=1, null=True),
            ]
        )
        self.widths_at, self.widths_from = widths_at, widths_from
        self.of_divisor = lru_cache(maxsize=64)(of_divisor)
        self.of_divisor(1.0)  # raises for settings that do not fit

    def __call__(self, logits: Tensor, images: Tensor, /) -> Tensor:
        pairs = zip(logits.split(1), images.split(1), strict=True)
        return torch.cat([self._one(scores, image) for scores, image in pairs])

    def _one(self, scores: Tensor, image: Tensor) -> Tensor:
        divisor = 1.0
        if self.widths_at is not None:
            divisor *= self.widths_at / max(image.shape[-2:])
        if self.widths_from is not None:
            divisor *= width_divisor(foreground_share(scores[0]), self.widths_from)
        return self.of_divisor(divisor)(scores, image)


def width_divisor(share: float, full: float) -> float:
    """Return ``1 / clamp(sqrt(share / full), LEAST, 1)``: widths in proportion to the side of the foreground.

    Args:
        share: of foreground pixels in the image, 0 to 1.
        full: the least share for which the widths are not reduced, above 0.
    """
    return 1 / min(max(math.sqrt(share / full), LEAST), 1.0)


def foreground_share(scores: Tensor) -> float:
    """Return the share of the pixels of scores (C, H, W) at which the background, class 0, is not the best class."""
    return float((scores.max(0).indices != 0).float().mean())
