"""Cluttered backgrounds: a ground of noise, wall or landscape, strewn with things that are no object."""

from __future__ import annotations

import numpy as np

from secseg.data.shapes.painting import Pose, hsv, paint
from secseg.data.shapes.textures import TEXTURES, noise


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
