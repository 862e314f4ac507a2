"""Check masks before anything is computed: against their images, and against the image-level labels."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from secseg.data.classes import VOID
from secseg.data.images import image_size
from secseg.data.labels import Labels
from secseg.data.splits import ImageSet
from secseg.utils.errors import UserError, listing
from secseg.utils.parallel import results_and_problems

log = logging.getLogger(__name__)

BY_NUMBER = "data.mask_values=numbers reads their numbers."
MOST_CLASSES = 10
"""Most classes that a message lists."""


def check_masks(images: ImageSet, required: bool = True, advice: str = "", labels: Labels | None = None) -> None:
    """Read the masks of a split, and compare them with the labels. Warnings are logged.

    Args:
        images: the split, with masks.
        required: whether an image without a mask is an error.
        advice: follows the message about masks that cannot be used.
        labels: classes of each image, which the masks show; None if they are unknown.

    Raises:
        UserError: with all masks that do not fit or, if required, are missing; if no mask shows a class of its labels.
    """

    def check(image: tuple[str, Path, Path]) -> tuple[set[int], bool]:
        mask = images.decode_mask(image[2], image_size(image[1]))
        return set(np.flatnonzero(np.bincount(mask.numbers.reshape(-1)))), mask.renumbered

    chosen = [one for one in images.triples() if required or one[2].is_file()]
    found, wrong = results_and_problems(check, chosen)
    if wrong:
        raise UserError(f"{len(wrong)} masks of {images.title} cannot be used{advice}:\n{listing(wrong)}")
    read = {image[0]: result for image, result in zip(chosen, found, strict=True) if result is not None}
    warn_renumbered([path for (_, _, path), result in zip(chosen, found, strict=True) if result and result[1]])
    _warn_no_background(images.title, [classes for classes, _ in read.values()])
    if labels is not None:
        _compare(images, {name: classes for name, (classes, _) in read.items()}, labels)


def check_shown_classes(images: ImageSet) -> None:
    """Check that a mask of a split shows a class. The first that does ends the search.

    Raises:
        UserError: if a mask cannot be read; if no mask shows a class, and some have the value 255.
    """
    seen, with_void = 0, 0
    for path in images.masks or ():
        if path.is_file():
            mask = images.decode_mask(path)
            if ((mask.numbers > 0) & (mask.numbers != VOID)).any():
                warn_renumbered([path] if mask.renumbered else [])
                return
            seen, with_void = seen + 1, with_void + bool((mask.numbers == VOID).any())
    if with_void:
        raise UserError(
            f"No mask of {images.title} shows a class: {seen} masks were read, and {with_void} of them hold {VOID}. "
            f"{_void_remedy(images.class_names)}"
        )
    if seen:
        log.warning("%d masks of %s show background alone: scores say nothing about classes.", seen, images.title)


def warn_renumbered(paths: Sequence[Path]) -> None:
    """Log a warning for masks that were read by colour, because their palette has other numbers."""
    if paths:
        log.warning(
            "%d masks, such as %s, have a palette with the colours of the classes at other numbers, and are read by "
            "colour. %s",
            len(paths),
            paths[0],
            BY_NUMBER,
        )


def _warn_no_background(title: str, shown: Sequence[set[int]]) -> None:
    """Log a warning if void may stand for the background, because no mask shows the background."""
    void = sum(VOID in classes for classes in shown)
    if void and not any(0 in classes for classes in shown):
        log.warning(
            "No mask of %s shows the background (0), and %d of %d hold %d. %d is void: such pixels are not scored, and "
            "the scores miss what is predicted there. If these pixels are background, save them as 0.",
            *(title, void, len(shown), VOID, VOID),
        )


def _compare(images: ImageSet, shown: Mapping[str, set[int]], labels: Labels) -> None:
    labelled = [name for name in shown if labels[name]]
    other = [name for name in labelled if shown[name].isdisjoint(labels[name])]
    names = images.class_names
    lines = [f"{name}: {_names(labels[name], names)}; the mask holds {_names(shown[name], names)}" for name in other]
    if labelled and len(other) == len(labelled):
        only_void = all(shown[name] <= {0, VOID} for name in labelled) and any(VOID in shown[name] for name in labelled)
        remedy = _void_remedy(names) if only_void else _numbers_remedy(names)
        raise UserError(
            f"{len(labelled)} images of {images.title} have labels and a mask, but no mask shows a class of its "
            f"labels:\n{listing(lines)}\n{remedy}"
        )
    differing = [*_differing(names, shown, labels)]
    if other:
        void = any(VOID in shown[name] for name in other)
        log.warning(
            "%d of %d masks of labelled images in %s show none of the labelled classes:\n%s%s",
            len(other),
            len(labelled),
            images.title,
            listing(lines),
            f"\n{_void_remedy(names)}" if void else "",
        )
    if differing:
        log.warning(
            "The masks of %s differ from the labels:\n%s\n%s",
            images.title,
            listing(differing, most=MOST_CLASSES),
            _numbers_remedy(names),
        )


def _differing(names: Sequence[str], shown: Mapping[str, set[int]], labels: Labels) -> Iterator[str]:
    """Yield a line for each class that masks do not show, or show in images that do not have it as a label."""
    for number, name in list(enumerate(names))[1:]:
        having = sum(number in labels[image] for image in shown)
        if having and not any(number in classes for classes in shown.values()):
            yield f"{name}: a label of {having} images with a mask, and in no mask"
        unlabelled = sum(number in classes and number not in labels[image] for image, classes in shown.items())
        if unlabelled:
            yield f"{name}: in {unlabelled} masks of images without this label"


def _void_remedy(names: Sequence[str]) -> str:
    void = f"{VOID} is void: such pixels are not scored."
    if len(names) == 2:
        return f"{void} If {VOID} is the class {names[1]}, set data.mask_values=binary."
    return f"{void} {_numbers_remedy(names)}"


def _numbers_remedy(names: Sequence[str]) -> str:
    numbers = ", ".join(f"{number} {name}" for number, name in enumerate(names[: MOST_CLASSES + 1]))
    rest = ", ..." if len(names) > MOST_CLASSES + 1 else ""
    return f"The class numbers are {numbers}{rest}. Correct the masks, the labels, or their order with data.classes."


def _names(numbers: Sequence[int] | set[int], names: Sequence[str]) -> str:
    return ", ".join("255 (void)" if number == VOID else names[number] for number in sorted(numbers)) or "nothing"
