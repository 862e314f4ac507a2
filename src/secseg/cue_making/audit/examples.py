"""The images that show best how good and how bad cues are."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from secseg.cue_making.audit.measure import CueCounts
from secseg.data.cues.cue_files import CueStore
from secseg.data.images import read_image, read_mask
from secseg.data.splits import ImageSet
from secseg.drawing.overlays import GalleryItem
from secseg.utils.console import percent
from secseg.utils.parallel import side_by_side
from secseg.utils.resizing import reduce_photo, resize_mask

log = logging.getLogger(__name__)

SIDE = 240
"""Longer side of the images on the page, in pixels."""
FEWEST = 10
"""Fewest cue cells of an image whose precision is shown."""


@dataclass(frozen=True)
class Section:
    """Some images under one title.

    Attributes:
        title: what they have in common.
        rows: their rows in the counts.
        captions: one for each.
    """

    title: str
    rows: tuple[int, ...]
    captions: tuple[str, ...]


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
    sections = [
        _section("Labelled classes without a cue", rows, -missing[rows], most, lambda row, _: _without(counts, row)),
        *_by_coverage("", counts.cued.sum(axis=1), counts.cells, most, everywhere=True),
        *_by_precision("", counts.known.sum(axis=1), counts.right.sum(axis=1), most),
    ]
    with_cues = (counts.cued > 0).sum(axis=0)
    for number in sorted(np.argsort(-with_cues, kind="stable")[:most_classes].tolist()):
        name = counts.class_names[number]
        if counts.masked.any():
            sections += _by_precision(name, counts.known[:, number], counts.right[:, number], most_by_class)
        else:
            sections += _by_coverage(name, counts.cued[:, number], counts.cells, most_by_class)
    return [section for section in sections if section.rows]


def read_examples(
    sections: Sequence[Section], names: Sequence[str], store: CueStore, images: ImageSet, masks: Mapping[str, Path]
) -> dict[int, GalleryItem]:
    """Read the images of some sections with cues and masks, reduced to 240 pixels on the longer side; by row.

    An image that cannot be read is left out, with a warning.
    """
    paths = dict(zip(images.names, images.images, strict=True))

    def read(row: int) -> GalleryItem:
        name = names[row]
        small = reduce_photo(read_image(paths[name]), SIDE)
        mask = None
        if name in masks:
            mask = resize_mask(read_mask(masks[name], len(images.class_names)), small.shape[:2])
        return GalleryItem(name, small, store[name].map, None, None, mask)

    items = {}
    for row, item in side_by_side(read, sorted({row for section in sections for row in section.rows})):
        if isinstance(item, Exception):
            log.warning("%s is not among the pictures: %s", names[row], item)
        else:
            items[row] = item
    return items


def _by_coverage(name: str, cued: np.ndarray, cells: int, most: int, everywhere: bool = False) -> list[Section]:
    """The images with the fewest and the most cues (of a class), among all or those that have some."""
    rows = np.arange(len(cued)) if everywhere else np.flatnonzero(cued)
    return _extremes(("fewest cues", "most cues"), name, rows, cued[rows] / cells, most, f"{name} covered".lstrip())


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
    low = _section(low_title, rows, values, count, lambda _, value: f"{percent(value)} % {what}")
    rest = ~np.isin(rows, low.rows)
    high = _section(high_title, rows[rest], -values[rest], count, lambda _, value: f"{percent(-value)} % {what}")
    return [low, high]


def _section(
    title: str, rows: np.ndarray, values: np.ndarray, most: int, caption: Callable[[int, float], str]
) -> Section:
    """The rows of the lowest values."""
    order = np.argsort(values, kind="stable")[:most]
    chosen = [(int(rows[place]), float(values[place])) for place in order]
    return Section(title, tuple(row for row, _ in chosen), tuple(caption(*pair) for pair in chosen))


def _without(counts: CueCounts, row: int) -> str:
    names = [name for name, present in zip(counts.class_names, counts.without_cue[row], strict=True) if present]
    return "without a cue: " + ", ".join(names)
