"""One confusion matrix over the whole set, and every figure from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from secseg.utils.errors import UserError, nearest


class SegmentationScore:
    """Counts pixels by (truth, prediction) over a whole set; void pixels are left out.

    Args:
        class_names: names of the classes, background first; numbers are positions.
        ignore_index: value of void pixels in the truth.
        scored: names of the classes that the mean runs over; all by default. Predictions and truth of the others still
            count as errors for the scored ones.

    Raises:
        UserError: if ``scored`` names a class that is not there, or none.

    Source: PASCAL VOC's measure: intersection over union of each class over all images, void left out.
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
            raise UserError("No class to score: name at least one in data.scored, or null for all.")
        self.confusion = np.zeros((len(self.class_names), len(self.class_names)), dtype=np.int64)

    def update(self, prediction: Any, target: Any) -> None:
        """Count the pixels of ``prediction`` and ``target``, integers of one shape (any), tensors or arrays.

        Raises:
            UserError: for shapes that differ, or values outside the classes (the truth may also be void).
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
        """Add the counts of ``other``, a score of the same classes over other images.

        Raises:
            ValueError: if the two score other classes.
        """
        ours, theirs = ((one.class_names, one.ignore_index, one.scored) for one in (self, other))
        if ours != theirs:
            raise ValueError(f"cannot add up scores of other classes: {ours} and {theirs}")
        self.confusion += other.confusion

    def compute(self) -> dict[str, Any]:
        """Return ``miou`` (mean over the scored classes), ``iou`` by class name, ``pixel_accuracy``; each in [0, 1].

        A class in neither prediction nor truth has IoU NaN and is left out of the mean.
        """
        total = self.confusion.sum()
        by_name = dict(zip(self.class_names, class_iou(self.confusion).tolist(), strict=True))
        values = np.array([by_name[name] for name in self.scored])
        return {
            "miou": float(np.nanmean(values)) if np.isfinite(values).any() else float("nan"),
            "iou": by_name,
            "pixel_accuracy": float(np.trace(self.confusion) / total) if total else float("nan"),
        }

    def size_bias(self) -> dict[str, float]:
        """Return, by class name, the predicted area over the true area, void left out: in [0, inf), 1 is unbiased.

        NaN for a class without a pixel in the truth.
        """
        return dict(zip(self.class_names, size_bias(self.confusion).tolist(), strict=True))


def class_iou(confusion: np.ndarray) -> np.ndarray:
    """Return the IoU (..., C) of each class from counts (..., C, C) by (truth, prediction); NaN for one in neither."""
    hits = np.diagonal(confusion, axis1=-2, axis2=-1).astype(np.float64)
    union = confusion.sum(-1) + confusion.sum(-2) - hits
    return np.divide(hits, union, out=np.full(hits.shape, np.nan), where=union > 0)


def size_bias(confusion: np.ndarray) -> np.ndarray:
    """Return the predicted over the true area (..., C) of each class from counts (..., C, C) by (truth, prediction);
    NaN for one that is not in the truth."""
    predicted, true = confusion.sum(-2), confusion.sum(-1)
    return np.divide(predicted, true, out=np.full(true.shape, np.nan), where=true > 0)


def _flat(values: Any) -> np.ndarray:
    array = values.detach().cpu().numpy() if isinstance(values, Tensor | torch.nn.Parameter) else np.asarray(values)
    return array.reshape(-1)
