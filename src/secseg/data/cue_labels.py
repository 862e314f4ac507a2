"""The labels of a cue file next to other labels of the same images: where they differ, and cues with other labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from secseg.data.classes import VOID
from secseg.data.cues import CueStore
from secseg.data.labels import Labels
from secseg.utils.errors import UserError, listing, some
from secseg.utils.text import count, part_of

FEWEST_IMAGES = 5
"""Fewest images of a class that alone can show that its number has another meaning."""


@dataclass(frozen=True)
class LabelDifferences:
    """Where the labels of a cue file differ from other labels.

    Attributes:
        class_names: C names, background first.
        counts: images of each class in the labels of the cue file, (C,).
        lacking: (N, C) bool, classes that only the other labels have.
        extra: (N, C) bool, classes that only the labels of the cue file have.
    """

    class_names: tuple[str, ...]
    counts: np.ndarray
    lacking: np.ndarray
    extra: np.ndarray

    def by_class(self, wrong: np.ndarray) -> list[str]:
        """Return ``person (279)`` for each class in ``lacking`` or ``extra``, most images first."""
        counts = wrong.sum(0)
        order = np.argsort(-counts, kind="stable").tolist()
        return [f"{self.class_names[number]} ({counts[number]})" for number in order if counts[number]]


def label_differences(
    cue_labels: np.ndarray, labels: Labels, names: Sequence[str], class_names: Sequence[str]
) -> LabelDifferences:
    """Compare the labels of a cue file, (N, C or more) bool, with other labels of the same images ``names``."""
    wanted, classes = label_matrix(labels, names, len(class_names)), len(class_names)
    given = cue_labels[:, :classes]
    return LabelDifferences(tuple(class_names), given.sum(0), wanted & ~given, given & ~wanted)


def label_matrix(labels: Labels, names: Sequence[str], classes: int) -> np.ndarray:
    """Return whether each class is among the labels of each image: (len(names), ``classes``) bool."""
    found = np.zeros((len(names), classes), dtype=bool)
    for row, name in enumerate(names):
        found[row, list(labels[name])] = True
    return found


def with_labels(
    store: CueStore, labels: Labels, names: Sequence[str], class_names: Sequence[str], source: str
) -> tuple[CueStore, list[str]]:
    """Return a cue file with other labels of the images ``names``, and a line for each kind of difference.

    Cues of classes that the labels do not have are left out: seed would raise a class that expand lowers. Classes that
    only the labels have get no cues.

    Args:
        store: the cues; all of ``names`` are in it.
        labels: foreground classes of each image.
        names: image ids.
        class_names: names of the classes, background first.
        source: where the labels come from, for the lines.

    Raises:
        UserError: if class numbers have another meaning in the cue file than in the labels.
    """
    found = label_differences(store.labelled(names), labels, names, class_names)
    _check_meaning(store, found, source)
    if not found.lacking.any() and not found.extra.any():
        return store, []
    rows = store.rows(names)
    width = max(store.labels.shape[1], max(map(len, labels.values())))
    padded = np.full((len(store), width), VOID, dtype=np.uint8)
    padded[:, : store.labels.shape[1]] = store.labels
    for row, name in zip(rows.tolist(), names, strict=True):
        padded[row] = VOID
        padded[row, : len(labels[name])] = labels[name]
    maps = store.maps
    if found.extra.any():
        maps = np.array(maps)
        for at in np.flatnonzero(found.extra.any(1)).tolist():
            own = maps[rows[at]]
            own[np.isin(own, np.flatnonzero(found.extra[at]))] = VOID
    return CueStore(store.names, maps, padded, store.provenance), list(_lines(found, source))


def _lines(found: LabelDifferences, source: str) -> list[str]:
    lines = []
    if lacking := int(found.lacking.any(1).sum()):
        lines.append(
            f"{part_of(lacking, len(found.lacking), 'image', 'has', 'have')} classes in {source} that the labels of "
            f"the cue file lack: {some(found.by_class(found.lacking), 30)}. Expand uses {source}. These classes have "
            "no cues there."
        )
    if extra := int(found.extra.any(1).sum()):
        lines.append(
            f"{part_of(extra, len(found.extra), 'image', 'has', 'have')} classes in the labels of the cue file that "
            f"{source} lacks: {some(found.by_class(found.extra), 30)}. Their cues are left out there."
        )
    return lines


def _check_meaning(store: CueStore, found: LabelDifferences, source: str) -> None:
    """Refuse a cue file whose class numbers have another meaning: by the class names that it states, or because the
    labels lack most of its classes, or one of its classes in most images."""
    fix = "Give the classes in the same order as when the cues were made, or make the cues again."
    stated = store.provenance.get("class_names")
    if isinstance(stated, list):
        moved = [
            f"{number}: {then} in the cues, {now} in the data"
            for number, (then, now) in enumerate(zip(stated, found.class_names, strict=False))
            if then != now
        ]
        if moved:
            raise UserError(
                f"{count(len(moved), 'class number has', 'class numbers have')} another meaning in the cue "
                f"file:\n{listing(moved)}\n{fix}"
            )
    extra = found.extra.sum(0)
    wrong = [
        f"{found.class_names[number]}: {extra[number]} of {count} images"
        for number, count in enumerate(found.counts.tolist())
        if 2 * extra[number] >= count >= FEWEST_IMAGES
    ]
    if wrong or (extra.any() and 2 * extra.sum() >= found.counts.sum()):
        lines = wrong or [f"all classes: {extra.sum()} of {found.counts.sum()} labels"]
        raise UserError(
            f"{source} lacks most of what the labels of the cue file have:\n{listing(lines)}\n"
            f"The cues were made for other labels, or classes have changed their numbers. {fix}"
        )
