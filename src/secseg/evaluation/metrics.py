"""Metrics from one confusion matrix over the whole set: IoU, size bias, and IoU near boundaries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from secseg.data.classes import VOID
from secseg.utils.errors import UserError, nearest

WIDTHS = (1, 2, 3, 5, 10, 20, 40)
"""Widths of the bands around boundaries, in pixels."""


class SegmentationScore:
    """Confusion matrix of pixels, by (truth, prediction), over a whole set; void pixels are left out.

    Args:
        class_names: names of the classes, background first.
        ignore_index: value of void pixels in the truth.
        scored: names of the classes in the mean; all by default. Pixels of the other classes still count as errors of
            the scored classes.

    Raises:
        UserError: if ``scored`` is empty or has an unknown class.

    Source: the measure of PASCAL VOC: intersection over union of each class over all images, without void.
    """

    def __init__(
        self, class_names: Sequence[str], ignore_index: int = 255, scored: Sequence[str] | None = None
    ) -> None:
        self.class_names = tuple(class_names)
        self.ignore_index = ignore_index
        self.scored = self.class_names if scored is None else tuple(scored)
        for name in self.scored:
            if name not in self.class_names:
                raise UserError(f"Cannot score '{name}': no such class.{nearest(name, self.class_names)}")
        if not self.scored:
            raise UserError("No class is scored, because scored is empty. Name at least one class, or null for all.")
        self.confusion = np.zeros((len(self.class_names), len(self.class_names)), dtype=np.int64)

    def update(self, prediction: Any, target: Any) -> None:
        """Add the pixels of ``prediction`` and ``target``, integer tensors or arrays of the same shape.

        Raises:
            UserError: for different shapes, or values outside the classes (the truth may also be void).
        """
        prediction, target = _flat(prediction), _flat(target)
        if prediction.shape != target.shape:
            raise UserError(
                f"Prediction and truth differ in size: {prediction.size} and {target.size} pixels. "
                "Resize the prediction to the truth first."
            )
        known = target != self.ignore_index
        prediction, target = prediction[known], target[known]
        classes = len(self.class_names)
        for what, values in (("Truth", target), ("Prediction", prediction)):
            if values.size and (values.min() < 0 or values.max() >= classes):
                wrong = sorted({int(v) for v in np.unique(values) if v < 0 or v >= classes})
                raise UserError(f"{what} has values {wrong[:10]}, outside the {classes} classes 0..{classes - 1}.")
        pairs = np.bincount(target.astype(np.int64) * classes + prediction, minlength=classes**2)
        self.confusion += pairs.reshape(classes, classes)

    def merge(self, other: SegmentationScore) -> None:
        """Add the counts of ``other``, with the same classes and other images."""
        ours, theirs = ((one.class_names, one.ignore_index, one.scored) for one in (self, other))
        if ours != theirs:
            raise ValueError(f"cannot add scores of different classes: {ours} and {theirs}")
        self.confusion += other.confusion

    def compute(self) -> dict[str, Any]:
        """Return ``miou`` (mean over the scored classes), ``iou`` by class name, ``pixel_accuracy``; each in [0, 1].

        A class in neither prediction nor truth has IoU NaN and is left out of the mean.
        """
        total = self.confusion.sum()
        return {
            "miou": float(mean_iou(self.confusion, [self.class_names.index(name) for name in self.scored])),
            "iou": dict(zip(self.class_names, class_iou(self.confusion).tolist(), strict=True)),
            "pixel_accuracy": float(np.trace(self.confusion) / total) if total else float("nan"),
        }

    def size_bias(self) -> dict[str, float]:
        """Return, by class name, the predicted area over the true area, void left out: in [0, inf), 1 is unbiased.

        NaN for a class without a pixel in the truth.
        """
        return dict(zip(self.class_names, size_bias(self.confusion).tolist(), strict=True))


class BoundaryScore:
    """Mean IoU in bands around the boundaries, with one confusion matrix over the whole set for each width.

    The band of width w holds the pixels that are not void and whose Euclidean distance, from centre to centre, to the
    nearest boundary pixel (see :func:`boundary_pixels`) is at most w. An image without a boundary has no pixel in any
    band, but counts in the share.

    Args:
        class_names, scored: as for :class:`~secseg.evaluation.SegmentationScore`.
        widths: widths of the bands in pixels, positive and ascending.

    Raises:
        UserError: for widths that are missing, not positive or not ascending; for an unknown scored class.

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
        """Add one image: class numbers (H, W), in ``target`` also 255 = void. A refused image adds nothing."""
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
        """Return the mean IoU in each band, and the share of the band in all pixels that are not void.

        ``widths``, ``miou`` (in [0, 1]; NaN for an empty band) and ``share`` (in [0, 1]; NaN without pixels) are lists
        of the same length. ``images`` counts the images by kind of boundary: ``void``, ``class`` or ``none``.
        """
        pixels = int(self.whole.confusion.sum())
        return {
            "widths": list(self.widths),
            "miou": [band.compute()["miou"] for band in self.bands],
            "share": [int(band.confusion.sum()) / pixels if pixels else float("nan") for band in self.bands],
            "images": dict(self.images),
        }

    def merge(self, other: BoundaryScore) -> None:
        """Add the counts of ``other``, with the same classes and widths and other images."""
        if self.widths != other.widths:
            raise ValueError(f"cannot add bands of different widths: {self.widths} and {other.widths}")
        for ours, theirs in zip((self.whole, *self.bands), (other.whole, *other.bands), strict=True):
            ours.merge(theirs)
        self.images = {kind: count + other.images[kind] for kind, count in self.images.items()}


def class_iou(confusion: np.ndarray) -> np.ndarray:
    """Return the IoU (..., C) of each class from counts (..., C, C) by (truth, prediction); NaN for a class in
    neither."""
    hits = np.diagonal(confusion, axis1=-2, axis2=-1).astype(np.float64)
    union = confusion.sum(-1) + confusion.sum(-2) - hits
    return np.divide(hits, union, out=np.full(hits.shape, np.nan), where=union > 0)


def mean_iou(confusion: np.ndarray, scored: Sequence[int]) -> np.ndarray:
    """Return the mean IoU (...) over the classes ``scored`` from counts (..., C, C); NaN if none of them occurs."""
    iou = class_iou(confusion)[..., list(scored)]
    found = np.isfinite(iou)
    return np.divide(
        np.where(found, iou, 0).sum(-1), found.sum(-1), out=np.full(iou.shape[:-1], np.nan), where=found.any(-1)
    )


def size_bias(confusion: np.ndarray) -> np.ndarray:
    """Return the predicted over the true area (..., C) of each class from counts (..., C, C) by (truth, prediction);
    NaN for a class that is not in the truth."""
    predicted, true = confusion.sum(-2), confusion.sum(-1)
    return np.divide(predicted, true, out=np.full(true.shape, np.nan), where=true > 0)


def boundary_pixels(target: np.ndarray) -> tuple[np.ndarray, str]:
    """Return the boundary pixels (H, W) bool of a mask (H, W), and their kind.

    The kind is chosen for each image, since a set may mix both kinds of masks:

    - ``void``: the mask has void pixels (255), and these are the boundary. VOC draws them around each object. A void
      region counts as boundary, too. The nearest scored pixels have distance 1.
    - ``class``: the mask has no void. A pixel is boundary if one of its 4 neighbours has another class. Both sides of
      an edge are boundary, and are scored with distance 0.
    - ``none``: one class without void, or void only. There is no boundary.

    The border of the image is not a boundary.
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


def _flat(values: Any) -> np.ndarray:
    array = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    return array.reshape(-1)
