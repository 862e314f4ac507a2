"""Warnings about image-level labels from which a class, or the background, can hardly be learned."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import combinations

import numpy as np

from secseg.data.labels import Labels
from secseg.utils.errors import some
from secseg.utils.text import count, part_of

FEWEST_IMAGES = 10
"""Fewest images of a class without a warning."""
FEWEST_WITHOUT = 0.05
"""Smallest share of images that do not have a class, without a warning."""
MANY_CLASSES = 6
"""With so many classes, the images of other classes show what is background. Without an image of the background alone,
VOC's animals and the built-in shapes (7 classes) give good masks, three kinds of defects on steel do not."""
TOGETHER = 0.95
"""Two classes count as always together from this share of the images that have either."""
REMEDY = "with an empty list of labels"


def label_warnings(labels: Labels, names: Collection[str], class_names: Sequence[str]) -> list[str]:
    """Return a line for each thing that the labels of the training images lack.

    Args:
        labels: foreground class numbers of each image.
        names: the training images.
        class_names: names of the classes, background first.
    """
    if not names:
        return []
    shown = np.zeros((len(names), len(class_names)), dtype=bool)
    for row, name in enumerate(names):
        shown[row, list(labels[name])] = True
    return [*_without_background(shown, class_names), *_few_images(shown, class_names), *_together(shown, class_names)]


def lacks_background(labels: Labels, names: Collection[str], classes: int) -> bool:
    """Return whether labels cannot show what background is: few classes, and hardly an image without any of them.

    Args:
        labels, names: as for ``label_warnings``.
        classes: number of foreground classes.
    """
    alone = sum(not labels[name] for name in names)
    return classes < MANY_CLASSES and alone < FEWEST_WITHOUT * len(names)


def _without_background(shown: np.ndarray, class_names: Sequence[str]) -> Iterator[str]:
    images, classes = len(shown), len(class_names) - 1
    without = images - shown.sum(0)
    if 1 < classes < MANY_CLASSES and shown.any(1).all():
        yield (
            f"None of {count(images, 'training image')} shows the background alone. The labels of {classes} classes "
            f"hardly tell objects from a background that all images share. Add images without any class, {REMEDY}."
        )
    for number in range(1, classes + 1):
        if without[number] < FEWEST_WITHOUT * images:
            is_ = "is" if without[number] == 1 else "are"
            few, little = (f"only {without[number]}", "little") if without[number] else ("none", "nothing")
            other = REMEDY if classes == 1 else "with their labels"
            yield (
                f"{class_names[number]}: {few} of {count(images, 'training image')} {is_} without this class, so "
                f"{little} shows what does not belong to it. Add images without it, {other}."
            )


def _few_images(shown: np.ndarray, class_names: Sequence[str]) -> Iterator[str]:
    counts = shown.sum(0).tolist()
    few = [f"{name} ({count})" for name, count in zip(class_names, counts, strict=True) if 0 < count < FEWEST_IMAGES]
    if few:
        yield (
            f"{part_of(len(few), len(class_names) - 1, 'class', 'has', 'have')} fewer than {FEWEST_IMAGES} training "
            f"images: {some(few)}. Add images of {'this class' if len(few) == 1 else 'these classes'}."
        )


def _together(shown: np.ndarray, class_names: Sequence[str]) -> Iterator[str]:
    counts = shown.sum(0)
    common = shown.T.astype(np.int64) @ shown.astype(np.int64)
    for first, second in combinations(np.flatnonzero(counts >= FEWEST_IMAGES).tolist(), 2):
        either = counts[first] + counts[second] - common[first, second]
        if common[first, second] >= TOGETHER * either:
            yield (
                f"{class_names[first]} and {class_names[second]}: {common[first, second]} of the {either} training "
                "images with one of them have both, so labels do not tell them apart. Add images with only one of "
                "them, or make them one class."
            )
