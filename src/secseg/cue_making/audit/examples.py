"""Which images show best how good and how bad cues are, and their pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from secseg.cue_making.audit.counts import CueCounts
from secseg.data.cues.cue_files import CueStore
from secseg.data.images import read_image, read_mask
from secseg.data.splits import ImageSet
from secseg.drawing.overlays import GalleryItem
from secseg.utils.console import percent
from secseg.utils.resizing import reduce_photo, resize_mask

SIDE = 240
"""Longer side of the photographs on the page, in pixels."""
FEWEST = 10
"""Fewest cue locations of which a precision is worth a picture."""


@dataclass(frozen=True)
class Section:
    """Some images under one title.

    Attributes:
        title: what they have in common.
        rows: their rows in the counts.
        captions: what is said of each.
    """

    title: str
    rows: tuple[int, ...]
    captions: tuple[str, ...]


def choose(counts: CueCounts, most: int = 6, most_by_class: int = 3, most_classes: int = 30) -> list[Section]:
    """Choose images to show: of all, and of each class.

    Args:
        counts: the cues, counted.
        most: images a section.
        most_by_class: images a section of a class.
        most_classes: classes that have sections; those with cues in the most images.

    Returns:
        Images with labelled classes that have no cue; the least and the most covered; with masks those of the lowest
        and highest precision. By class, with masks the lowest and highest precision of its cues, without masks its
        least and most cues. Sections without images are left out.
    """
    missing = counts.without_cue.sum(axis=1)
    share = counts.cued.sum(axis=1) / counts.locations
    rows = np.flatnonzero(missing)
    sections = [
        _section("Labelled classes without a cue", rows, -missing[rows], most, lambda row, _: _without(counts, row)),
        *_extremes(("Fewest cues", "Most cues"), np.arange(len(share)), share, most, "covered"),
    ]
    known, right = counts.known.sum(axis=1), counts.right.sum(axis=1)
    sections += _by_precision("", counts.masked, known, right, most)
    with_cues = (counts.cued > 0).sum(axis=0)
    for number in sorted(np.argsort(-with_cues, kind="stable")[:most_classes].tolist()):
        name = counts.class_names[number]
        if len(counts.masked):
            known, right = counts.known[:, number], counts.right[:, number]
            sections += _by_precision(f"{name}: ", counts.masked, known, right, most_by_class)
        else:
            rows = np.flatnonzero(counts.cued[:, number])
            titles = (f"{name}: fewest cues", f"{name}: most cues")
            share = counts.cued[rows, number] / counts.locations
            sections += _extremes(titles, rows, share, most_by_class, f"{name} covered")
    return [section for section in sections if section.rows]


def gallery_item(name: str, store: CueStore, images: ImageSet, masks: dict[str, Path]) -> GalleryItem:
    """Read photograph and mask (if there is one) of an image, reduced to 240 pixels on the longer side.

    Raises:
        UserError: if a file cannot be read.
    """
    photo = read_image(images.images[images.names.index(name)])
    small = reduce_photo(photo, SIDE)
    mask = None
    if name in masks:
        mask = resize_mask(read_mask(masks[name], len(images.class_names)), small.shape[:2])
    return GalleryItem(name, small, store[name].map, None, None, mask)


def _by_precision(title: str, masked: np.ndarray, known: np.ndarray, right: np.ndarray, most: int) -> list[Section]:
    enough = known >= FEWEST
    titles = [f"{title}{word} precision" for word in ("lowest", "highest")]
    titles = titles if title else [text.capitalize() for text in titles]
    return _extremes((titles[0], titles[1]), masked[enough], right[enough] / known[enough], most, "right")


def _extremes(titles: tuple[str, str], rows: np.ndarray, values: np.ndarray, most: int, what: str) -> list[Section]:
    """The lowest and the highest values; no image is in both."""
    count = min(most, (len(rows) + 1) // 2)
    low = _section(titles[0], rows, values, count, lambda _, value: f"{percent(value)} % {what}")
    rest = ~np.isin(rows, low.rows)
    high = _section(titles[1], rows[rest], -values[rest], count, lambda _, value: f"{percent(-value)} % {what}")
    return [low, high]


def _section(
    title: str, rows: np.ndarray, values: np.ndarray, most: int, caption: Callable[[int, float], str]
) -> Section:
    """The rows of the lowest values."""
    order = np.argsort(values, kind="stable")[:most]
    chosen = [(int(rows[place]), float(values[place])) for place in order]
    return Section(title, tuple(row for row, _ in chosen), tuple(caption(*pair) for pair in chosen))


def _without(counts: CueCounts, row: int) -> str:
    names = [name for name, there in zip(counts.class_names, counts.without_cue[row], strict=True) if there]
    return "without a cue: " + ", ".join(names)
