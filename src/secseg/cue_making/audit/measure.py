"""The figures of a cue file: which images and classes have cues and, if there are masks, how many cues are right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from secseg.data.classes import VOID
from secseg.data.cues import CueStore
from secseg.data.cues.store import class_lines
from secseg.data.masks import read_mask
from secseg.utils.errors import UserError, listing, nearest, problem_listing
from secseg.utils.parallel import results_and_problems
from secseg.utils.resizing import resize_mask
from secseg.utils.text import count


@dataclass(frozen=True)
class CueCounts:
    """Counts of grid cells by image (N) and class (C, background first).

    Attributes:
        names: N image ids.
        class_names: C names.
        grid: height and width of the maps.
        overlaps: cells that had two classes before one was chosen, in the whole file; None if unknown.
        cued: (N, C) int64, cells with a cue of the class.
        labelled: (N, C) bool, whether the class is among the image's labels; False for background.
        places: (C, h, w) int64, images with labels whose cell has a cue of the class.
        masked: (N,) bool, whether the image has a mask. The following counts are 0 if it does not.
        known: (N, C) int64, cells with a cue of the class where the mask is not void.
        right: (N, C) int64, those of them whose class in the mask is the same.
        true: (N, C) int64, cells of the class in the mask.
    """

    names: tuple[str, ...]
    class_names: tuple[str, ...]
    grid: tuple[int, int]
    overlaps: int | None
    cued: np.ndarray
    labelled: np.ndarray
    places: np.ndarray
    masked: np.ndarray
    known: np.ndarray
    right: np.ndarray
    true: np.ndarray

    @property
    def cells(self) -> int:
        """Grid cells of a map."""
        return self.grid[0] * self.grid[1]

    @property
    def without_cue(self) -> np.ndarray:
        """(N, C) bool: labelled classes that do not have a cue."""
        return self.labelled & (self.cued == 0)


def count_cues(
    store: CueStore,
    class_names: Sequence[str],
    masks: Mapping[str, Path] | None = None,
    names: Sequence[str] | None = None,
    read: Callable[[Path], np.ndarray] | None = None,
) -> CueCounts:
    """Count the cues of ``names`` (all images of the store by default).

    Args:
        store: the cues.
        class_names: names of the classes, background first.
        masks: mask files by image id, of all images or of some. ``resize_mask`` brings them to the cues' grid.
        names: image ids, at least one.
        read: reads a mask; None for ``read_mask`` of these classes.

    Raises:
        UserError: with all names that do not have cues, all images with classes that do not exist, or all masks that
            cannot be read.
    """
    names = store.names if names is None else tuple(names)
    classes = len(class_names)
    cued, labelled = store.class_counts(names), store.labelled(names)
    outside = (cued > 0) | labelled
    outside[:, :classes] = outside[:, VOID] = False
    if lines := class_lines(names, outside):
        raise UserError(
            f"{count(len(lines), 'image has', 'images have')} cues or labels of a class outside 0..{classes - 1}; "
            f"are the cues of another data set?\n{listing(lines)}"
        )
    masks = masks or {}
    masked = np.array([name in masks for name in names])
    quality = np.zeros((3, len(names), classes), dtype=np.int64)
    read = read or partial(read_mask, num_classes=classes)
    quality[:, masked] = _count_right(store, {name: masks[name] for name in names if name in masks}, classes, read)
    by_class = (
        cued[:, :classes],
        labelled[:, :classes],
        _count_places(store, names, np.asarray(labelled.any(1)), classes),
    )
    return CueCounts(
        names, tuple(class_names), store.grid, store.provenance.get("overlaps"), *by_class, masked, *quality
    )


def summarize(counts: CueCounts, scored: Sequence[str] | None = None) -> dict[str, Any]:
    """Return the figures of counted cues as plain values. Shares are in [0, 1]; None stands for no value.

    Args:
        counts: the counted cues.
        scored: names of the classes that the means of precision and recall run over; all by default.

    - ``images``, ``grid`` (height and width), ``overlaps``;
    - ``images_without``: images without a cue of the ``background``, and of any ``foreground`` class;
    - ``labels``: labelled classes over all images (``total``), and those ``without_cue`` in their image;
    - ``background_locations`` per image: ``most``, ``median``, ``least``;
    - ``coverage``: share of the cells with a cue of ``background``, of a ``foreground`` class, without a cue
      (``unlabelled``), mean over images;
    - ``images_by_classes``: images by the number of their labels;
    - ``classes``: by name, ``labelled`` images (None for background), images ``with_cues``, ``coverage`` (share of the
      cells, mean over the images with cues of the class);
    - ``masks``: None without masks, else ``images`` that have one, ``scored``, and means over the scored classes that
      have a value: ``precision`` and ``recall``, and without the background ``foreground_precision`` and
      ``foreground_recall``.

    With masks, each class also has ``precision``, the share of its cue cells that lie on the class, and ``recall``, the
    share of its cells in the masks that have a cue of the class. Cells are pooled over all images that have a mask,
    whatever their labels. Cells that are void in the mask count in neither. Compare both together: a file with fewer
    cues is easily more precise.

    Raises:
        UserError: for an unknown scored class.
    """
    scored = list(counts.class_names if scored is None else scored)
    for name in scored:
        if name not in counts.class_names:
            raise UserError(f"The class {name!r} to score does not exist.{nearest(name, counts.class_names)}")
    cued = {"background": counts.cued[:, 0], "foreground": counts.cued[:, 1:].sum(axis=1)}
    coverage = {part: float(cells.mean() / counts.cells) for part, cells in cued.items()}
    most, least = int(cued["background"].max()), int(cued["background"].min())
    by_classes = Counter(counts.labelled.sum(axis=1).tolist())
    classes = _class_figures(counts)
    return {
        "images": len(counts.names),
        "grid": list(counts.grid),
        "overlaps": counts.overlaps,
        "images_without": {part: int((cells == 0).sum()) for part, cells in cued.items()},
        "labels": {"total": int(counts.labelled.sum()), "without_cue": int(counts.without_cue.sum())},
        "background_locations": {"most": most, "median": float(np.median(cued["background"])), "least": least},
        "coverage": {**coverage, "unlabelled": 1 - coverage["background"] - coverage["foreground"]},
        "images_by_classes": {str(number): images for number, images in sorted(by_classes.items())},
        "classes": classes,
        "masks": _means(classes, counts, scored) if counts.masked.any() else None,
    }


def ratio(part: float | np.integer[Any], whole: float | np.integer[Any]) -> float | None:
    """Return ``part / whole``; None if ``whole`` is 0."""
    return float(part / whole) if whole else None


def mean_of_known(values: Iterable[float | None]) -> float | None:
    """Return the mean of the values that are not None; None without any."""
    known = [value for value in values if value is not None]
    return ratio(sum(known), len(known))


def _class_figures(counts: CueCounts) -> dict[str, dict[str, Any]]:
    with_cues = (counts.cued > 0).sum(axis=0)
    cued, known, right, true = (part.sum(axis=0) for part in (counts.cued, counts.known, counts.right, counts.true))
    classes: dict[str, dict[str, Any]] = {}
    for number, name in enumerate(counts.class_names):
        classes[name] = {
            "labelled": int(counts.labelled[:, number].sum()) if number else None,
            "with_cues": int(with_cues[number]),
            "coverage": ratio(cued[number], int(with_cues[number]) * counts.cells),
        }
        if counts.masked.any():
            classes[name]["precision"] = ratio(right[number], known[number])
            classes[name]["recall"] = ratio(right[number], true[number])
    return classes


def _means(classes: Mapping[str, Mapping[str, Any]], counts: CueCounts, scored: list[str]) -> dict[str, Any]:
    means: dict[str, Any] = {"images": int(counts.masked.sum()), "scored": scored}
    for prefix, left_out in (("", ()), ("foreground_", counts.class_names[:1])):
        for key in ("precision", "recall"):
            means[prefix + key] = mean_of_known(classes[name][key] for name in scored if name not in left_out)
    return means


def _count_places(store: CueStore, names: Sequence[str], chosen: np.ndarray, classes: int) -> np.ndarray:
    """Return ``places`` of the images ``chosen`` (N,) bool: (``classes``, h, w) int64."""
    places = np.zeros((256, store.maps[0].size), dtype=np.int64)
    cells = np.arange(places.shape[1])
    for row in store.rows(names)[chosen]:
        places[store.maps[row].reshape(-1), cells] += 1  # each cell once
    return places[:classes].reshape(classes, *store.grid)


def _count_right(
    store: CueStore, masks: Mapping[str, Path], classes: int, read: Callable[[Path], np.ndarray]
) -> np.ndarray:
    """Return ``known``, ``right`` and ``true`` of the images in ``masks``: (3, len(masks), ``classes``) int64.

    Raises:
        UserError: with all masks that cannot be read.
    """

    def count_one(name: str) -> np.ndarray:
        cues = store[name].map
        truth = resize_mask(read(masks[name]), cues.shape)
        parts = (cues[truth != VOID], cues[cues == truth], truth.reshape(-1))
        return np.stack([np.bincount(part, minlength=256)[:classes] for part in parts])

    counts, broken = results_and_problems(count_one, masks)
    if broken:
        raise UserError(f"{len(broken)} of {count(len(masks), 'mask')} cannot be used:\n{problem_listing(broken)}")
    return np.array(counts, dtype=np.int64).reshape(-1, 3, classes).swapaxes(0, 1)
