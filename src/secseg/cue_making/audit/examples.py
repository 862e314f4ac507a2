"""The images that show best how good and how bad cues are."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from secseg.cue_making.audit.measure import CueCounts
from secseg.data.cues import CueStore
from secseg.data.images import read_image, read_mask
from secseg.data.splits import ImageSet
from secseg.drawing.overlays import GalleryItem
from secseg.utils.console import percent
from secseg.utils.parallel import in_parallel
from secseg.utils.resizing import reduce_image, resize_mask

log = logging.getLogger(__name__)

SIDE = 240
"""Longer side of the images on the page, in pixels."""
FEWEST = 10
"""Fewest cue cells of an image whose precision is shown."""


class Section(NamedTuple):
    """Some images that have something in common: the row of each in the counts, and its caption."""

    title: str
    images: list[tuple[int, str]]


def choose(counts: CueCounts, most: int = 6, most_by_class: int = 3, most_classes: int = 30) -> list[Section]:
    """Choose images to show: of all, and of each class.

    Args:
        counts: the counted cues.
        most: images per section.
        most_by_class: images per section of a class.
        most_classes: classes that have sections: those with cues in the most images.

    Returns:
        Images with labelled classes without a cue; the least and the most covered; with masks those of the lowest and
        highest precision. By class, with masks the lowest and highest precision of its cues, without masks its fewest
        and most cues. Sections without images are left out.
    """
    missing = counts.without_cue.sum(axis=1)
    rows = np.flatnonzero(missing)
    without = _lowest(rows, -missing[rows], most, lambda row, _: f"without a cue: {', '.join(_missing(counts, row))}")
    sections = [
        Section("Labelled classes without a cue", without),
        *_by_coverage("", np.arange(len(counts.names)), counts.cued.sum(axis=1) / counts.cells, most),
        *_by_precision("", counts.known.sum(axis=1), counts.right.sum(axis=1), most),
    ]
    with_cues = (counts.cued > 0).sum(axis=0)
    for number in sorted(np.argsort(-with_cues, kind="stable")[:most_classes].tolist()):
        name, cued = counts.class_names[number], counts.cued[:, number]
        if counts.masked.any():
            sections += _by_precision(name, counts.known[:, number], counts.right[:, number], most_by_class)
        else:
            sections += _by_coverage(name, np.flatnonzero(cued), cued / counts.cells, most_by_class)
    return [section for section in sections if section.images]


def read_examples(
    sections: Sequence[Section], names: Sequence[str], store: CueStore, images: ImageSet, masks: Mapping[str, Path]
) -> dict[int, GalleryItem]:
    """Read the images of some sections with cues and masks, reduced to 240 pixels on the longer side; by row.

    An image that cannot be read is left out, with a warning.
    """
    paths = dict(zip(images.names, images.images, strict=True))

    def read(row: int) -> GalleryItem:
        name = names[row]
        small = reduce_image(read_image(paths[name]), SIDE)
        mask = None
        if name in masks:
            mask = resize_mask(read_mask(masks[name], len(images.class_names)), small.shape[:2])
        return GalleryItem(name, small, store[name].map, None, None, mask)

    items = {}
    for row, item in in_parallel(read, sorted({row for section in sections for row, _ in section.images})):
        if isinstance(item, Exception):
            log.warning("%s is not among the pictures: %s", names[row], item)
        else:
            items[row] = item
    return items


def _by_coverage(name: str, rows: np.ndarray, shares: np.ndarray, most: int) -> list[Section]:
    """The images among ``rows`` with the fewest and the most cues (of a class)."""
    return _extremes(("fewest cues", "most cues"), name, rows, shares[rows], most, f"{name} covered".lstrip())


def _by_precision(name: str, known: np.ndarray, right: np.ndarray, most: int) -> list[Section]:
    """The images with the lowest and the highest precision of their cues (of a class)."""
    rows = np.flatnonzero(known >= FEWEST)
    return _extremes(("lowest precision", "highest precision"), name, rows, right[rows] / known[rows], most, "right")


def _extremes(
    titles: tuple[str, str], name: str, rows: np.ndarray, values: np.ndarray, most: int, what: str
) -> list[Section]:
    """The lowest and the highest values; no image is in both."""
    low_title, high_title = (f"{name}: {title}" if name else title.capitalize() for title in titles)
    count = min(most, (len(rows) + 1) // 2)
    low = _lowest(rows, values, count, lambda _, value: f"{percent(value)} % {what}")
    rest = ~np.isin(rows, [row for row, _ in low])
    high = _lowest(rows[rest], -values[rest], count, lambda _, value: f"{percent(-value)} % {what}")
    return [Section(low_title, low), Section(high_title, high)]


def _lowest(
    rows: np.ndarray, values: np.ndarray, most: int, caption: Callable[[int, float], str]
) -> list[tuple[int, str]]:
    """The rows of the lowest values, with captions."""
    order = np.argsort(values, kind="stable")[:most]
    return [(int(rows[place]), caption(int(rows[place]), float(values[place]))) for place in order]


def _missing(counts: CueCounts, row: int) -> list[str]:
    return [name for name, present in zip(counts.class_names, counts.without_cue[row], strict=True) if present]
