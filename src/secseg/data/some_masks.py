"""The masks that training uses: of all images, or of some, which train on them in place of their cues and labels."""

from __future__ import annotations

import logging
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from secseg.data.splits import ImageSet
from secseg.utils.checks import check_whole
from secseg.utils.errors import UserError
from secseg.utils.text import count

log = logging.getLogger(__name__)

SOME = "some"
"""The value of ``data.masks``."""


def check_mask_limit(limit: Any, masks: str | None) -> list[str]:
    """Return what is wrong with ``data.mask_limit``; nothing if it is legal for ``data.masks``."""
    if limit is not None and masks != SOME:
        return [f"data.mask_limit={limit} limits the masks of data.masks=some, and data.masks={masks}. Leave it out."]
    return [*check_whole("data.mask_limit", limit, 0, null=True)]


def mask_folder(masks: str | None, uses_cues: bool, uses_masks: bool) -> Path | None:
    """Return the folder that ``data.masks`` names; None for the masks of the data set, or for none.

    Raises:
        UserError: if ``data.masks`` does not fit the loss, by what its terms need.
    """
    if uses_masks and masks is None:
        raise UserError(
            "The loss trains on masks, but data.masks is not set. Use data.masks=dataset for the masks of the data "
            "set, data.masks=<folder> for predicted masks, or data.masks=some for the masks that are there."
        )
    if masks is not None and not uses_masks:
        raise UserError(
            "data.masks is set, but the loss does not use masks: only loss=supervised does. Leave data.masks out, or "
            "use data.masks=some, which trains on the masks that are there, and with the loss on the other images."
        )
    if masks == SOME and not uses_cues:
        raise UserError(
            "data.masks=some trains on cues and labels where there is no mask, but the loss has neither seed nor "
            "expand. Use loss=sec. loss=supervised takes data.masks=dataset, or a folder of masks."
        )
    return None if masks in (None, SOME, "dataset") else Path(str(masks)).expanduser()


def choose_masks(
    images: ImageSet, labels: np.ndarray, held_out: Collection[str], limit: int | None, seed: int
) -> np.ndarray:
    """Choose the training images that train on their mask.

    The next mask is always one of the class that the fewest chosen images have by their labels, and of several such
    classes, of the most frequent one. Images without any class count as a class. A smaller limit chooses a part of the
    masks of a larger limit.

    Args:
        images: the training images, with masks, some of which may be missing.
        labels: whether each class is among the labels of each image: (N, C) bool, column 0 is not read.
        held_out: names of the validation images. Their masks are never chosen, also if they are training images.
        limit: most masks to choose; None for all.
        seed: of the choice.

    Returns:
        (N,) bool.

    Raises:
        UserError: if there is no mask to choose, and the limit is not 0.
    """
    masks = images.masks or ()
    there = np.array([mask.is_file() for mask in masks], dtype=bool) if masks else np.zeros(len(images.names), bool)
    free = there & ~np.isin(images.names, list(held_out))
    if not free.any() and limit != 0:
        one, several = "image with a mask is a validation image", "images with a mask are validation images"
        also = f": {count(int(there.sum()), one, several)}" if there.any() else ""
        raise UserError(
            f"data.masks=some trains on the masks that are there, but no training image of {images.title} has a mask "
            f"that may be used{also}. Masks of validation images are used for scores only. Add masks of training "
            "images, hold out other images (data.val_split=), or leave data.masks out."
        )
    chosen = free
    if limit is not None and limit < free.sum():
        shown = labels.copy()
        shown[:, 0] = ~labels[:, 1:].any(1)
        order = np.random.default_rng([seed, len(free)]).permutation(np.flatnonzero(free))
        chosen = _spread(order, shown, limit)
    _report(images, labels, there, chosen)
    return chosen


def masks_warnings(chosen: np.ndarray) -> list[str]:
    """Return a warning if all images train on their mask; ``chosen`` as ``choose_masks`` returns it."""
    if not chosen.all():
        return []
    return [
        f"All {len(chosen)} training images train on their mask, so seed, expand and constrain have no images. Use "
        "loss=supervised data.masks=dataset, which is the same and needs no cues, or give a data.mask_limit."
    ]


def leave_out(images: ImageSet, trained: Collection[str]) -> ImageSet:
    """Return the images on whose mask no network was trained; ``trained`` are names. Without any, raise a UserError."""
    kept = [at for at, name in enumerate(images.names) if name not in trained]
    if not kept:
        raise UserError(
            f"The network was trained on the mask of each of the {len(images.names)} images of {images.title} that "
            "have one (data.masks=some), so none is left to score. Choose the split of the validation images."
        )
    if len(kept) < len(images.names):
        log.info("%d images are not scored: training used their mask.", len(images.names) - len(kept))
    return images.take(kept)


def _spread(order: np.ndarray, shown: np.ndarray, limit: int) -> np.ndarray:
    """Choose ``limit`` images, whose classes ``shown`` (N, C) has, from the front of ``order``: (N,) bool."""
    chosen = np.zeros(len(shown), dtype=bool)
    for _ in range(limit):
        left = order[~chosen[order]]
        have = shown[chosen].sum(0)
        count = shown[left].sum(0)
        rarest = min(np.flatnonzero(count), key=lambda number: (have[number], -count[number]))
        chosen[left[shown[left, rarest]][0]] = True
    return chosen


def _report(images: ImageSet, labels: np.ndarray, there: np.ndarray, chosen: np.ndarray) -> None:
    counts = labels[chosen].sum(0).tolist()
    classes = [f"{name} {count}" for name, count in zip(images.class_names, counts, strict=False) if count]
    log.info(
        "%d of %d training images train on their mask (%d have one), the others on cues and labels. Of the first: %s.",
        *(chosen.sum(), len(chosen), there.sum(), ", ".join(classes) or "none"),
    )
