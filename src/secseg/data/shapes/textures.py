"""Textures of the drawn world: fields in 0..1 that mix two colours. Objects and backgrounds share them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image
from scipy.ndimage import map_coordinates

Texture = Callable[[np.ndarray, np.ndarray, np.random.Generator, float], np.ndarray]
"""``(u, v, rng, pixel) -> field``: coordinates in object units, the size of a pixel in them, values in 0..1."""


def noise(shape: tuple[int, int], cells: float, rng: np.random.Generator, octaves: int = 4) -> np.ndarray:
    """Return fractal noise (h, w), float32 in 0..1, whose coarsest octave has ``cells`` cells along the longer side."""
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
    """A square wave of period 1 in ``t``, its edges about a pixel wide; ``pixel`` is in units of ``t``."""
    return np.clip(0.5 + 0.5 * np.sin(2 * np.pi * t) / max(0.15, 2 * np.pi * pixel), 0, 1)


def _step(distance: np.ndarray, pixel: float) -> np.ndarray:
    """1 where ``distance`` is positive, 0 where negative, soft over about a pixel."""
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
