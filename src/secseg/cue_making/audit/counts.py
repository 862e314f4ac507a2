"""Cue locations of each image and class, counted, and how many of them lie on their class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from secseg.data.classes import VOID
from secseg.data.cues.cue_files import CueStore
from secseg.utils.errors import UserError, listing


@dataclass(frozen=True)
class CueCounts:
    """Counts by image (N) and class (C, background first); with masks, those of the M images that have one.

    Attributes:
        names: N image ids.
        class_names: C names.
        grid: height and width of the maps.
        cued: (N, C) int64, locations with a cue of the class.
        labelled: (N, C) bool, whether the class is among the image's labels; False for background.
        masked: (M,) int64, rows of the images that have a mask.
        known: (M, C) int64, locations with a cue of the class where the mask is not void.
        right: (M, C) int64, those of them that lie on their class.
        true: (M, C) int64, locations of the class in the mask.
    """

    names: tuple[str, ...]
    class_names: tuple[str, ...]
    grid: tuple[int, int]
    cued: np.ndarray
    labelled: np.ndarray
    masked: np.ndarray
    known: np.ndarray
    right: np.ndarray
    true: np.ndarray

    @property
    def locations(self) -> int:
        """How many locations a map has."""
        return self.grid[0] * self.grid[1]

    @property
    def without_cue(self) -> np.ndarray:
        """(N, C) bool: labelled classes that have no cue."""
        return self.labelled & (self.cued == 0)


def count_cues(
    store: CueStore,
    class_names: Sequence[str],
    masks: Mapping[str, Path] | None = None,
    names: Sequence[str] | None = None,
) -> CueCounts:
    """Count the cues of ``names`` (all images of the store by default).

    Args:
        store: the cues.
        class_names: names of the classes, background first.
        masks: mask files by image id; images that it lacks are counted without. A mask is brought to the cues' grid by
            the nearest pixel of the half-pixel grid (:func:`secseg.utils.resizing.resize_mask`).
        names: image ids.

    Raises:
        UserError: if there are no names; for names that have no cues, cues or labels of classes that do not exist,
            masks that cannot be read: all of them are told.
    """
    names = store.names if names is None else tuple(names)
    if not names:
        raise UserError("There are no images whose cues could be counted: name at least one.")
    classes = len(class_names)
    counts = store.class_counts(names)
    labels = store.labels[store.rows(names)]
    labelled = np.zeros(counts.shape, dtype=bool)
    labelled[np.arange(len(names))[:, None], labels] = True
    labelled[:, VOID] = False
    _check_classes(names, (counts > 0) | labelled, classes)
    cued = counts[:, :classes]
    masked = [row for row, name in enumerate(names) if masks and name in masks]
    known = right = true = np.zeros((0, classes), dtype=np.int64)
    if masks and masked:
        from secseg.cue_making.audit.quality import count_right  # brings torch: most of the time and memory

        known, right, true = count_right(store, {names[row]: masks[names[row]] for row in masked}, classes)
    rows = np.array(masked, dtype=np.intp)
    return CueCounts(names, tuple(class_names), store.grid, cued, labelled[:, :classes], rows, known, right, true)


def _check_classes(names: Sequence[str], present: np.ndarray, classes: int) -> None:
    outside = present[:, classes:VOID]
    if outside.any():
        rows = np.flatnonzero(outside.any(axis=1))
        lines = [
            f"{names[int(row)]}: class {', '.join(map(str, classes + np.flatnonzero(outside[row])))}" for row in rows
        ]
        raise UserError(
            f"{len(rows)} images have cues or labels of a class outside 0..{classes - 1}; "
            f"are they of another data set?\n{listing(lines)}"
        )
