"""Mean IoU near the boundaries of objects: the trimap plot of the literature on CRFs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.ndimage import distance_transform_edt

from secseg.data.classes import VOID
from secseg.evaluation.confusion import SegmentationScore
from secseg.utils.errors import UserError

WIDTHS = (1, 2, 3, 5, 10, 20, 40)
"""Widths of the bands, in pixels."""


class BoundaryScore:
    """Mean IoU within bands around the boundaries: for each width, one confusion matrix over the whole set.

    The band of width w holds the pixels that are not void and whose Euclidean distance, centre to centre, to the
    nearest boundary pixel is at most w; see :func:`boundary_pixels`. An image without a boundary has no pixel in any
    band, but counts in the share.

    Args:
        class_names: names of the classes, background first.
        widths: widths of the bands in pixels, positive and ascending.
        scored: names of the classes that the mean runs over; all by default.

    Raises:
        UserError: for widths that are not positive and ascending, or none; for ``scored`` as in
            :class:`~secseg.evaluation.confusion.SegmentationScore`.

    Source: Kohli, Ladicky and Torr (2009); Krähenbühl and Koltun (2011).
    """

    def __init__(
        self, class_names: Sequence[str], widths: Sequence[float] = WIDTHS, scored: Sequence[str] | None = None
    ) -> None:
        self.widths = tuple(widths)
        if not self.widths or self.widths[0] <= 0 or any(np.diff(self.widths) <= 0):
            raise UserError(
                f"The widths of the bands are {list(self.widths)}: give at least one, in pixels, each above 0 and "
                "above the one before it."
            )
        self.whole = SegmentationScore(class_names, scored=scored)
        self.bands = tuple(SegmentationScore(class_names, scored=scored) for _ in self.widths)
        self.images = {"void": 0, "class": 0, "none": 0}

    def update(self, prediction: np.ndarray, target: np.ndarray) -> None:
        """Count the pixels of one image: class numbers (H, W), in ``target`` also 255 = void.

        Raises:
            UserError: for shapes that differ, or values outside the classes. Nothing is counted then.
        """
        prediction, target = np.asarray(prediction), np.asarray(target)
        self.whole.update(prediction, target)
        boundary, kind = boundary_pixels(target)
        self.images[kind] += 1
        if kind == "none":
            return
        distance = distance_transform_edt(~boundary)
        for width, band in zip(self.widths, self.bands, strict=True):
            inside = distance <= width
            band.update(prediction[inside], target[inside])

    def compute(self) -> dict[str, Any]:
        """Return, for each width in turn, the mean IoU in its band and its share of all pixels that are not void.

        ``widths``, ``miou`` (in [0, 1]; NaN where a band is empty), ``share`` (in [0, 1]; NaN where no pixel was
        counted) are lists of one length. ``images`` counts the images by kind of boundary: ``void``, ``class``
        or ``none``.
        """
        pixels = int(self.whole.confusion.sum())
        return {
            "widths": list(self.widths),
            "miou": [band.compute()["miou"] for band in self.bands],
            "share": [int(band.confusion.sum()) / pixels if pixels else float("nan") for band in self.bands],
            "images": dict(self.images),
        }

    def merge(self, other: BoundaryScore) -> None:
        """Add the counts of ``other``, a score with the same classes and widths over other images.

        Raises:
            ValueError: if classes or widths differ.
        """
        if self.widths != other.widths:
            raise ValueError(f"cannot add up bands of other widths: {self.widths} and {other.widths}")
        for ours, theirs in zip((self.whole, *self.bands), (other.whole, *other.bands), strict=True):
            ours.merge(theirs)
        self.images = {kind: count + other.images[kind] for kind, count in self.images.items()}


def boundary_pixels(target: np.ndarray) -> tuple[np.ndarray, str]:
    """Find the boundary pixels of a mask (H, W): (H, W) bool, and what they are.

    Each image is judged by itself, since a set may mix both kinds of mask:

    - ``void``: the mask holds void (255). Its void pixels, and no others, are the boundary: in VOC they are drawn
      around each object. Void that covers a region is boundary all the same. The boundary is then beside the pixels
      that are scored, the nearest of which are at distance 1.
    - ``class``: the mask has no void. A pixel is boundary if one of its 4 neighbours has another class, so both
      sides of each edge are boundary, and are scored, at distance 0.
    - ``none``: no void and one class only, or void only. There is no boundary.

    The border of the image is no boundary.
    """
    void = target == VOID
    if void.any():
        return void, "none" if void.all() else "void"
    boundary = np.zeros(target.shape, dtype=bool)
    down, right = target[1:] != target[:-1], target[:, 1:] != target[:, :-1]
    boundary[1:] |= down
    boundary[:-1] |= down
    boundary[:, 1:] |= right
    boundary[:, :-1] |= right
    return boundary, "class" if boundary.any() else "none"
