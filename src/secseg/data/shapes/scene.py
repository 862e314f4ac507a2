"""Draw one image with its ground truth: the object at each pixel, and the distinctive part of each object."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter, maximum_filter, minimum_filter

from secseg.data.classes import VOID
from secseg.data.shapes.objects import OBJECTS, Part
from secseg.data.shapes.painting import TEXTURES, Pose, coverage, hsv, noise, paint

LONGEST = 240
AREAS = {1: (0.16, 0.48), 2: (0.11, 0.27), 3: (0.07, 0.17)}
"""Share of the image that an object covers if nothing hides it, by the number of objects."""


@dataclass(frozen=True)
class Scene:
    """An image and its objects.

    Attributes:
        image: (h, w, 3) uint8, RGB.
        object_map: (h, w) uint8, the object at each pixel, numbered from 1 in painting order; 0 = background.
        classes: class number (1..7) of each object.
        centres: (objects, 2) pixel (x, y) of the distinctive part of each object.
        full_areas: pixels of each object if nothing hides it.
    """

    image: np.ndarray
    object_map: np.ndarray
    classes: tuple[int, ...]
    centres: np.ndarray
    full_areas: tuple[int, ...]

    def mask(self) -> np.ndarray:
        """Return class numbers (h, w) uint8. A border of two pixels around each object is 255, as in VOC."""
        truth = np.array([0, *self.classes], np.uint8)[self.object_map]
        truth[maximum_filter(self.object_map, 3) != minimum_filter(self.object_map, 3)] = VOID
        return truth


def draw_scene(rng: np.random.Generator) -> Scene:
    """Draw one image: ground, clutter, one to three objects (each at least half visible), light and grain."""
    short = int(LONGEST * rng.uniform(0.62, 1.0))
    shape = (short, LONGEST) if rng.random() < 0.65 else (LONGEST, short)
    image = paint_ground(shape, rng)
    add_clutter(image, rng)
    count = int(rng.choice([1, 2, 3], p=[0.5, 0.36, 0.14]))
    object_map = np.zeros(shape, np.uint8)
    classes: list[int] = []
    centres: list[np.ndarray] = []
    full_areas: list[int] = []
    for class_number in _choose_classes(count, rng):
        placed = _place(class_number, count, object_map, full_areas, rng)
        if placed is None:
            continue
        parts, pose, shown = placed
        _cast_shadow(image, shown, rng)
        colours = _colours(image[shown].mean(0), rng)
        for part in parts:
            paint(image, part.outline, pose, part.texture, (colours[part.colours[0]], colours[part.colours[1]]), rng)
        classes.append(class_number)
        object_map[shown] = len(classes)
        full_areas.append(int(shown.sum()))
        distinctive = next(part for part in parts if part.distinctive)
        centres.append(pose.to_pixels(distinctive.outline).mean(0))
    return Scene(_expose(image, rng), object_map, tuple(classes), np.array(centres), tuple(full_areas))


def _choose_classes(count: int, rng: np.random.Generator) -> list[int]:
    """Return class numbers, mostly different ones; one object in eight has the class of the object before it."""
    numbers = (1 + rng.permutation(len(OBJECTS))[:count]).tolist()
    for i in range(1, count):
        if rng.random() < 0.125:
            numbers[i] = numbers[i - 1]
    return numbers


def _place(
    class_number: int, count: int, object_map: np.ndarray, full_areas: list[int], rng: np.random.Generator
) -> tuple[list[Part], Pose, np.ndarray] | None:
    """Find a pose that leaves every object at least half visible; None if 12 tries fail.

    The first object is always placed, since it hides no other object.
    """
    build, most_turn = list(OBJECTS.values())[class_number - 1]
    height, width = object_map.shape
    parts = build(rng)
    everything = np.concatenate([part.outline for part in parts])
    unit_area = np.count_nonzero(_silhouette(parts, Pose.of(100, 100, 50, 0, 1, False), (200, 200))) / 50**2
    for _ in range(12):
        area = rng.uniform(*AREAS[count]) * object_map.size
        turn, stretch = rng.uniform(-most_turn, most_turn), rng.uniform(0.88, 1.14)
        pose = Pose.of(0, 0, (area / unit_area) ** 0.5, turn, stretch, bool(rng.random() < 0.5))
        low, high = pose.to_pixels(everything).min(0), pose.to_pixels(everything).max(0)
        slack = 0.12 * (high - low)  # part of an object that may lie outside the image
        room_low, room_high = -low - slack, np.array([width, height]) - high + slack
        middle = (room_low + room_high) / 2
        spread = np.maximum(room_high - room_low, 0) / 2
        pose = Pose(middle + spread * rng.uniform(-1, 1, 2), pose.turn)
        shown = _silhouette(parts, pose, (height, width))
        left = [np.count_nonzero((object_map == i + 1) & ~shown) / whole for i, whole in enumerate(full_areas)]
        if shown.any() and all(share >= 0.55 for share in left):
            return parts, pose, shown
    return None


def _silhouette(parts: list[Part], pose: Pose, shape: tuple[int, int]) -> np.ndarray:
    """Return the pixels (h, w) bool of which the parts cover more than half."""
    shown = np.zeros(shape, bool)
    for part in parts:
        found = coverage(pose.to_pixels(part.outline), shape)
        if found is not None:
            shown[found[0]] |= found[1] > 0.5
    return shown


def _cast_shadow(image: np.ndarray, shown: np.ndarray, rng: np.random.Generator) -> None:
    """Darken the pixels to the lower right of the object, in place."""
    offset = int(rng.integers(3, 8))
    shifted = np.zeros(shown.shape, np.float32)
    shifted[offset:, offset:] = shown[:-offset, :-offset]
    image *= 1 - rng.uniform(0.2, 0.5) * gaussian_filter(shifted, rng.uniform(2, 5))[..., None]


def _colours(behind: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Draw colours of an object: any hue for any class, but a body colour that differs from the colour ``behind``
    it."""
    for _ in range(8):
        hue = rng.random()
        body = hsv(hue, rng.uniform(0.3, 0.85), rng.uniform(0.35, 0.95))
        if np.linalg.norm(body - behind) > 0.3:
            break
    second = hsv(hue + rng.normal(0, 0.1), rng.uniform(0.25, 0.8), rng.uniform(0.25, 0.95))
    return {
        "body": body,
        "second": 0.25 * body + 0.75 * second,
        "accent": hsv(hue + rng.uniform(0.2, 0.8), rng.uniform(0.4, 0.9), rng.uniform(0.4, 0.95)),
        "light": hsv(rng.random(), rng.uniform(0.0, 0.15), rng.uniform(0.85, 1.0)),
        "dark": hsv(rng.random(), rng.uniform(0.1, 0.4), rng.uniform(0.08, 0.25)),
        "stem": hsv(rng.uniform(0.04, 0.4), rng.uniform(0.2, 0.6), rng.uniform(0.35, 0.85)),
    }


