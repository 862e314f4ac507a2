"""Paint parts onto an image: antialiased outlines, textures that rotate with the object, relief under light."""

from __future__ import annotations

import colorsys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw
from scipy.ndimage import distance_transform_edt, gaussian_filter, map_coordinates

OVERSAMPLING = 3
LIGHT = np.array([-0.45, -0.62, 0.64])
"""Direction to the light (x, y down, towards the viewer): from the upper left."""


@dataclass(frozen=True)
class Pose:
    """Pose of an object: ``place + turn @ (object coordinates)`` gives pixels (x, y)."""

    place: np.ndarray
    turn: np.ndarray

    @staticmethod
    def of(x: float, y: float, size: float, degrees: float, stretch: float, mirrored: bool) -> Pose:
        """Return a pose at pixel ``(x, y)`` with ``size`` pixels per object unit, rotated, and widened by
        ``stretch``."""
        a = np.deg2rad(degrees)
        turn = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
        return Pose(np.array([x, y]), size * turn * np.array([-stretch if mirrored else stretch, 1 / stretch]))

    def to_pixels(self, points: np.ndarray) -> np.ndarray:
        """Map object coordinates (N, 2) to pixels (N, 2)."""
        u, v = points[:, :1], points[:, 1:]
        return self.place + u * self.turn[:, 0] + v * self.turn[:, 1]

    def to_object(self, xs: np.ndarray, ys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Map pixels to object coordinates ``(u, v)``, each of the broadcast shape of ``xs`` and ``ys``."""
        (a, b), (c, d) = self.turn
        x, y, det = xs - self.place[0], ys - self.place[1], a * d - b * c
        return ((d * x - b * y) / det).astype(np.float32), ((a * y - c * x) / det).astype(np.float32)

    @property
    def pixel(self) -> float:
        """Size of a pixel in object units."""
        (a, b), (c, d) = self.turn
        return float(abs(a * d - b * c) ** -0.5)


Window = tuple[slice, slice]


def coverage(outline: np.ndarray, shape: tuple[int, int]) -> tuple[Window, np.ndarray] | None:
    """Return the window of a polygon (N, 2; pixels), and the covered share of each pixel (float 0..1).

    None if the polygon lies outside the image of ``shape`` (h, w).
    """
    low = np.maximum(np.floor(outline.min(0)) - 1, 0).astype(int)
    high = np.minimum(np.ceil(outline.max(0)) + 2, shape[::-1]).astype(int)
    width, height = high - low
    if width <= 0 or height <= 0:
        return None
    k = OVERSAMPLING
    canvas = Image.new("L", (int(width) * k, int(height) * k), 0)
    ImageDraw.Draw(canvas).polygon([tuple(p) for p in ((outline - low) * k).tolist()], fill=255)
    alpha = np.asarray(canvas.reduce(k), np.float32) / 255
    return (slice(low[1], high[1]), slice(low[0], high[0])), alpha


def paint(
    image: np.ndarray,
    outline: np.ndarray,
    pose: Pose,
    texture: str,
    colours: tuple[np.ndarray, np.ndarray],
    rng: np.random.Generator,
    rim: float = 0.5,
    opacity: float = 1.0,
) -> tuple[Window, np.ndarray] | None:
    """Paint one part into ``image`` (h, w, 3; float 0..1) in place; return its window and coverage.

    Args:
        outline: (N, 2) in object coordinates.
        texture: name in `TEXTURES`; mixes the two ``colours`` (RGB, 0..1).
        rim: darkness of the thin line along the outline: 0 for no line, 1 for black.
        opacity: 1 hides everything below.
    """
    found = coverage(pose.to_pixels(outline), image.shape[:2])
    if found is None:
        return None
    window, alpha = found
    u, v = pose.to_object(*np.meshgrid(*(np.arange(s.start, s.stop) for s in window[::-1])))
    mix = TEXTURES[texture](u, v, rng, pose.pixel)[..., None]
    colour = colours[0] * mix + colours[1] * (1 - mix)
    inside = distance_transform_edt(np.pad(alpha > 0.5, 1))[1:-1, 1:-1].astype(np.float32)
    colour = colour * _relief(inside)[..., None]
    colour *= 1 - rim * np.clip(1.9 - inside, 0, 1)[..., None]
    cover = opacity * alpha[..., None]
    image[window] = image[window] * (1 - cover) + colour * cover
    return window, alpha


def _relief(inside: np.ndarray) -> np.ndarray:
    """Return the brightness of a pillow-shaped solid over a part, from the distance of each pixel to the outline."""
    depth = max(float(inside.max()), 1.0)
    height = depth * np.sqrt(np.clip(1 - (1 - inside / depth) ** 2, 0, 1))
    if min(height.shape) < 2:
        return np.ones_like(height)
    dy, dx = np.gradient(gaussian_filter(height, 0.25 * depth**0.7))
    lit = (LIGHT[2] - dx * LIGHT[0] - dy * LIGHT[1]) / np.sqrt(1 + dx * dx + dy * dy)
    return np.clip(0.62 + 0.62 * lit, 0.4, 1.3).astype(np.float32)


def hsv(hue: float, saturation: float, value: float) -> np.ndarray:
    """Return a colour as RGB (3,) float 0..1; the hue wraps at 1."""
    return np.array(colorsys.hsv_to_rgb(hue % 1, saturation, value), np.float32)


Texture = Callable[[np.ndarray, np.ndarray, np.random.Generator, float], np.ndarray]
"""``(u, v, rng, pixel) -> field`` in 0..1, which mixes two colours. Coordinates and the size of a pixel are in object
units."""


def noise(shape: tuple[int, int], cells: float, rng: np.random.Generator, octaves: int = 4) -> np.ndarray:
    """Return fractal noise (h, w), float32 in 0..1. The coarsest octave has ``cells`` cells along the longer side."""
    height, width = shape
    total = np.zeros(shape, np.float32)
    for octave in range(octaves):
        side = cells * 2**octave / max(shape)
        grid = rng.random((2 + round(height * side), 2 + round(width * side)), dtype=np.float32)
        layer = Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC)
        total += np.asarray(layer) * 0.5**octave
    low, high = float(total.min()), float(total.max())
    return (total - low) / max(high - low, 1e-6)


def _wave(t: np.ndarray, pixel: float) -> np.ndarray:
    """Return a square wave of period 1 in ``t``. Its edges are about a pixel wide; ``pixel`` is in units of ``t``."""
    return np.clip(0.5 + 0.5 * np.sin(2 * np.pi * t) / max(0.15, 2 * np.pi * pixel), 0, 1)


def _step(distance: np.ndarray, pixel: float) -> np.ndarray:
    """Return 1 for positive and 0 for negative ``distance``, with a transition of about a pixel."""
    return np.clip(0.5 + distance / (1.5 * pixel), 0, 1)


def stripes(u: np.ndarray, v: np.ndarray, rng: np.random.Generator, pixel: float) -> np.ndarray:
    """Straight bands across the object, slightly bent."""
    rate = rng.uniform(2.2, 4.5)
    return _wave(rate * (u + 0.15 * np.sin(2.5 * v + rng.uniform(0, 6))), rate * pixel)


def checks(u: np.ndarray, v: np.ndarray, rng: np.random.Generator, pixel: float) -> np.ndarray:
    """A chess board."""
    rate = rng.uniform(1.6, 3.2)
    a, b = _wave(rate * u, rate * pixel), _wave(rate * v, rate * pixel)
    return a + b - 2 * a * b


def dots(u: np.ndarray, v: np.ndarray, rng: np.random.Generator, pixel: float) -> np.ndarray:
    """Round dots in staggered rows."""
    rate, radius = rng.uniform(2.5, 4.5), rng.uniform(0.22, 0.36)
    row = np.floor(v * rate)
    x = (u * rate + 0.5 * (row % 2)) % 1 - 0.5
    return _step(radius - np.hypot(x, (v * rate) % 1 - 0.5), rate * pixel)


def scales(u: np.ndarray, v: np.ndarray, rng: np.random.Generator, pixel: float) -> np.ndarray:
    """Overlapping round scales: dark at the rim of each."""
    rate = rng.uniform(4.0, 6.5)
    row = np.floor(u * rate)
    y = (v * rate + 0.5 * (row % 2)) % 1 - 0.5
    return np.clip(1.15 - np.hypot(y * 1.1, (u * rate) % 1) ** 3, 0, 1)


def bricks(u: np.ndarray, v: np.ndarray, rng: np.random.Generator, pixel: float) -> np.ndarray:
    """Courses of bricks with mortar between them, each brick a little different."""
    rate = rng.uniform(4.0, 6.0)
    row = np.floor(v * rate)
    x = u * rate / 2 + 0.5 * (row % 2)
    tone = np.sin(row * 12.9898 + np.floor(x) * 78.233) * 43758.5453
    y = (v * rate) % 1
    mortar = np.minimum(np.minimum(y, 1 - y), 2 * np.minimum(x % 1, 1 - x % 1))
    return (0.6 + 0.4 * (tone % 1)) * _step(mortar - 0.09, rate * pixel)


def foliage(u: np.ndarray, v: np.ndarray, rng: np.random.Generator, pixel: float) -> np.ndarray:
    """Leafy clumps of noise."""
    grid = rng.random((24, 24), dtype=np.float32)
    coarse = map_coordinates(grid, [(v + 2) * 6, (u + 2) * 6], order=1, mode="grid-wrap")
    fine = map_coordinates(grid, [(v + 2) * 14, (u + 2) * 14], order=1, mode="grid-wrap")
    return np.clip(2.2 * (0.5 * coarse + 0.5 * fine) - 0.6, 0, 1)


def grain(u: np.ndarray, v: np.ndarray, rng: np.random.Generator, pixel: float) -> np.ndarray:
    """Wood: thin wavering lines along the object."""
    rate = rng.uniform(4, 7)
    bend = 0.25 * np.sin(3 * v + rng.uniform(0, 6)) + 0.1 * np.sin(9 * v)
    return 0.5 + 0.5 * np.sin(2 * np.pi * (rate * u + bend)) * min(1.0, 0.25 / (rate * pixel))


def shade(u: np.ndarray, v: np.ndarray, rng: np.random.Generator, pixel: float) -> np.ndarray:
    """A smooth gradient in a random direction."""
    angle = rng.uniform(0, 2 * np.pi)
    return np.clip(0.5 + 0.4 * (u * np.cos(angle) + v * np.sin(angle)), 0, 1)


TEXTURES: dict[str, Texture] = {t.__name__: t for t in (stripes, checks, dots, scales, bricks, foliage, grain, shade)}
