"""All figures of one variant of a prediction, with or without CRF, over a whole set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from secseg.evaluation.boundary import WIDTHS, BoundaryScore
from secseg.evaluation.confusion import SegmentationScore


class Evaluation:
    """Gathers the scores of predicted masks, image by image; parts from several processes can be added up.

    Args:
        class_names: names of the classes, background first.
        scored: names of the classes that the means run over; all by default. The others still count as errors.
        widths: widths of the bands around boundaries, in pixels, positive and ascending.

    Attributes:
        score: :class:`~secseg.evaluation.confusion.SegmentationScore` over the set.
        boundary: :class:`~secseg.evaluation.boundary.BoundaryScore` over the set.
        images: mean IoU of each image by itself, by name: over the scored classes in its prediction or its truth; NaN
            where it has none of them. For finding images; their mean is not the mean IoU of the set.

    Raises:
        UserError: for an unknown scored class, or widths that are no widths.
    """

    def __init__(
        self, class_names: Sequence[str], scored: Sequence[str] | None = None, widths: Sequence[float] = WIDTHS
    ) -> None:
        self.score = SegmentationScore(class_names, scored=scored)
        self.boundary = BoundaryScore(class_names, widths, scored)
        self.images: dict[str, float] = {}

    def update(self, name: str, prediction: np.ndarray, target: np.ndarray) -> None:
        """Count one image: class numbers (H, W), in ``target`` also 255 = void.

        Raises:
            UserError: for shapes that differ, or values outside the classes. Nothing is counted then.
            ValueError: if an image of this name was counted before.
        """
        self._refuse_twice([name])
        image = SegmentationScore(self.score.class_names, scored=self.score.scored)
        image.update(prediction, target)
        self.boundary.update(prediction, target)
        self.score.merge(image)
        self.images[name] = image.compute()["miou"]

    def compute(self) -> dict[str, Any]:
        """Return the figures as plain values.

        ``miou``, ``iou`` and ``pixel_accuracy`` as in
        :meth:`~secseg.evaluation.confusion.SegmentationScore.compute`, ``size_bias`` as in
        :meth:`~secseg.evaluation.confusion.SegmentationScore.size_bias`, ``boundary`` as in
        :meth:`~secseg.evaluation.boundary.BoundaryScore.compute`; ``scored``, the names of the classes in the means,
        and ``images``, the number of images.
        """
        return {
            **self.score.compute(),
            "size_bias": self.score.size_bias(),
            "boundary": self.boundary.compute(),
            "scored": list(self.score.scored),
            "images": len(self.images),
        }

    def worst(self, n: int) -> list[tuple[str, float]]:
        """Return name and mean IoU of the ``n`` images with the lowest, lowest first; equal ones by name.

        Images without a score (NaN) are left out.
        """
        scores = [(name, score) for name, score in self.images.items() if not np.isnan(score)]
        return sorted(scores, key=lambda pair: (pair[1], pair[0]))[:n]

    def merge(self, other: Evaluation) -> None:
        """Add the images of ``other``, an evaluation with the same settings; the figures are then those of one process.

        Raises:
            ValueError: if the settings differ, or both counted the same image (a distributed sampler that repeats
                images to fill up a batch does that). Nothing is added then.
        """
        self._refuse_twice(other.images)
        self.boundary.merge(other.boundary)  # refuses other classes and widths before it adds
        self.score.merge(other.score)
        self.images |= other.images

    def _refuse_twice(self, names: Sequence[str] | dict[str, float]) -> None:
        twice = sorted(set(names) & self.images.keys())
        if twice:
            raise ValueError(f"counted twice: {', '.join(twice[:10])}; an image may be counted once")