def _expose(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Apply light from one side, soft shadows, exposure, a slight blur and grain; return (h, w, 3) uint8."""
    shape = image.shape[:2]
    angle, strength = rng.uniform(0, 2 * np.pi), rng.uniform(0.05, 0.3)
    y, x = np.meshgrid(*(np.linspace(-1, 1, n, dtype=np.float32) for n in shape), indexing="ij")
    light = 1 + np.float32(strength * np.cos(angle)) * x + np.float32(strength * np.sin(angle)) * y
    light *= 1 - np.float32(rng.uniform(0, 0.3)) * noise(shape, 2, rng, 2)
    cast = rng.normal(1, 0.04, 3).astype(np.float32)
    exposed = gaussian_filter(image * light[..., None] * cast, (0.5, 0.5, 0))
    exposed *= np.float32(np.clip(rng.uniform(0.42, 0.58) / exposed.mean(), 0.7, 1.6))
    exposed += np.float32(rng.uniform(0.008, 0.03)) * rng.standard_normal(exposed.shape, dtype=np.float32)
    return (255 * np.clip(exposed, 0, 1) + 0.5).astype(np.uint8)


def paint_ground(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Return an image (h, w, 3; float 0..1) of one of three kinds of ground."""
    hue = rng.random()
    near = hsv(hue, rng.uniform(0.2, 0.6), rng.uniform(0.3, 0.75))
    far = hsv(hue + rng.normal(0, 0.12), rng.uniform(0.1, 0.5), rng.uniform(0.45, 0.95))
    height, width = shape
    y, x = np.meshgrid(np.linspace(0, 1, height), np.linspace(0, 1, width), indexing="ij")
    kind = rng.random()
    if kind < 0.45:  # a landscape: sky with clouds, a wavy horizon, rough ground
        horizon = rng.uniform(0.3, 0.6) + 0.04 * np.sin(2 * np.pi * (x * rng.uniform(0.7, 2) + rng.random()))
        clouds = np.clip(noise(shape, 3, rng) * 1.8 - 0.7, 0, 1)[..., None]
        sky = far * (0.8 + 0.3 * y[..., None]) * (1 - 0.5 * clouds) + 0.5 * clouds
        rough = (0.6 * noise(shape, 8, rng) + 0.4 * noise(shape, 40, rng, 2))[..., None]
        land = near * (0.55 + 0.75 * rough)
        ground = np.where((y > horizon)[..., None], land, sky)
    elif kind < 0.75:  # a floor seen from above: two tones of noise
        blend = noise(shape, rng.uniform(3, 7), rng)[..., None]
        fine = noise(shape, rng.uniform(25, 60), rng, 2)[..., None]
        ground = (near * blend + far * (1 - blend)) * (0.7 + 0.5 * fine)
    else:  # a wall or cloth in a texture of the objects
        pose = Pose.of(width / 2, height / 2, rng.uniform(0.2, 0.4) * max(shape), rng.uniform(0, 180), 1.0, False)
        u, v = pose.to_object(x * width, y * height)
        field = TEXTURES[str(rng.choice(list(TEXTURES)))](u, v, rng, pose.pixel)[..., None]
        softened = 0.5 + rng.uniform(0.3, 0.7) * (field - 0.5)
        ground = (near * softened + far * (1 - softened)) * (0.8 + 0.35 * noise(shape, 12, rng)[..., None])
    return np.clip(ground, 0, 1).astype(np.float32)


def add_clutter(image: np.ndarray, rng: np.random.Generator) -> None:
    """Paint clutter into ``image`` in place: blades and pebbles of several sizes, in the textures of the objects."""
    height, width = image.shape[:2]
    unit = max(height, width)
    base = image.mean((0, 1))
    for _ in range(int(rng.integers(10, 26))):
        x, y, kind = rng.uniform(0, width), rng.uniform(0, height), rng.random()
        colours = _near(base, rng), _near(base, rng)
        turn = rng.uniform(0, 360)
        if kind < 0.45:
            size, stretch, outline = rng.uniform(0.03, 0.12), rng.uniform(1.5, 3.2), _blade(rng)
        elif kind < 0.85:
            size, stretch, outline = rng.uniform(0.02, 0.09), rng.uniform(0.8, 1.4), _pebble(rng)
        else:
            size, stretch, outline = rng.uniform(0.1, 0.18), rng.uniform(0.8, 1.3), _pebble(rng)
        pose = Pose.of(x, y, size * unit, turn, stretch, False)
        texture = str(rng.choice(list(TEXTURES)))
        paint(image, outline, pose, texture, colours, rng, rim=rng.uniform(0, 0.4), opacity=rng.uniform(0.6, 1))


def _near(base: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a colour: in half of the cases close to that of the ground, else any."""
    if rng.random() < 0.5:
        return np.clip(base * rng.uniform(0.5, 1.5) + rng.normal(0, 0.07, 3), 0, 1).astype(np.float32)
    return hsv(rng.random(), rng.uniform(0.2, 0.75), rng.uniform(0.25, 0.95))


def _blade(rng: np.random.Generator) -> np.ndarray:
    """Return a thin bent stroke with two pointed ends."""
    t = np.linspace(-1, 1, 14)
    spine, half = rng.uniform(-0.5, 0.5) * t**2, rng.uniform(0.06, 0.16) * (1 - t**2)
    return np.concatenate([np.stack([t, spine - half], 1), np.stack([t, spine + half], 1)[::-1]])


def _pebble(rng: np.random.Generator) -> np.ndarray:
    """Return an irregular closed curve."""
    t = np.linspace(0, 2 * np.pi, 36, endpoint=False)
    r = 1 + sum(rng.uniform(0, 0.22 / k) * np.cos(k * t + rng.uniform(0, 6)) for k in (2, 3, 5))
    return np.stack([r * np.cos(t), r * np.sin(t)], 1)
