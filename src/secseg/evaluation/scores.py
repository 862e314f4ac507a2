"""All figures of one variant of a prediction, with or without CRF, over a whole set."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from secseg.evaluation.metrics import WIDTHS, BoundaryScore, SegmentationScore
from secseg.utils.parallel import results_of
from secseg.utils.progress import ImageMeter, Stopwatch

ImageFiles = tuple[str, Path, Path]
"""Name, image and mask."""
Masks = tuple[Mapping[str, np.ndarray], np.ndarray, dict[str, float]]
"""Predicted masks by variant, the true one, and the seconds of the stages."""


class Evaluation:
    """Gathers the scores of predicted masks, image by image; parts from several processes can be added up.

    Args:
        class_names: names of the classes, background first.
        scored: names of the classes that the means run over; all by default. The others still count as errors.
        widths: widths of the bands around boundaries, in pixels, positive and ascending.

    Attributes:
        score: :class:`~secseg.evaluation.SegmentationScore` over the set.
        boundary: :class:`~secseg.evaluation.BoundaryScore` over the set.
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

    def empty(self) -> Evaluation:
        """Return an evaluation with the same settings and without images."""
        return Evaluation(self.score.class_names, self.score.scored, self.boundary.widths)

    def compute(self) -> dict[str, Any]:
        """Return the figures as plain values.

        ``miou``, ``iou`` and ``pixel_accuracy`` as in
        :meth:`~secseg.evaluation.SegmentationScore.compute`, ``size_bias`` as in
        :meth:`~secseg.evaluation.SegmentationScore.size_bias`, ``boundary`` as in
        :meth:`~secseg.evaluation.BoundaryScore.compute`; ``scored``, the names of the classes in the means,
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


def score_images(
    read: Callable[[ImageFiles], Masks],
    images: Sequence[ImageFiles],
    evaluations: Mapping[str, Evaluation],
    meter: ImageMeter,
    workers: int | None = None,
) -> None:
    """Score images in parallel, and add them to ``evaluations`` in their order.

    Args:
        read: reads or predicts the masks of an image.
        images: the images.
        evaluations: by variant; they get what ``read`` returns.
        meter: counts the images, with the seconds of their stages.
        workers: images at once; None for one a core.
    """

    def score(image: ImageFiles) -> tuple[dict[str, Evaluation], dict[str, float]]:
        masks, truth, seconds = read(image)
        watch = Stopwatch()
        with watch("output"):
            parts = {variant: evaluations[variant].empty() for variant in masks}
            for variant, part in parts.items():
                part.update(image[0], masks[variant], truth)
        return parts, seconds | watch.seconds

    with closing(results_of(score, images, workers)) as results:
        for _, (parts, seconds) in results:
            for variant, part in parts.items():
                evaluations[variant].merge(part)
            meter.update(seconds)
