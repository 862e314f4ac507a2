"""Means over the images of a batch, of which a term may concern only some."""

from __future__ import annotations

from torch import Tensor


def mean_over_images(values: Tensor, chosen: Tensor | None = None) -> Tensor:
    """Return the mean of ``values`` over the chosen images: a scalar.

    Args:
        values: (B,), one value of each image.
        chosen: (B,) bool, the images of the mean; None for all. The mean is 0, with a gradient of 0, if none is chosen.
    """
    if chosen is None:
        return values.mean()
    return (values * chosen).sum() / chosen.sum().clamp(min=1)
