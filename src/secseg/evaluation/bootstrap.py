"""How sure a difference between two sets of runs is: a paired bootstrap over the images that they were scored on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from secseg.evaluation.confusion import class_iou
from secseg.utils.errors import UserError


class Difference(NamedTuple):
    """The second's mean IoU less the first's, and the interval that holds it: all in [-1, 1]."""

    difference: float
    low: float
    high: float


def bootstrap_difference(
    first: np.ndarray,
    second: np.ndarray,
    scored: Sequence[int],
    draws: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Difference:
    """Compare the mean IoU of two sets of runs on the same images.

    Images are drawn with replacement, the same for all runs; each run's counts over the drawn images make its mean IoU
    (of the set, not of images), runs are averaged, and the quantiles of the differences are the interval. It says what
    other images would have changed, not what other seeds would have.

    Args:
        first, second: (runs, images, C, C) counts by (truth, prediction), images in the same order.
        scored: numbers of the classes that the mean runs over; a class in neither truth nor prediction is left out.
        draws: of the images.
        level: share of the draws that the interval holds.
        seed: of the draws.

    Raises:
        UserError: where there is no run or no image, or the two were scored on other images.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993 (percentile interval).
    """
    if 0 in first.shape or 0 in second.shape or first.shape[1:] != second.shape[1:]:
        raise UserError(
            f"Two sets of runs are compared on the same images and classes, not on counts of shape {first.shape} and "
            f"{second.shape}: score both on one split."
        )
    images = first.shape[1]
    rng = np.random.default_rng(seed)
    # How often each image is drawn: counts of a draw are then one product.
    times = rng.multinomial(images, np.full(images, 1 / images), size=draws)
    means = [mean_iou(np.tensordot(times, runs, ((1,), (1,))), scored).mean(1) for runs in (first, second)]
    tail = (1 - level) / 2
    low, high = np.quantile(means[1] - means[0], [tail, 1 - tail])
    whole = [float(mean_iou(runs.sum(1), scored).mean()) for runs in (first, second)]
    return Difference(whole[1] - whole[0], float(low), float(high))


def mean_iou(confusion: np.ndarray, scored: Sequence[int]) -> np.ndarray:
    """Return the mean IoU (...) of counts (..., C, C) over the classes ``scored``; NaN where none of them occurs."""
    iou = class_iou(confusion)[..., list(scored)]
    found = np.isfinite(iou)
    return np.divide(
        np.where(found, iou, 0).sum(-1), found.sum(-1), out=np.full(iou.shape[:-1], np.nan), where=found.any(-1)
    )
