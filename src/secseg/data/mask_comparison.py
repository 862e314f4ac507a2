"""Compare masks with the image-level labels: refuse masks that contradict most labels, report other differences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from secseg.data.classes import VOID
from secseg.data.labels import Labels
from secseg.data.mask_values import MaskValues
from secseg.data.splits import ImageSet
from secseg.utils.errors import UserError, listing
from secseg.utils.text import count

MOST_CLASSES = 10
"""Most classes that a message lists."""
AROUND = 0.98
"""A class surrounds the rest of a mask if it has this share of the border."""
THIN = 0.5
"""A class is a rim in a mask if this share of its pixels lies between two other classes, a few pixels apart."""
REACH = 2
"""Pixels from a pixel to its neighbours, in the test whether it lies between two other classes. Bilinear and bicubic
interpolation write rims of one to four pixels."""
FEWEST = 3
"""Fewest masks, covered by a class that is no label, that are refused. One or two are likely errors of the labels."""
SMOOTHED = (
    "Interpolation and JPEG write rims of other classes: resize masks with the nearest neighbour, and save them as PNG."
)
SWITCH_OFF = "To work without masks, move their folder away: then nothing is scored."


class Content(NamedTuple):
    """What a mask shows: the pixels of each class number, the number that surrounds the rest or None, and the numbers
    that are thin rims between two others."""

    pixels: dict[int, int]
    around: int | None
    rims: frozenset[int]


def content(mask: np.ndarray) -> Content:
    """Return the content of a mask (H, W) uint8."""
    numbers, pixels = np.unique(mask, return_counts=True)
    border = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    number = int(np.bincount(border).argmax())
    inside = len(numbers) > 1 and (border == number).mean() >= AROUND
    found = dict(zip(numbers.tolist(), pixels.tolist(), strict=True))
    return Content(found, number if inside else None, _rims(mask, found))


def compare(images: ImageSet, shown: Mapping[str, Content], labels: Labels) -> Iterator[str]:
    """Yield the differences between the masks of a split and the labels.

    Args:
        images: the split.
        shown: content of the mask of each image that has one.
        labels: foreground classes of each image.

    Raises:
        UserError: if more than half of the masks of labelled images show no class of their labels; if more than half of
            the masks of images without a label are covered by a class.
    """
    names = images.class_names
    labelled = [name for name in shown if labels[name]]
    other = [name for name in labelled if labels[name] and shown[name].pixels.keys().isdisjoint(labels[name])]
    lines = [
        f"{name}: {_names(labels[name], names)}; the mask holds {_names(shown[name].pixels, names)}" for name in other
    ]
    only_void = bool(other) and all(shown[name].pixels.keys() <= {0, VOID} for name in other)
    void = any(VOID in shown[name].pixels for name in other)
    remedy = void_remedy(names) if void and only_void else numbers_remedy(names)
    if 2 * len(other) > len(labelled):
        raise UserError(
            f"{_masks(len(other), len(labelled), images.title)} show no class of their labels:\n{listing(lines)}\n"
            f"{remedy} {SWITCH_OFF}"
        )
    _refuse_covered(images, shown, labels)
    if other:
        also = f"{void_remedy(names)}\n" if void and not only_void else ""
        yield (
            f"{_masks(len(other), len(labelled), images.title)} show no class of their labels:\n{listing(lines)}\n"
            f"{also}{remedy}"
        )
    yield from _surrounded(images, [shown[name] for name in labelled])
    if differing := [*_differing(names, shown, labels)]:
        rims = f"\n{SMOOTHED}" if any(one.rims - {*labels[name]} for name, one in shown.items()) else ""
        yield (
            f"The masks of {images.title} differ from the labels:\n{listing(differing, most=MOST_CLASSES)}{rims}"
            + ("" if other else f"\n{numbers_remedy(names)}")
        )


def void_remedy(names: Sequence[str]) -> str:
    """Return what to do if 255 is a class in masks."""
    void = f"{VOID} is void: such pixels are not scored."
    if len(names) == 2:
        return f"{void} If {VOID} is the class {names[1]}, set data.mask_values=binary."
    return f"{void} {numbers_remedy(names)} If {VOID} is a class, list the value of each with data.mask_values=[0,...]."


def numbers_remedy(names: Sequence[str]) -> str:
    """Return the class numbers, and what to do if masks have others."""
    numbers = ", ".join(f"{number} {name}" for number, name in enumerate(names[: MOST_CLASSES + 1]))
    rest = ", ..." if len(names) > MOST_CLASSES + 1 else ""
    return (
        f"The class numbers are {numbers}{rest}. Correct the masks, the labels, or their order with data.classes. A "
        "class that is new in the labels changes the numbers of the others. Masks may also have the names of other "
        "images."
    )


def _refuse_covered(images: ImageSet, shown: Mapping[str, Content], labels: Labels) -> None:
    """Raise a UserError if masks of images without a label are mostly covered by a class."""
    bare = [name for name in shown if not labels[name]]
    covered = [name for name in bare if _covering(shown[name]) not in (0, VOID, None)]
    if len(covered) >= FEWEST and 2 * len(covered) > len(bare):
        number = _covering(shown[covered[0]]) or 0
        lines = [f"{name}: {images.class_names[_covering(shown[name]) or 0]}" for name in covered]
        raise UserError(
            f"{len(covered)} of {len(bare)} images without a label in {images.title} have a mask with a class on more "
            f"than half of the pixels:\n{listing(lines)}\n"
            f"{_swap_remedy(images.mask_values, number, images.class_names)} Else correct the labels. {SWITCH_OFF}"
        )


def _surrounded(images: ImageSet, shown: Sequence[Content]) -> Iterator[str]:
    """Yield a warning if most masks have the background inside of one class, as if both were exchanged."""
    for number, name in list(enumerate(images.class_names))[1:]:
        found = sum(one.around == number and 0 in one.pixels for one in shown)
        if 2 * found > len(shown):
            yield (
                f"{_masks(found, len(shown), images.title)} show {name} at the border, and the background inside. "
                f"{_swap_remedy(images.mask_values, number, images.class_names)}"
            )


def _swap_remedy(values: MaskValues, number: int, names: Sequence[str]) -> str:
    what = f"If background and {names[number]} are exchanged in the masks, "
    order = [number if at == 0 else 0 if at == number else at for at in range(len(names))]
    if values == "binary":
        return f"{what}set data.mask_values=[255,0]."
    if isinstance(values, str):
        return f"{what}set data.mask_values=[{','.join(map(str, order))}]."
    return f"{what}exchange their values in data.mask_values."


def _differing(names: Sequence[str], shown: Mapping[str, Content], labels: Labels) -> Iterator[str]:
    """Yield a line for each class that masks do not show, or show in images that do not have it as a label."""
    for number, name in list(enumerate(names))[1:]:
        having = sum(number in labels[image] for image in shown)
        if having and not any(number in one.pixels for one in shown.values()):
            yield f"{name}: a label of {count(having, 'image')} with a mask, and in no mask"
        stray = [one for image, one in shown.items() if number in one.pixels and number not in labels[image]]
        if stray:
            rims = sum(number in one.rims for one in stray)
            only = f", in {rims} of them as thin rims between other classes" if rims else ""
            yield f"{name}: in {count(len(stray), 'mask')} of images without this label{only}"


def _rims(mask: np.ndarray, pixels: Mapping[int, int]) -> frozenset[int]:
    """Return the numbers most of whose pixels lie between two others. Of two numbers, none lies between others."""
    if len(pixels) < 3:
        return frozenset()
    if min(mask.shape) <= 2 * REACH:
        return frozenset()
    between = np.zeros(mask.shape, dtype=bool)
    for values, found in ((mask, between), (mask.T, between.T)):
        before, here, after = values[:, : -2 * REACH], values[:, REACH:-REACH], values[:, 2 * REACH :]
        found[:, REACH:-REACH] |= (before != here) & (here != after) & (before != after)
    counts = np.bincount(mask[between], minlength=256)
    return frozenset(number for number, total in pixels.items() if counts[number] >= THIN * total)


def _covering(shown: Content) -> int | None:
    """Return the number on more than half of the pixels; None without one."""
    number = max(shown.pixels, key=shown.pixels.__getitem__)
    return number if 2 * shown.pixels[number] > sum(shown.pixels.values()) else None


def _masks(some: int, labelled: int, title: str) -> str:
    return f"{some} of {count(labelled, 'mask')} of labelled images in {title}"


def _names(numbers: Sequence[int] | Mapping[int, int], names: Sequence[str]) -> str:
    return ", ".join("255 (void)" if number == VOID else names[number] for number in sorted(numbers)) or "nothing"
