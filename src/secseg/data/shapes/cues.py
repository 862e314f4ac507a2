"""SIMULATED localization cues: what a classifier's localization might give, made from the truth of a drawn scene.

No network is asked. The cues copy what the official ones are like: they cover a discriminative part of each object and
a part of the background, are mostly but not always right, and leave three quarters of the picture open.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from secseg.data.shapes.scene import VOID, Scene
from secseg.data.shapes.textures import noise

GRID = (41, 41)
BACKGROUND_SHARE = 0.1
SHARES = (0.34, 0.56)
"""How much of an object's area its cue covers, before conflicts."""
SHIFTED = 0.05
"""How often the cue of an object has slipped off its telling part."""
CONFUSED = 0.1
"""How often, where there are several objects, a small cue of one lies on another."""


def simulate_cues(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """Return a cue map (41, 41) uint8: class numbers, 0 = background, 255 = no cue.

    Every class of the scene has a cue. Where two objects claim a location, the one with the smaller region wins;
    objects win over the background. The grid's locations are the picture's pixels at aligned corners.
    """
    rows, columns = (np.linspace(0, n - 1, g).round().astype(int) for n, g in zip(scene.owner.shape, GRID, strict=True))
    owner = scene.owner[np.ix_(rows, columns)]
    scale = (np.array(GRID[::-1]) - 1) / (np.array(scene.owner.shape[::-1]) - 1)
    regions = _object_regions(scene, owner, scene.centres * scale, rng)
    cues = np.full(GRID, VOID, np.uint8)
    cues[_background(owner, rng)] = 0
    for number in sorted(range(len(regions)), key=lambda i: -regions[i].sum()):
        cues[regions[number]] = scene.classes[number]
    for number, class_number in enumerate(scene.classes):
        if not (cues == class_number).any():  # two equal regions: the hidden one keeps a location of its own
            cues.flat[np.flatnonzero(regions[number])[0]] = class_number
    return cues


def _object_regions(scene: Scene, owner: np.ndarray, centres: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """Regions (41, 41) bool, one an object: a blob around the telling part that follows the object, but not well."""
    y, x = np.mgrid[: GRID[0], : GRID[1]]
    regions = []
    for number in range(1, len(scene.classes) + 1):
        own = owner == number
        area = max(int(own.sum()), 6)
        centre = centres[number - 1]
        if rng.random() < SHIFTED:
            centre = centre + rng.normal(0, 0.7 * area**0.5, 2)
        distance = np.hypot(x - centre[0], y - centre[1]) / area**0.5
        inside = gaussian_filter(own.astype(np.float32), 0.8)
        heat = 0.2 * inside - distance + 0.35 * noise(GRID, 6, rng, 2)
        regions.append(_highest(heat, int(rng.uniform(*SHARES) * area)))
    if len(regions) > 1 and rng.random() < CONFUSED:
        taker, giver = rng.permutation(len(regions))[:2]
        spot = rng.permutation(np.argwhere(owner == giver + 1))[:1]
        if len(spot):
            regions[taker] |= np.hypot(y - spot[0, 0], x - spot[0, 1]) < 0.12 * np.count_nonzero(owner) ** 0.5
    return regions


def _background(owner: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The least salient tenth of the locations, (41, 41) bool: far from objects in patches, and not always rightly so."""
    saliency = 0.16 * gaussian_filter((owner > 0).astype(np.float32), 2.5) + noise(GRID, 5, rng, 2)
    return _highest(-saliency, int(BACKGROUND_SHARE * owner.size))


def _highest(field: np.ndarray, count: int) -> np.ndarray:
    """Mark the ``count`` highest locations of a field (at least one)."""
    chosen = np.zeros(field.size, bool)
    chosen[np.argsort(field, axis=None, kind="stable")[-max(count, 1) :]] = True
    return chosen.reshape(field.shape)
