"""One drawn picture with its truth: which object each pixel shows, and where the telling part of each object is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter, maximum_filter, minimum_filter

from secseg.data.shapes.objects import OBJECTS, Part
from secseg.data.shapes.painting import TEXTURES, Pose, coverage, hsv, noise, paint

LONGEST = 240
VOID = 255
AREAS = {1: (0.16, 0.48), 2: (0.11, 0.27), 3: (0.07, 0.17)}
"""Share of the picture that an object would cover if all of it were in sight, by the number of objects."""


@dataclass(frozen=True)
class Scene:
    """A picture and what is in it.

    Attributes:
        image: (h, w, 3) uint8, RGB.
        owner: (h, w) uint8, the object that a pixel shows, numbered from 1 in painting order; 0 = background.
        classes: class number (1..7) of each object.
        centres: (objects, 2) pixel (x, y) of each object's telling part.
        alone: pixels that each object would show with nothing in front of it.
    """

    image: np.ndarray
    owner: np.ndarray
    classes: tuple[int, ...]
    centres: np.ndarray
    alone: tuple[int, ...]

    def mask(self) -> np.ndarray:
        """Class numbers (h, w) uint8; a border of two pixels around every object is 255, as in VOC."""
        truth = np.array([0, *self.classes], np.uint8)[self.owner]
        truth[maximum_filter(self.owner, 3) != minimum_filter(self.owner, 3)] = VOID
        return truth


def draw_scene(rng: np.random.Generator) -> Scene:
    """Draw one picture: ground, clutter, one to three objects (each half visible at least), light and grain."""
    short = int(LONGEST * rng.uniform(0.62, 1.0))
    shape = (short, LONGEST) if rng.random() < 0.65 else (LONGEST, short)
    picture = paint_ground(shape, rng)
    strew(picture, rng)
    count = int(rng.choice([1, 2, 3], p=[0.5, 0.36, 0.14]))
    owner = np.zeros(shape, np.uint8)
    classes: list[int] = []
    centres: list[np.ndarray] = []
    alone: list[int] = []
    for class_number in _choose_classes(count, rng):
        placed = _place(class_number, count, owner, alone, rng)
        if placed is None:
            continue
        parts, pose, shown = placed
        _cast_shadow(picture, shown, rng)
        colours = _colours(picture[shown].mean(0), rng)
        for part in parts:
            paint(picture, part.outline, pose, part.texture, (colours[part.colours[0]], colours[part.colours[1]]), rng)
        classes.append(class_number)
        owner[shown] = len(classes)
        alone.append(int(shown.sum()))
        telling = next(part for part in parts if part.telling)
        centres.append(pose.to_pixels(telling.outline).mean(0))
    image = _expose(picture, rng)
    return Scene(image, owner, tuple(classes), np.array(centres), tuple(alone))


def _choose_classes(count: int, rng: np.random.Generator) -> list[int]:
    """Class numbers, mostly different ones; one time in eight an object has the class of the one before."""
    numbers = (1 + rng.permutation(len(OBJECTS))[:count]).tolist()
    for i in range(1, count):
        if rng.random() < 0.125:
            numbers[i] = numbers[i - 1]
    return numbers


def _place(
    class_number: int, count: int, owner: np.ndarray, alone: list[int], rng: np.random.Generator
) -> tuple[list[Part], Pose, np.ndarray] | None:
    """Find a pose that leaves every object at least half visible; None after a number of tries.

    The first object is always placed, as there is nothing that it could hide.
    """
    build, most_turn = list(OBJECTS.values())[class_number - 1]
    height, width = owner.shape
    parts = build(rng)
    everything = np.concatenate([part.outline for part in parts])
    unit_area = np.count_nonzero(_silhouette(parts, Pose.of(100, 100, 50, 0, 1, False), (200, 200))) / 50**2
    for _ in range(12):
        area = rng.uniform(*AREAS[count]) * owner.size
        turn, stretch = rng.uniform(-most_turn, most_turn), rng.uniform(0.88, 1.14)
        pose = Pose.of(0, 0, (area / unit_area) ** 0.5, turn, stretch, bool(rng.random() < 0.5))
        low, high = pose.to_pixels(everything).min(0), pose.to_pixels(everything).max(0)
        slack = 0.12 * (high - low)  # an object may reach over the picture's edge by this much
        room_low, room_high = -low - slack, np.array([width, height]) - high + slack
        middle = (room_low + room_high) / 2
        spread = np.maximum(room_high - room_low, 0) / 2
        pose = Pose(middle + spread * rng.uniform(-1, 1, 2), pose.turn)
        shown = _silhouette(parts, pose, (height, width))
        left = [np.count_nonzero((owner == i + 1) & ~shown) / whole for i, whole in enumerate(alone)]
        if shown.any() and all(share >= 0.55 for share in left):
            return parts, pose, shown
    return None


def _silhouette(parts: list[Part], pose: Pose, shape: tuple[int, int]) -> np.ndarray:
    """The pixels (h, w) bool that the parts cover by more than half."""
    shown = np.zeros(shape, bool)
    for part in parts:
        found = coverage(pose.to_pixels(part.outline), shape)
        if found is not None:
            shown[found[0]] |= found[1] > 0.5
    return shown


def _cast_shadow(picture: np.ndarray, shown: np.ndarray, rng: np.random.Generator) -> None:
    """Darken what lies to the lower right of the object, in place."""
    offset = int(rng.integers(3, 8))
    shifted = np.zeros(shown.shape, np.float32)
    shifted[offset:, offset:] = shown[:-offset, :-offset]
    picture *= 1 - rng.uniform(0.2, 0.5) * gaussian_filter(shifted, rng.uniform(2, 5))[..., None]


def _colours(behind: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Draw an object's colours: any hue for any class, but a body that stands off from what is ``behind`` it."""
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


