"""Draw COCO's masks from its annotations, and find out which numbers of the classes a folder of masks has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from secseg.data.classes import VOID
from secseg.data.coco import CATEGORIES, COCO_CLASSES, UNUSED
from secseg.data.mask_values import MaskValues
from secseg.data.masks import read_mask
from secseg.data.splits import name_rank
from secseg.utils.checks import is_number
from secseg.utils.errors import UserError, require_package, some
from secseg.utils.parallel import results_of

RULES = ("last", "smallest")
"""Which annotation a pixel of several belongs to.

- ``last``: to the last one in the file; crowds are left out. As code that loops over ``annToMask``.
- ``smallest``: to the one with the smallest ``area``, the first of equal ones; crowds count. As coco2voc.
"""
NUMBERINGS: Mapping[str, MaskValues] = {"contiguous": "numbers", "raw": (0, *CATEGORIES)}
"""How the numbers in masks become classes: 0 to 80 without gaps; or COCO's numbers of the categories, to 90, as 81
classes or as 91, of which 10 are never used."""
SAMPLE = 200
"""Number of masks that show the numbering."""
LEAST_FIT = 0.5
"""Share of the masks whose classes must all be labels of their images. Crowds, which are no labels, may be in masks."""
_TABLE = np.zeros(92, np.uint8)
_TABLE[list(CATEGORIES)] = np.arange(1, len(COCO_CLASSES))


def draw_mask(annotations: Sequence[Mapping[str, Any]], size: tuple[int, int], rule: str) -> np.ndarray:
    """Draw the classes of an image: (H, W) uint8, class numbers 0 to 80.

    Args:
        annotations: entries of ``annotations`` in the file, in its order: polygons, or run lengths.
        size: (H, W) of the image.
        rule: one of ``RULES``.

    Raises:
        UserError: if a shape is damaged, or pycocotools is missing.
    """
    chosen = [one for one in annotations if not one["iscrowd"]] if rule == "last" else list(annotations)
    if rule == "smallest":
        chosen = sorted(chosen, key=lambda one: one["area"])[::-1]
    mask = np.zeros(size, np.uint8)
    for one in chosen:
        try:
            mask[_shape(one["segmentation"], size)] = _TABLE[one["category_id"]]
        except (ValueError, TypeError, KeyError, IndexError) as error:
            number = one.get("id")
            raise UserError(f"The shape of annotation {number} is damaged: {error}. Fetch the file again.") from error
    return mask


def _shape(segmentation: Any, size: tuple[int, int]) -> np.ndarray:
    """Return the pixels (H, W) bool of polygons or run lengths."""
    from pycocotools import mask as shapes

    if isinstance(segmentation, list):
        if not segmentation or not all(map(_is_polygon, segmentation)):
            raise ValueError("a polygon is not a list of at least two points")
        runs = shapes.merge(shapes.frPyObjects(segmentation, *size))
    else:
        counts = segmentation["counts"]
        if tuple(segmentation["size"]) != size or not isinstance(counts, list) or sum(counts) != size[0] * size[1]:
            raise ValueError(f"its run lengths are not those of an image of {size[1]} x {size[0]} pixels")
        runs = shapes.frPyObjects(segmentation, *size)
    return shapes.decode(runs).astype(bool)


def _is_polygon(points: Any) -> bool:
    return isinstance(points, list) and len(points) >= 4 and len(points) % 2 == 0 and all(map(is_number, points))


def require_pycocotools() -> None:
    """Raise a UserError if pycocotools is missing."""
    require_package("Drawing masks from COCO's annotations", "pycocotools", "'secseg[coco]'")


def find_numbering(masks: Mapping[str, Path], labels: Mapping[str, Sequence[int]] | None) -> tuple[str, str]:
    """Return the key in ``NUMBERINGS`` of a folder of masks, and the reason in words.

    A value above 80 is only in COCO's own numbers, and ``UNUSED`` values only in 0 to 80. Where no mask has such a
    value, the labels decide.

    Args:
        masks: mask of each image, all of one folder, of which a sample is read.
        labels: classes of each image; None if they are not known.

    Raises:
        UserError: if values are of neither numbering, if nothing decides, or if the masks do not fit the labels.
    """
    chosen = sorted(masks, key=name_rank)[:SAMPLE]
    shown = dict(results_of(lambda name: _values(masks[name]), chosen))
    every = set().union(*shown.values())
    place = masks[chosen[0]].parent
    raw, gaps = sorted(value for value in every if value > 80), sorted(every & set(UNUSED[:-1]))
    if raw and (raw[-1] > 90 or gaps):
        values = " and ".join(some(found[::-1], 5) for found in (raw, gaps) if found)
        raise UserError(
            f"The masks in {place} hold the values {values}. They are neither classes 0 to 80 nor COCO's own "
            "numbers to 90. Name other masks with data.mask_folder=."
        )
    known = {name: labels[name] for name in chosen if labels is not None and name in labels}
    fits = {numbering: _fit(shown, known, numbering) for numbering in NUMBERINGS}
    if raw or gaps:
        found = "raw" if raw else "contiguous"
        other = "classes 0 to 80" if raw else "COCO's own numbers"
        reason = f"they hold {raw[-1] if raw else gaps[0]}, which is not among {other}"
    elif known and fits["raw"] != fits["contiguous"]:
        found, reason = max(fits, key=lambda one: fits[one]), "so they fit the image-level labels better"
    elif len(chosen) == len(masks) and max(every, default=0) < UNUSED[0]:
        found, reason = "contiguous", "no value is above 11, and up to 11 both numberings are equal"
    else:
        raise UserError(
            f"The masks in {place} may hold classes 0 to 80, or COCO's own numbers to 90: no value of {len(chosen)} "
            "masks decides. Set data.numbering=contiguous or data.numbering=raw."
        )
    if known and fits[found] < LEAST_FIT:
        raise UserError(
            f"The masks in {place} seem to be {found} ({reason}), but only {100 * fits[found]:.0f} % of {len(known)} "
            "masks show no other classes than the labels of their image. Name other masks or labels, or set "
            "data.numbering=contiguous or data.numbering=raw, which skips this check."
        )
    return found, reason


def _values(path: Path) -> set[int]:
    numbers = read_mask(path, 256, values="numbers")
    return set(np.flatnonzero(np.bincount(numbers.reshape(-1), minlength=256)).tolist()) - {0, VOID}


def _fit(values: Mapping[str, set[int]], labels: Mapping[str, Sequence[int]], numbering: str) -> float:
    """Return the share of the labelled images whose mask shows only classes of their labels."""
    table = dict(zip(CATEGORIES, range(1, len(COCO_CLASSES)), strict=True))
    shown = {name: {table.get(value, -1) if numbering == "raw" else value for value in values[name]} for name in labels}
    return sum(shown[name] <= set(labels[name]) for name in labels) / max(len(labels), 1)
