"""The seven classes of objects: outlines, textures, and the small part that is most distinctive for each class.

An object has its own coordinates: x to the right, y down, extent about -1..1. Its parts are painted in order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from secseg.data.shapes.painting import TEXTURES


@dataclass(frozen=True)
class Part:
    """One painted piece.

    Attributes:
        outline: closed polygon, (N, 2) of x, y in object coordinates.
        texture: name in `TEXTURES`.
        colours: the two roles ("body", "second", "accent", "light", "dark") that the texture mixes.
        distinctive: whether a classifier would recognise the class by this part. The simulated cues lie around it.
    """

    outline: np.ndarray
    texture: str
    colours: tuple[str, str]
    distinctive: bool = False


def _ellipse(x: float, y: float, rx: float, ry: float, degrees: float = 0.0) -> np.ndarray:
    t = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    a = np.deg2rad(degrees)
    along, across = rx * np.cos(t), ry * np.sin(t)
    return np.stack([x + along * np.cos(a) - across * np.sin(a), y + along * np.sin(a) + across * np.cos(a)], 1)


def _smooth(points: list[tuple[float, float]]) -> np.ndarray:
    """Return a closed Catmull-Rom curve through the points."""
    p = np.asarray(points, float)
    before, after, beyond = np.roll(p, 1, 0), np.roll(p, -1, 0), np.roll(p, -2, 0)
    t = np.linspace(0, 1, 8, endpoint=False)[:, None, None]
    curve = 0.5 * (
        2 * p
        + (after - before) * t
        + (2 * before - 5 * p + 4 * after - beyond) * t**2
        + (3 * p - before - 3 * after + beyond) * t**3
    )
    return curve.transpose(1, 0, 2).reshape(-1, 2)


def _eye(x: float, y: float, r: float) -> list[Part]:
    return [
        Part(_ellipse(x, y, r, r), "shade", ("light", "light")),
        Part(_ellipse(x - 0.15 * r, y, 0.55 * r, 0.6 * r), "shade", ("dark", "dark")),
    ]


def _typical(rng: np.random.Generator, *names: str) -> str:
    """Return a texture: mostly a typical one of the class, but in one of three cases any, so texture is not enough."""
    return str(rng.choice(names)) if rng.random() < 0.67 else str(rng.choice(list(TEXTURES)))


# Each polygon stands on one line.
# fmt: off
def _bird(rng: np.random.Generator) -> list[Part]:
    coat, fat = _typical(rng, "scales", "stripes"), rng.uniform(0.42, 0.56)
    head_x, head_y = -0.68, -0.42 + rng.uniform(-0.1, 0.08)
    legs = [Part(np.array([(x, 0.3), (x + 0.07, 0.3), (x + 0.05, 0.8), (x + 0.1, 0.86), (x - 0.13, 0.86), (x, 0.8)]),
        "shade", ("accent", "dark")) for x in (-0.12, 0.12)]
    return [
        Part(np.array([(0.45, -0.05), (1.2, -0.3), (1.25, -0.05), (1.15, 0.2), (0.4, 0.25)]), "stripes",
            ("second", "body")),
        *legs,
        Part(_smooth([(-0.8, -0.25), (-0.4, -0.5), (0.2, -0.38), (0.75, -0.02), (0.3, fat - 0.05), (-0.35, fat),
            (-0.72, 0.15)]), coat, ("body", "second")),
        Part(_smooth([(-0.35, -0.15), (0.1, -0.3), (0.8, 0.1), (0.2, 0.25), (-0.2, 0.15)]), "scales",
            ("second", "body")),
        Part(np.array([(head_x - 0.2, head_y - 0.1), (head_x - 0.66, head_y + 0.08), (head_x - 0.2, head_y + 0.16)]),
            "shade", ("accent", "light")),
        Part(_ellipse(head_x, head_y, 0.34, 0.31), "shade", ("accent", "second"), distinctive=True),
        *_eye(head_x - 0.1, head_y - 0.05, 0.1),
    ]


def _car(rng: np.random.Generator) -> list[Part]:
    roof, front = rng.uniform(-0.62, -0.45), rng.uniform(-0.55, -0.35)
    hull = [
        (-1.1, 0.3), (-1.12, 0.0), (-0.95, -0.1), (front, -0.16), (front + 0.32, roof), (0.4, roof), (0.75, -0.15),
        (1.05, -0.08), (1.1, 0.3),
    ]
    parts = [Part(np.array(hull), _typical(rng, "shade", "stripes", "checks"), ("body", "second"))]
    for left, right, top in ((front + 0.1, 0.0, front + 0.35), (0.08, 0.6, 0.36)):
        parts.append(Part(np.array([(left, -0.14), (top if left < 0 else left, roof + 0.09),
            (right if left < 0 else top, roof + 0.09), (right, -0.14)]), "shade", ("light", "second")))
    parts.append(Part(np.array([(-1.1, 0.2), (1.1, 0.2), (1.1, 0.32), (-1.1, 0.32)]), "shade", ("dark", "second")))
    parts.append(Part(_ellipse(-1.0, 0.06, 0.09, 0.08), "shade", ("accent", "light")))
    for x in (-0.6, 0.62):
        parts += [
            Part(_ellipse(x, 0.32, 0.29, 0.29), "shade", ("dark", "dark"), distinctive=x < 0),
            Part(_ellipse(x, 0.32, 0.16, 0.16), "checks", ("light", "accent")),
        ]
    return parts


def _fish(rng: np.random.Generator) -> list[Part]:
    coat, tall = _typical(rng, "scales", "stripes", "dots"), rng.uniform(0.42, 0.62)
    return [
        Part(_smooth([(0.6, 0.0), (1.2, -0.5), (1.05, 0.0), (1.2, 0.5)]), "stripes", ("second", "accent")),
        Part(_smooth([(-0.3, -0.8 * tall), (0.15, -tall - 0.32), (0.55, -tall - 0.1), (0.5, -0.1)]), "stripes",
            ("second", "body")),
        Part(_smooth([(-0.1, 0.5 * tall), (0.25, tall + 0.25), (0.4, 0.2)]), "stripes", ("second", "body")),
        Part(_smooth([(-1.0, 0.05), (-0.6, -0.75 * tall), (0.0, -tall), (0.55, -0.45 * tall), (0.85, 0.0),
            (0.55, 0.5 * tall), (0.0, tall), (-0.6, 0.8 * tall)]), coat, ("body", "second")),
        Part(_smooth([(-1.0, 0.05), (-0.62, -0.72 * tall), (-0.4, -0.1), (-0.5, 0.5 * tall), (-0.65, 0.7 * tall)]),
            "shade", ("accent", "body"), distinctive=True),
        Part(_smooth([(-0.15, 0.05), (0.2, 0.0), (0.12, 0.3)]), "stripes", ("accent", "second")),
        *_eye(-0.68, -0.12, 0.12),
    ]


def _flower(rng: np.random.Generator) -> list[Part]:
    count, long = int(rng.integers(5, 9)), rng.uniform(0.42, 0.52)
    coat, wide = _typical(rng, "grain", "shade"), 2.1 / count + 0.06
    turns = np.linspace(0, 360, count, endpoint=False)
    parts = [Part(_ellipse(x, 0.62, 0.5, 0.2, lean), "grain", ("stem", "dark")) for x, lean in ((-0.75, -35),
        (0.75, 35))]
    for turn in turns:
        a = np.deg2rad(turn)
        parts.append(Part(_ellipse(0.58 * np.cos(a), 0.58 * np.sin(a), long, wide, turn), coat, ("body", "second")))
    parts.append(Part(_ellipse(0, 0, 0.33, 0.33), "dots", ("accent", "dark"), distinctive=True))
    return parts


def _house(rng: np.random.Generator) -> list[Part]:
    wide, eaves = rng.uniform(0.65, 0.9), rng.uniform(-0.3, -0.1)
    side = -1 if rng.random() < 0.5 else 1
    door = side * 0.45 * wide
    roof = [(-wide - 0.16, eaves), (-0.35, -0.95), (0.35, -0.95), (wide + 0.16, eaves)]
    parts = [
        Part(np.array([(0.3, -1.15), (0.52, -1.15), (0.52, -0.5), (0.3, -0.5)]), "bricks", ("second", "dark")),
        Part(np.array([(-wide, eaves - 0.06), (wide, eaves - 0.06), (wide, 0.85), (-wide, 0.85)]),
            _typical(rng, "bricks"), ("body", "second")),
        Part(np.array(roof), _typical(rng, "scales", "stripes"), ("second", "dark")),
        Part(np.array([(door - 0.2, 0.2), (door + 0.2, 0.2), (door + 0.2, 0.85), (door - 0.2, 0.85)]), "grain",
            ("accent", "dark"), distinctive=True),
        Part(_ellipse(door + 0.1, 0.55, 0.04, 0.04), "shade", ("light", "light")),
    ]
    for x, y in ((-door * 0.9, 0.12), (-door * 0.9, 0.52)):
        parts.append(Part(np.array([(x - 0.19, y - 0.13), (x + 0.19, y - 0.13), (x + 0.19, y + 0.13),
            (x - 0.19, y + 0.13)]), "checks", ("light", "accent")))
    return parts


def _mushroom(rng: np.random.Generator) -> list[Part]:
    tall, brim = rng.uniform(-0.95, -0.75), rng.uniform(0.8, 1.05)
    cap = [
        (-brim, 0.05), (-0.8 * brim, -0.45), (-0.3 * brim, tall), (0.3 * brim, tall), (0.8 * brim, -0.45), (brim, 0.05),
        (0, 0.16),
    ]
    parts = [
        Part(_smooth([(-0.26, 0.0), (0.26, 0.0), (0.3, 0.6), (0.4, 0.95), (0.0, 1.02), (-0.4, 0.95), (-0.3, 0.6)]),
            _typical(rng, "grain", "shade"), ("stem", "second")),
        Part(np.array([(-0.42, 0.28), (-0.25, 0.1), (0.25, 0.1), (0.42, 0.28), (0.0, 0.38)]), "stripes",
            ("stem", "accent")),
        Part(_smooth(cap), _typical(rng, "shade", "foliage"), ("body", "second")),
    ]
    spots = [(-0.45, -0.3, 0.21), (0.05, -0.55, 0.17), (0.12, -0.12, 0.13), (0.55, -0.22, 0.15), (-0.12, -0.05, 0.1)]
    for i, (x, y, r) in enumerate(spots):
        r *= rng.uniform(0.8, 1.15)
        parts.append(Part(_ellipse(x * brim, y, r, 0.85 * r), "shade", ("light", "accent"), distinctive=i == 0))
    return parts


def _tree(rng: np.random.Generator) -> list[Part]:
    leaves, wide = _typical(rng, "foliage", "dots"), rng.uniform(0.45, 0.62)
    trunk = [(-0.14, -0.1), (0.14, -0.1), (0.17, 0.6), (0.4, 1.0), (-0.4, 1.0), (-0.17, 0.6)]
    parts = [Part(np.array(trunk), "grain", ("stem", "dark"))]
    clumps = [(-wide, -0.15), (wide, -0.12), (-0.62 * wide, -0.6), (0.66 * wide, -0.62), (0.0, -0.85), (0.0, -0.3)]
    for x, y in clumps:
        r = rng.uniform(0.36, 0.47)
        parts.append(Part(_ellipse(x, y, r, 0.9 * r), leaves, ("body", "second")))
    branch = [
        (-0.15, 0.62), (-0.1, 0.1), (-0.36, -0.2), (-0.3, -0.26), (-0.04, -0.02), (0.05, -0.36), (0.12, -0.36),
        (0.1, 0.0), (0.34, -0.2), (0.38, -0.13), (0.13, 0.15), (0.15, 0.62),
    ]
    parts.append(Part(np.array(branch), "grain", ("stem", "dark"), distinctive=True))
    for _ in range(int(rng.integers(3, 7))):
        a, d = rng.uniform(0, 2 * np.pi), rng.uniform(0.3, 0.6)
        parts.append(Part(_ellipse(d * np.cos(a), -0.42 + 0.7 * d * np.sin(a), 0.08, 0.08), "shade",
            ("accent", "accent")))
    return parts
# fmt: on


OBJECTS: dict[str, tuple[Callable[[np.random.Generator], list[Part]], float]] = {
    "bird": (_bird, 35.0),
    "car": (_car, 18.0),
    "fish": (_fish, 70.0),
    "flower": (_flower, 180.0),
    "house": (_house, 12.0),
    "mushroom": (_mushroom, 25.0),
    "tree": (_tree, 15.0),
}
"""By class name: the function that draws an object, and its largest rotation in degrees. The order gives the class
numbers."""
