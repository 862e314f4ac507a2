"""The losses of Kolesnikov and Lampert (2016), image by image and pixel by pixel."""

from __future__ import annotations

import math

import numpy as np

FLOOR = 1e-4


def probabilities(scores: np.ndarray, floor: float = FLOOR) -> np.ndarray:
    """Return f for scores (B, C, H, W): softmax over the classes, plus the floor, divided by the sum."""
    f = np.empty(scores.shape)
    for b, y, x in np.ndindex(scores.shape[0], *scores.shape[2:]):
        z = scores[b, :, y, x]
        e = np.array([math.exp(value - z.max()) for value in z])
        p = e / e.sum() + floor
        f[b, :, y, x] = p / p.sum()
    return f


def gwrp(scores: np.ndarray, decay: float) -> float:
    """Return G(x; d) for one class of one image: the j-th highest score has the weight d^(j-1); Z is their sum."""
    descending = sorted(scores.ravel().tolist(), reverse=True)
    weights = [decay ** (j - 1) for j in range(1, len(descending) + 1)]  # Python has 0**0 = 1
    return sum(w * s for w, s in zip(weights, descending, strict=True)) / sum(weights)


def seed(f: np.ndarray, cues: np.ndarray) -> float:
    total = 0.0
    for b in range(len(f)):
        places = [tuple(place) for place in np.argwhere(cues[b])]
        if places:
            total -= sum(math.log(f[b][place]) for place in places) / len(places)
    return total / len(f)


def expand(f: np.ndarray, labels: np.ndarray, pos: float, neg: float, bg: float) -> float:
    total = 0.0
    for b in range(len(f)):
        present = [c for c in range(1, f.shape[1]) if labels[b, c]]
        absent = [c for c in range(1, f.shape[1]) if not labels[b, c]]
        if present:
            total -= sum(math.log(gwrp(f[b, c], pos)) for c in present) / len(present)
        if absent:
            total -= sum(math.log(1 - gwrp(f[b, c], neg)) for c in absent) / len(absent)
        total -= math.log(gwrp(f[b, 0], bg))
    return total / len(f)


def constrain(f: np.ndarray, q: np.ndarray, floor: float = FLOOR) -> float:
    total = 0.0
    pixels = f.shape[2] * f.shape[3]
    for b, y, x in np.ndindex(f.shape[0], *f.shape[2:]):
        floored = np.maximum(q[b, :, y, x], floor)
        floored = floored / floored.sum()
        total += sum(p * math.log(p / g) for p, g in zip(floored, f[b, :, y, x], strict=True)) / pixels
    return total / len(f)


def supervised(f: np.ndarray, mask: np.ndarray, void: int = 255) -> float:
    total = 0.0
    for b in range(len(f)):
        known = [(y, x) for y, x in np.ndindex(*mask.shape[1:]) if mask[b, y, x] != void]
        if known:
            total -= sum(math.log(f[b, mask[b, y, x], y, x]) for y, x in known) / len(known)
    return total / len(f)
