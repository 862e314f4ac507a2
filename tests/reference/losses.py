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


def decay_of_size(size: float, pixels: int, share: float) -> float:
    """Return the decay with which the best ``size * pixels`` scores carry ``share`` of the weight, by bisection."""
    if size >= share:
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(200):
        middle = (low + high) / 2
        carried = (1 - middle ** (size * pixels)) / (1 - middle**pixels)
        low, high = (middle, high) if carried > share else (low, middle)
    return low


def expand_by_row(f: np.ndarray, labels: np.ndarray, pos: np.ndarray, neg: float, bg: np.ndarray) -> float:
    """Return the expansion loss with a decay for each class of each image: ``pos`` (B, C - 1), ``bg`` (B,)."""
    total = 0.0
    for b in range(len(f)):
        present = [c for c in range(1, f.shape[1]) if labels[b, c]]
        if present:
            total -= sum(math.log(gwrp(f[b, c], pos[b, c - 1])) for c in present) / len(present)
        absent = [c for c in range(1, f.shape[1]) if not labels[b, c]]
        if absent:
            total -= sum(math.log(1 - gwrp(f[b, c], neg)) for c in absent) / len(absent)
        total -= math.log(gwrp(f[b, 0], bg[b]))
    return total / len(f)


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


def balanced_seed(f: np.ndarray, seeds: np.ndarray) -> float:
    total = 0.0
    for b in range(len(f)):
        background = [math.log(f[b, 0, y, x]) for y, x in np.argwhere(seeds[b, 0])]
        foreground = [math.log(f[b, c + 1, y, x]) for c, y, x in np.argwhere(seeds[b, 1:])]
        total -= sum(part for logs in (background, foreground) if logs for part in [sum(logs) / len(logs)])
    return total / len(f)


def affinity(image: np.ndarray, xy: float, rgb: float) -> np.ndarray:
    """Return ``exp(-|p_i - p_j|^2 / (2 xy^2) - |I_i - I_j|^2 / (2 rgb^2))``, (n, n), of an image (3, H, W)."""
    places = list(np.ndindex(*image.shape[1:]))
    matrix = np.empty((len(places), len(places)))
    for i, p in enumerate(places):
        for j, q in enumerate(places):
            apart = sum((a - b) ** 2 for a, b in zip(p, q, strict=True)) / xy**2
            other = sum((float(c[p]) - float(c[q])) ** 2 for c in image) / rgb**2
            matrix[i, j] = math.exp(-(apart + other) / 2)
    return matrix


def crf_energy(f: np.ndarray, images: np.ndarray, xy: float, rgb: float) -> float:
    """Return the affinity of pairs of pixels in different classes, as a share of all affinity."""
    total = 0.0
    for s, image in zip(f.reshape(*f.shape[:2], -1), images, strict=True):
        a = affinity(image, xy, rgb)
        total += sum(s[k] @ a @ s[other] for k in range(len(s)) for other in range(len(s)) if k != other) / a.sum()
    return total / len(f)


def normalized_cut(f: np.ndarray, images: np.ndarray, xy: float, rgb: float) -> float:
    total = 0.0
    for s, image in zip(f.reshape(*f.shape[:2], -1), images, strict=True):
        a = affinity(image, xy, rgb)
        total += sum(s[k] @ a @ (1 - s[k]) / (a.sum(1) @ s[k]) for k in range(len(s)))
    return total / len(f)


def grown(
    cues: np.ndarray, q: np.ndarray, labels: np.ndarray, foreground: float = 0.85, background: float = 0.99
) -> np.ndarray:
    """Return the seeds (C, H, W) of one image: sweep over all pixels until none is added."""
    classes, height, width = cues.shape
    own = [0, *(c for c in range(1, classes) if labels[c])]
    seeds, changed = cues.astype(bool).copy(), True
    while changed:
        changed = False
        for y, x in np.ndindex(height, width):
            c = max(own, key=lambda k: q[k, y, x])
            certain = q[c, y, x] > (foreground if c else background)
            near = seeds[c, max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2].any()
            if certain and near and not seeds[c, y, x] and not cues[:, y, x].any():
                seeds[c, y, x] = changed = True
    return seeds


def seed_rates(seeds: np.ndarray, mask: np.ndarray, classes: list[int]) -> tuple[float, float]:
    """Seeds (B, C, H, W) and masks (B, H, W), 255 = void, to precision and recall over all pairs of pixel and class."""
    right = given = true = 0
    for b, y, x in np.ndindex(*mask.shape):
        if mask[b, y, x] == 255:
            continue
        for c in classes:
            right += bool(seeds[b, c, y, x] and mask[b, y, x] == c)
            given += bool(seeds[b, c, y, x])
            true += bool(mask[b, y, x] == c)
    return right / given if given else math.nan, right / true if true else math.nan
