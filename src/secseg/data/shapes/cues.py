"""Simulated localization cues: what a classifier would find of a drawn object, with about the official coverage."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import distance_transform_edt

from secseg.data.cues.cue_files import Cues, resample
from secseg.data.shapes.scene import Scene
from secseg.data.shapes.textures import noise

GRID = (41, 41)
NONE = 255
# Shares, set so that coverage and precision come close to those measured on the official cue file: a blob of about
# a third of each object around its telling part, a tenth of the picture as background.
OBJECT_SHARE = (0.32, 0.6)
BACKGROUND_SHARE = 0.101
STRAY = 0.1
"""Probability that an object's blob lies off its telling part, somewhere near the object."""


def simulate_cues(scene: Scene, rng: np.random.Generator) -> Cues:
    """Return simulated cues of ``scene`` on the 41 x 41 grid: no location with two classes, every class with a cue.

    Each object gets a ragged blob around its telling part that spills over its edge in places; the background gets the
    locations that are farthest from all objects, give or take. Objects beat the background.
    """
    owner = resample(scene.owner, GRID)
    height, width = scene.owner.shape
    rows, columns = np.meshgrid(np.linspace(0, height - 1, GRID[0]), np.linspace(0, width - 1, GRID[1]), indexing="ij")
    cues = np.full(GRID, NONE, np.uint8)

    clearance = distance_transform_edt(owner == 0) / 12 + 5.5 * noise(GRID, 4, rng)
    certain = np.argsort(clearance, axis=None)[-round(BACKGROUND_SHARE * owner.size) :]
    cues.flat[certain] = 0
    for number, (class_number, (x, y)) in enumerate(zip(scene.classes, scene.centres, strict=True), 1):
        visible = owner == number
        size = max(int(visible.sum()), 1)
        if rng.random() < STRAY:
            x, y = np.add((x, y), rng.normal(0, 0.18 * max(height, width), 2))
        distance = np.hypot(rows - y, columns - x) / (size / owner.size * height * width) ** 0.5
        ragged = distance + 0.5 * noise(GRID, 7, rng) + np.where(visible, 0.0, 0.12)
        take = max(1, round(rng.uniform(*OBJECT_SHARE) * size))
        blob = np.argsort(ragged, axis=None)[:take]
        cues.flat[blob] = class_number
    return Cues(tuple(sorted(set(scene.classes))), _with_every_class(cues, owner, scene))


def _with_every_class(cues: np.ndarray, owner: np.ndarray, scene: Scene) -> np.ndarray:
    """Give a class whose blob others have painted over one location of its own, at its object if that shows."""
    for number, class_number in enumerate(scene.classes, 1):
        if not (cues == class_number).any():
            places = np.flatnonzero(owner == number)
            free = np.flatnonzero(cues == NONE)
            cues.flat[places[len(places) // 2] if len(places) else free[0]] = class_number
    return cues
