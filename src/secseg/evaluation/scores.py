"""All metrics of predicted masks over a whole set: masks of a network, or masks in a folder."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from secseg.data.classes import VOID
from secseg.data.images import mask_file
from secseg.data.mask_checks import renumbered_warning
from secseg.data.splits import ImageSet
from secseg.evaluation.metrics import WIDTHS, BoundaryScore, SegmentationScore
from secseg.utils.errors import UserError, listing
from secseg.utils.parallel import results_of
from secseg.utils.progress import ImageMeter, Stopwatch

log = logging.getLogger(__name__)

ImageFiles = tuple[str, Path, Path]
"""Name, image and mask."""
Masks = tuple[Mapping[str, np.ndarray], np.ndarray, dict[str, float]]
"""Predicted masks by variant, the true mask, and the seconds of the stages."""


class Evaluation:
    """Accumulates the metrics of predicted masks, image by image. Parts of several processes can be merged.

    Args:
        class_names, scored, widths: as for :class:`~secseg.evaluation.SegmentationScore` and ``BoundaryScore``.

    Attributes:
        score, boundary: the scores over the set.
        images: mean IoU of each single image, by name, over the scored classes in its prediction or truth; NaN without
            such classes. It helps to find images; the mean over images is not the mean IoU of the set.
    """

    def __init__(
        self, class_names: Sequence[str], scored: Sequence[str] | None = None, widths: Sequence[float] = WIDTHS
    ) -> None:
        self.score = SegmentationScore(class_names, scored=scored)
        self.boundary = BoundaryScore(class_names, widths, scored)
        self.images: dict[str, float] = {}

    def update(self, name: str, prediction: np.ndarray, target: np.ndarray) -> None:
        """Add one image: class numbers (H, W), in ``target`` also 255 = void.

        Raises:
            UserError: for different shapes, or values outside the classes. Then nothing is added.
            ValueError: if an image of this name was added before.
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
        """Return the metrics as plain values.

        These are the values of ``SegmentationScore.compute``, ``size_bias`` by class, ``boundary`` (see
        ``BoundaryScore.compute``), the names of the ``scored`` classes, and the number of ``images``.
        """
        return {
            **self.score.compute(),
            "size_bias": self.score.size_bias(),
            "boundary": self.boundary.compute(),
            "scored": list(self.score.scored),
            "images": len(self.images),
        }

    def worst(self, n: int) -> list[tuple[str, float]]:
        """Return name and mean IoU of the ``n`` images with the lowest mean IoU, lowest first, equal ones by name.

        Images without a score (NaN) are left out.
        """
        scores = [(name, score) for name, score in self.images.items() if not np.isnan(score)]
        return sorted(scores, key=lambda pair: (pair[1], pair[0]))[:n]

    def merge(self, other: Evaluation) -> None:
        """Add the images of ``other``, an evaluation with the same settings.

        Raises:
            ValueError: if the settings differ, or both have the same image (a distributed sampler that repeats images
                to fill a batch does that). Then nothing is added.
        """
        self._refuse_twice(other.images)
        self.boundary.merge(other.boundary)  # raises for other classes and widths before anything is added
        self.score.merge(other.score)
        self.images |= other.images

    def _refuse_twice(self, names: Sequence[str] | dict[str, float]) -> None:
        twice = sorted(set(names) & self.images.keys())
        if twice:
            raise ValueError(f"added twice: {', '.join(twice[:10])}; an image may be added once")


def score_images(
    read: Callable[[ImageFiles], Masks],
    images: Sequence[ImageFiles],
    evaluations: Mapping[str, Evaluation],
    meter: ImageMeter,
    workers: int | None,
) -> None:
    """Score images in parallel threads, and add them to ``evaluations``, by variant, in order.

    Args:
        read: reads or predicts the masks of an image.
        meter: counts the images, with the seconds of their stages.
        workers: number of threads; None for one per core.
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
    """Score ``<id>.png`` in a folder against the mask of each image of a split. Other files are ignored.

    Args:
        folder: folder of palette or grey PNGs of class numbers, each of the size of its mask.
        image_set: the split, with masks.
        scored, widths: as for ``Evaluation``.
        workers, meter: as for ``score_images``.

    Raises:
        UserError: if the split has no masks, or the folder does not exist; with all predictions that are missing, have
            another size than their mask, hold void, or are not class numbers, before anything is scored.
    """
    folder = Path(folder).expanduser()
    evaluation = Evaluation(image_set.class_names, scored, widths)
    if image_set.masks is None:
        raise UserError(f"{image_set.title} has no masks to score against. Choose a split that has masks.")
    if not folder.is_dir():
        raise UserError(f"There is no folder of predicted masks at {folder}.")
    images = image_set.triples()
    _check(folder, image_set)

    meter = meter or ImageMeter("score", len(images))
    score_images(read_masks(folder, image_set), images, {"without_crf": evaluation}, meter, workers)
    return evaluation


def read_masks(folder: Path, image_set: ImageSet) -> Callable[[ImageFiles], Masks]:
    """Return a function that reads the mask of an image in ``folder``, and the true one, for ``score_images``."""
    predicted = image_set.for_predictions()

    def read(image: ImageFiles) -> Masks:
        name, _, mask = image
        watch = Stopwatch()
        with watch("reading"):
            return (
                {"without_crf": predicted.read_mask(mask_file(folder, name))},
                image_set.read_mask(mask),
                watch.seconds,
            )

    return read


def _check(folder: Path, image_set: ImageSet) -> None:
    """Read each prediction, and report everything that is wrong, by kind."""
    missing, sizes, void, unreadable = [], [], [], []
    renumbered: list[Path] = []
    predicted = image_set.for_predictions()

    def read(path: Path) -> np.ndarray:
        numbers, by_colour = predicted.decode_mask(path)
        renumbered.extend([path] if by_colour else [])
        return numbers

    images = image_set.triples()
    for name, _, mask_path in images:
        path, (mask, by_colour) = mask_file(folder, name), image_set.decode_mask(mask_path)
        renumbered.extend([mask_path] if by_colour else [])
        if not path.is_file():
            missing.append(path.name)
            continue
        try:
            prediction = read(path)
        except UserError as error:
            unreadable.append(str(error))
            continue
        if prediction.shape != mask.shape:
            (height, width), (rows, columns) = prediction.shape, mask.shape
            sizes.append(f"{path.name}: {width} x {height} pixels, its mask {columns} x {rows}")
        if (prediction == VOID).any():
            void.append(path.name)
    one_class = len(image_set.class_names) == 2 and image_set.mask_values != "binary"
    kinds = (
        (missing, "missing: each image of the split needs <id>.png"),
        (sizes, "not of the size of their mask: predict at full size, or resize with nearest neighbour"),
        (
            void,
            f"with pixels of value {VOID}: only the truth may have void; use the most probable class (0: background)"
            + (f", or data.mask_values=binary if {VOID} is the class" if one_class else ""),
        ),
        (unreadable, f"not readable as class numbers (a message about {VOID} is about masks, not about predictions)"),
    )
    wrong = [f"{len(lines)} {what}:\n{listing(lines)}" for lines, what in kinds if lines]
    for warning in renumbered_warning(renumbered):
        log.warning("%s", warning)
    if wrong:
        raise UserError(f"Predictions in {folder} cannot be scored; {len(images)} are needed:\n" + "\n".join(wrong))
