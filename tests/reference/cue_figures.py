"""Figures of localization cues from their definitions: one image and one grid cell at a time."""

from __future__ import annotations

import statistics
from typing import Any

import numpy as np

NONE = 255


def audit(maps: list[np.ndarray], labels: list[tuple[int, ...]], classes: int) -> dict[str, Any]:
    """What cues cover and miss; by class (labelled images, images with cues, mean coverage in those)."""
    background, foreground = [], []
    without = {"background": 0, "foreground": 0}
    labelled_without = 0
    rows: list[dict[str, list[float]]] = [{"labelled": [], "coverage": []} for _ in range(classes)]
    for cue_map, own in zip(maps, labels, strict=True):
        values = cue_map.ravel().tolist()
        background.append(values.count(0))
        foreground.append(sum(value not in (0, NONE) for value in values))
        without["background"] += values.count(0) == 0
        without["foreground"] += foreground[-1] == 0
        for number in range(classes):
            if number in own:
                rows[number]["labelled"].append(1)
                labelled_without += number not in values
            if number in values:
                rows[number]["coverage"].append(values.count(number) / len(values))
    size = maps[0].size
    return {
        "without": without,
        "labels": (sum(map(len, labels)), labelled_without),
        "background": (max(background), statistics.median(background), min(background)),
        "coverage": (statistics.mean(background) / size, statistics.mean(foreground) / size),
        "classes": [
            (len(row["labelled"]), len(row["coverage"]), statistics.mean(row["coverage"]) if row["coverage"] else None)
            for row in rows
        ],
    }


def quality(maps: list[np.ndarray], truths: list[np.ndarray], number: int) -> tuple[float | None, float | None]:
    """Precision and recall of one class over all images, with truths on the maps' grid. Void cells are left out."""
    right = cued = true = 0
    for cue_map, truth in zip(maps, truths, strict=True):
        for place in np.ndindex(cue_map.shape):
            if truth[place] == NONE:
                continue
            cued += int(cue_map[place] == number)
            true += int(truth[place] == number)
            right += int(cue_map[place] == number == truth[place])
    return right / cued if cued else None, right / true if true else None


def nearest_half_pixel(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return, for each cell of a grid, the pixel of ``mask`` that contains the centre of the cell."""
    height, width = size
    reduced = np.empty(size, mask.dtype)
    for row, column in np.ndindex(size):
        y = int((row + 0.5) * mask.shape[0] / height)
        x = int((column + 0.5) * mask.shape[1] / width)
        reduced[row, column] = mask[y, x]
    return reduced


def overlap(first: list[np.ndarray], second: list[np.ndarray], number: int) -> float | None:
    """Return the cells with the class in both maps, divided by those with the class in either, over all images."""
    both = either = 0
    for one, other in zip(first, second, strict=True):
        for place in np.ndindex(one.shape):
            both += int(one[place] == number and other[place] == number)
            either += int(one[place] == number or other[place] == number)
    return both / either if either else None


def agreement(first: np.ndarray, second: np.ndarray) -> tuple[int, int, int]:
    """Count, for one image, the cells where both have a cue, those with the same class, and those that differ."""
    both = same = different = 0
    for place in np.ndindex(first.shape):
        one, other = int(first[place]), int(second[place])
        both += one != NONE and other != NONE
        same += one == other != NONE
        different += one != other
    return both, same, different
