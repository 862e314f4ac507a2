"""Cues from maps in plain loops, written from section 5 of the method's page."""

from __future__ import annotations

import numpy as np


def foreground(maps: np.ndarray, labels: tuple[int, ...], threshold: float) -> np.ndarray:
    cues = np.zeros(maps.shape, dtype=bool)
    for c in labels:
        top = max(maps[c - 1].reshape(-1).tolist())
        if top <= 0:
            continue
        for row in range(maps.shape[1]):
            for column in range(maps.shape[2]):
                cues[c - 1, row, column] = maps[c - 1, row, column] > threshold * top
    return cues


def background(saliency: np.ndarray, share: float, side: int) -> np.ndarray:
    height, width = saliency.shape
    reach = side // 2
    filtered = np.zeros(saliency.shape)
    for row in range(height):
        for column in range(width):
            window = [
                saliency[min(max(row + down, 0), height - 1), min(max(column + right, 0), width - 1)]
                for down in range(-reach, reach + 1)
                for right in range(-reach, reach + 1)
            ]
            filtered[row, column] = sorted(window)[len(window) // 2]
    limit = sorted(filtered.reshape(-1).tolist())[int(share * height * width)]
    return np.array([[value < limit for value in row] for row in filtered])


def join(foreground: np.ndarray, background: np.ndarray) -> np.ndarray:
    classes, height, width = foreground.shape
    sizes = [sum(bool(value) for value in region.reshape(-1)) for region in foreground]
    cues = np.full((height, width), 255, dtype=np.uint8)
    for row in range(height):
        for column in range(width):
            present = [c for c in range(classes) if foreground[c, row, column]]
            if present:
                cues[row, column] = min(present, key=lambda c: (sizes[c], c)) + 1
            elif background[row, column]:
                cues[row, column] = 0
    return cues


def transitions(values: np.ndarray, radius: float, beta: float) -> np.ndarray:
    """One step of PSA's random walk as a dense matrix (n, n), whose rows sum to 1, of values (c, h, w).

    ``exp(-mean_c |f_ci - f_cj|)^beta`` between cells less than ``radius`` apart, the cell itself included. Each channel
    is first divided by its standard deviation; constant channels are left out.
    """
    _, height, width = values.shape
    channels = [channel / channel.std() for channel in values.astype(np.float64) if channel.std() > 0]
    places = [(row, column) for row in range(height) for column in range(width)]
    affinity = np.zeros((len(places), len(places)))
    for i, (row, column) in enumerate(places):
        for j, (below, beyond) in enumerate(places):
            if (row - below) ** 2 + (column - beyond) ** 2 < radius**2:
                apart = [abs(channel[row, column] - channel[below, beyond]) for channel in channels]
                affinity[i, j] = np.exp(-sum(apart) / max(1, len(apart))) ** beta
    return affinity / affinity.sum(1, keepdims=True)


def random_walk(maps: np.ndarray, matrix: np.ndarray, steps: int) -> np.ndarray:
    """Maps (K, h, w) after ``steps`` of a random walk, each divided by its maximum."""
    walked = (np.linalg.matrix_power(matrix, steps) @ maps.reshape(len(maps), -1).T).T.reshape(maps.shape)
    return walked / walked.max((1, 2), keepdims=True)