def _expose(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Light from one side, soft patches of shade, an exposure, a slight blur and grain; return (h, w, 3) uint8."""
    shape = picture.shape[:2]
    angle, strength = rng.uniform(0, 2 * np.pi), rng.uniform(0.05, 0.3)
    y, x = np.meshgrid(*(np.linspace(-1, 1, n, dtype=np.float32) for n in shape), indexing="ij")
    light = 1 + np.float32(strength * np.cos(angle)) * x + np.float32(strength * np.sin(angle)) * y
    light *= 1 - np.float32(rng.uniform(0, 0.3)) * noise(shape, 2, rng, 2)
    cast = rng.normal(1, 0.04, 3).astype(np.float32)
    exposed = gaussian_filter(picture * light[..., None] * cast, (0.5, 0.5, 0))
    exposed *= np.float32(np.clip(rng.uniform(0.42, 0.58) / exposed.mean(), 0.7, 1.6))
    exposed += np.float32(rng.uniform(0.008, 0.03)) * rng.standard_normal(exposed.shape, dtype=np.float32)
    return (255 * np.clip(exposed, 0, 1) + 0.5).astype(np.uint8)


def paint_ground(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Return a picture (h, w, 3; float 0..1) of one of three kinds of ground."""
    hue = rng.random()
    near = hsv(hue, rng.uniform(0.2, 0.6), rng.uniform(0.3, 0.75))
    far = hsv(hue + rng.normal(0, 0.12), rng.uniform(0.1, 0.5), rng.uniform(0.45, 0.95))
    height, width = shape
    y, x = np.meshgrid(np.linspace(0, 1, height), np.linspace(0, 1, width), indexing="ij")
    kind = rng.random()
    if kind < 0.45:  # a landscape: sky with clouds, a wavy horizon, rough ground that coarsens towards the viewer
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
    else:  # a wall or cloth in one of the objects' own textures
        pose = Pose.of(width / 2, height / 2, rng.uniform(0.2, 0.4) * max(shape), rng.uniform(0, 180), 1.0, False)
        u, v = pose.to_object(x * width, y * height)
        field = TEXTURES[str(rng.choice(list(TEXTURES)))](u, v, rng, pose.pixel)[..., None]
        softened = 0.5 + rng.uniform(0.3, 0.7) * (field - 0.5)
        ground = (near * softened + far * (1 - softened)) * (0.8 + 0.35 * noise(shape, 12, rng)[..., None])
    return np.clip(ground, 0, 1).astype(np.float32)


def strew(picture: np.ndarray, rng: np.random.Generator) -> None:
    """Paint clutter into ``picture`` in place: blades, pebbles, bushes and boards in the textures of the objects."""
    height, width = picture.shape[:2]
    unit = max(height, width)
    base = picture.mean((0, 1))
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
        paint(picture, outline, pose, texture, colours, rng, rim=rng.uniform(0, 0.4), opacity=rng.uniform(0.6, 1))


def _near(base: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A colour: half the time close to the ground's, else any."""
    if rng.random() < 0.5:
        return np.clip(base * rng.uniform(0.5, 1.5) + rng.normal(0, 0.07, 3), 0, 1).astype(np.float32)
    return hsv(rng.random(), rng.uniform(0.2, 0.75), rng.uniform(0.25, 0.95))


def _blade(rng: np.random.Generator) -> np.ndarray:
    """A thin bent stroke, pointed at both ends."""
    t = np.linspace(-1, 1, 14)
    spine, half = rng.uniform(-0.5, 0.5) * t**2, rng.uniform(0.06, 0.16) * (1 - t**2)
    return np.concatenate([np.stack([t, spine - half], 1), np.stack([t, spine + half], 1)[::-1]])


def _pebble(rng: np.random.Generator) -> np.ndarray:
    """A lumpy closed curve."""
    t = np.linspace(0, 2 * np.pi, 36, endpoint=False)
    r = 1 + sum(rng.uniform(0, 0.22 / k) * np.cos(k * t + rng.uniform(0, 6)) for k in (2, 3, 5))
    return np.stack([r * np.cos(t), r * np.sin(t)], 1)
