"""All figures of predicted masks over a whole set: masks of a network, or masks in a folder, anyone's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from secseg.data.classes import VOID
from secseg.data.images import read_mask
from secseg.data.splits import ImageSet
from secseg.evaluation.metrics import WIDTHS, BoundaryScore, SegmentationScore
from secseg.utils.errors import UserError, listing
from secseg.utils.parallel import results_of
from secseg.utils.progress import ImageMeter, Stopwatch

ImageFiles = tuple[str, Path, Path]
"""Name, image and mask."""
Masks = tuple[Mapping[str, np.ndarray], np.ndarray, dict[str, float]]
"""Predicted masks by variant, the true one, and the seconds of the stages."""
CONVERT = "(rgb[..., None, :] == voc_palette()).all(-1).argmax(-1).astype('uint8')"
"""Class numbers (H, W) of an array ``rgb`` (H, W, 3) in VOC's colours."""


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


def score_folder(
    folder: str | Path,
    image_set: ImageSet,
    scored: Sequence[str] | None = None,
    widths: Sequence[float] = WIDTHS,
    workers: int | None = None,
    meter: ImageMeter | None = None,
) -> Evaluation:
    """Score ``<id>.png`` in a folder, for each image of a split, against its mask; other files are not looked at.

    Args:
        folder: of palette or grey PNGs, whose values are class numbers, each of its mask's size.
        image_set: the split, with masks.
        scored: names of the classes that the means run over; all by default.
        widths: widths of the bands around boundaries, in pixels.
        workers: images at once; None for one a core.
        meter: counts the images.

    Raises:
        UserError: if the split has no masks, or there is no such folder; with all predictions that are missing, of
            another size than their mask, hold void, or are no class numbers, before anything is scored.
    """
    folder = Path(folder).expanduser()
    evaluation = Evaluation(image_set.class_names, scored, widths)
    if image_set.masks is None:
        raise UserError(f"{image_set.title} has no masks to score against. Choose a split that has.")
    if not folder.is_dir():
        raise UserError(f"There is no folder of predicted masks at {folder}.")
    classes = len(image_set.class_names)
    images = image_set.triples()
    _check(folder, images, classes)

    def read(image: ImageFiles) -> Masks:
        name, _, mask = image
        watch = Stopwatch()
        with watch("reading"):
            return {"without_crf": read_mask(folder / f"{name}.png", classes)}, read_mask(mask, classes), watch.seconds

    score_images(read, images, {"without_crf": evaluation}, meter or ImageMeter("score", len(images)), workers)
    return evaluation


def _check(folder: Path, images: Sequence[ImageFiles], classes: int) -> None:
    """Read each prediction once and tell all that is wrong with them, by kind."""
    missing, sizes, void, unreadable = [], [], [], []
    for name, _, mask_path in images:
        path, mask = folder / f"{name}.png", read_mask(mask_path, classes)
        if not path.is_file():
            missing.append(path.name)
            continue
        try:
            prediction = read_mask(path, classes)
        except UserError as error:
            unreadable.append(str(error))
            continue
        if prediction.shape != mask.shape:
            (height, width), (rows, columns) = prediction.shape, mask.shape
            sizes.append(f"{path.name}: {width} x {height} pixels, its mask {columns} x {rows}")
        if (prediction == VOID).any():
            void.append(path.name)
    kinds = (
        (missing, "missing: each image of the split needs <id>.png"),
        (sizes, "not of their mask's size: predict at full size, or resize with nearest neighbour"),
        (
            void,
            f"with pixels of value {VOID}: void is for the truth alone; put the likeliest class (0: background) there",
        ),
        (unreadable, f"not readable as class numbers (what is said of {VOID} is for masks, not for predictions)"),
    )
    wrong = [f"{len(lines)} {what}:\n{listing(lines)}" for lines, what in kinds if lines]
    if any("holds colours" in line for line in unreadable):
        wrong.append(
            "Colours of VOC's palette become class numbers with NumPy and `from secseg.data.classes import "
            f"voc_palette`: `{CONVERT}` for an array rgb of shape (H, W, 3)."
        )
    if wrong:
        raise UserError(f"Predictions in {folder} cannot be scored, {len(images)} are needed:\n" + "\n".join(wrong))
