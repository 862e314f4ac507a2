"""Check masks before anything is computed: against their images, and against the image-level labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from secseg.data.classes import VOID
from secseg.data.images import image_size
from secseg.data.labels import Labels
from secseg.data.splits import ImageSet
from secseg.utils.errors import UserError, listing
from secseg.utils.parallel import results_and_problems

BY_NUMBER = "data.mask_values=numbers reads their numbers."
MOST_CLASSES = 10
"""Most classes that a message lists."""


def check_masks(images: ImageSet, required: bool = True, advice: str = "", labels: Labels | None = None) -> list[str]:
    """Read the masks of a split, and compare them with the labels.

    Args:
        images: the split, with masks.
        required: whether an image without a mask is an error.
        advice: follows the message about masks that cannot be used.
        labels: classes of each image, which the masks show; None if they are unknown.

    Returns:
        A warning for each thing that the user may not have intended.

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
    by_colour = [path for (_, _, path), result in zip(chosen, found, strict=True) if result and result[1]]
    shown = {name: classes for name, (classes, _) in read.items()}
    return [
        *renumbered_warning(by_colour),
        *_no_background(images.title, list(shown.values())),
        *([] if labels is None else _compare(images, shown, labels)),
    ]


def check_shown_classes(images: ImageSet) -> list[str]:
    """Check that a mask of a split shows a class. The first that does ends the search.

    Returns:
        A warning if that mask was read by colour, or if all masks show background alone.

    Raises:
        UserError: if a mask cannot be read; if no mask shows a class, and some have the value 255.
    """
    seen, with_void = 0, 0
    for path in images.masks or ():
        if path.is_file():
            mask = images.decode_mask(path)
            if ((mask.numbers > 0) & (mask.numbers != VOID)).any():
                return renumbered_warning([path] if mask.renumbered else [])
            seen, with_void = seen + 1, with_void + bool((mask.numbers == VOID).any())
    if with_void:
        raise UserError(
            f"No mask of {images.title} shows a class: {seen} masks were read, and {with_void} of them hold {VOID}. "
            f"{_void_remedy(images.class_names)}"
        )
    alone = f"{seen} masks of {images.title} show background alone: scores say nothing about classes."
    return [alone] if seen else []


def renumbered_warning(paths: Sequence[Path]) -> list[str]:
    """Return a warning for masks that were read by colour, because their palette has other numbers; none without."""
    if not paths:
        return []
    return [
        f"{len(paths)} masks, such as {paths[0]}, have a palette with the colours of the classes at other numbers, and "
        f"are read by colour. {BY_NUMBER}"
    ]


def _no_background(title: str, shown: Sequence[set[int]]) -> Iterator[str]:
    """Yield a warning if void may stand for the background, because no mask shows the background."""
    void = sum(VOID in classes for classes in shown)
    if void and not any(0 in classes for classes in shown):
        yield (
            f"No mask of {title} shows the background (0), and {void} of {len(shown)} hold {VOID}. {VOID} is void: "
            "such pixels are not scored, and the scores miss what is predicted there. If these pixels are background, "
            "save them as 0."
        )


def _compare(images: ImageSet, shown: Mapping[str, set[int]], labels: Labels) -> Iterator[str]:
    """Yield the differences between masks and labels; raise a UserError if no mask shows a class of its labels."""
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
        yield (
            f"{len(other)} of {len(labelled)} masks of labelled images in {images.title} show none of the labelled "
            f"classes:\n{listing(lines)}" + (f"\n{_void_remedy(names)}" if void else "")
        )
    if differing:
        yield (
            f"The masks of {images.title} differ from the labels:\n{listing(differing, most=MOST_CLASSES)}\n"
            f"{_numbers_remedy(names)}"
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
    return (
        f"{void} {_numbers_remedy(names)} If {VOID} is a class, list the value of each with data.mask_values=[0,...]."
    )


def _numbers_remedy(names: Sequence[str]) -> str:
    numbers = ", ".join(f"{number} {name}" for number, name in enumerate(names[: MOST_CLASSES + 1]))
    rest = ", ..." if len(names) > MOST_CLASSES + 1 else ""
    return f"The class numbers are {numbers}{rest}. Correct the masks, the labels, or their order with data.classes."


def _names(numbers: Sequence[int] | set[int], names: Sequence[str]) -> str:
    return ", ".join("255 (void)" if number == VOID else names[number] for number in sorted(numbers)) or "nothing"
