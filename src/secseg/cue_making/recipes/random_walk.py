"""Cues from maps that a random walk has spread over neighbours with like features or colours."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from PIL import Image
from scipy.sparse import coo_array, csr_array

from secseg.cue_making.recipes.base import CueInputs, CueRecipe, confident_cues, scaled_maps
from secseg.utils.checks import check_choice, check_number, check_whole, refuse

AFFINITIES = ("colours", "features")


class RandomWalkCues(CueRecipe):
    """Spreads maps in 0..1 by a random walk, divides each by its maximum, and applies two thresholds.

    Args:
        affinity: what neighbours are compared by: ``colours`` of the image at the grid of the maps, or ``features`` of
            the classifier's trunk.
        radius: neighbours are less than this apart, in cells; above 1.
        beta: exponent of the affinity; above 0. Higher: the walk leaves a region less.
        steps: of the walk; 0 for none.
        threshold: a class has a cue where its map is the highest one and above this; in [0, 1).
        background: the background has a cue where the highest map is at most this; in [0, 1).

    Raises:
        UserError: for values out of range.

    Source: PSA (Ahn and Kwak, CVPR 2018) for the walk, IRN (Ahn et al., CVPR 2019) for the division by the maximum and
    the thresholds. PSA walks 256 steps on features that it trains for the affinity. Ours are not trained for it, and
    fewer steps are better (docs/cues.md). With our maps, PSA's background ``(1 - max)^16`` covers nearly all cells.
    """

    def __init__(
        self,
        affinity: str = "colours",
        radius: float = 5.0,
        beta: float = 8.0,
        steps: int = 16,
        threshold: float = 0.3,
        background: float = 0.05,
    ) -> None:
        refuse(
            [
                *check_choice("cues.affinity", affinity, AFFINITIES),
                *check_number("cues.radius", radius, above=1),
                *check_number("cues.beta", beta, above=0),
                *check_whole("cues.steps", steps, 0),
                *check_number("cues.threshold", threshold, 0, below=1),
                *check_number("cues.background", background, 0, below=1),
            ]
        )
        self.affinity, self.radius, self.beta, self.steps = affinity, radius, beta, steps
        self.threshold, self.background = threshold, background
        self.needs = ("features",) if affinity == "features" else ()

    def __call__(self, inputs: CueInputs) -> np.ndarray:
        maps = inputs.maps if inputs.shares else scaled_maps(inputs.maps)
        own = [number - 1 for number in inputs.labels]
        walked = np.zeros(maps.shape)
        walked[own] = random_walk(maps[own].astype(np.float64), self._transitions(inputs), self.steps)
        return confident_cues(scaled_maps(walked), self.threshold, self.background)

    def _transitions(self, inputs: CueInputs) -> csr_array:
        if self.affinity == "colours":
            values = colours_at(inputs.read_image(), (inputs.highest.shape[0], inputs.highest.shape[1]))
        else:
            assert inputs.read_features is not None
            values = inputs.read_features()
        return transitions(values, self.radius, self.beta)


def colours_at(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return the mean colours (3, h, w) float32 of an image (H, W, 3) uint8 in each cell of a grid of ``size``."""
    small = Image.fromarray(image).resize(size[::-1], Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float32).transpose(2, 0, 1)


def transitions(values: np.ndarray, radius: float = 5.0, beta: float = 8.0) -> csr_array:
    """Return the probabilities (n, n) of one step of a random walk over the n = h w grid cells.

    ``T_ij = A_ij / sum_k A_ik`` with ``A_ij = exp(-mean_c |f_ci - f_cj| / s_c)^beta`` for cells less than ``radius``
    apart, the cell itself included, and else 0. ``s_c`` is the standard deviation of channel c over the image, which
    our features and colours need: they are not trained for the affinity. Constant channels do not count.

    Args:
        values: features or colours (c, h, w).
        radius: in cells.
        beta: exponent of the affinity.

    Source: PSA, ``network/resnet38_aff.py`` and ``infer_aff.py``; the division by ``s_c`` is ours.
    """
    height, width = values.shape[1:]
    deviation = values.std((1, 2), dtype=np.float64, keepdims=True)
    varied = deviation[:, 0, 0] > 0
    f = (values[varied] / deviation[varied]).astype(np.float32)
    cells = np.arange(height * width).reshape(height, width)
    rows, columns, affinities = [cells.ravel()], [cells.ravel()], [np.ones(cells.size)]
    for down, right in _half_disc(radius, height, width):
        # All pairs that are this far apart: the cells ``i`` of one slice, and their neighbours ``j`` of the other one.
        one = np.s_[: height - down, max(0, -right) : width - max(0, right)]
        other = np.s_[down:, max(0, right) : width + min(0, right)]
        apart = np.abs(f[:, *one] - f[:, *other]).sum(0, dtype=np.float64) / max(1, len(f))
        i, j = cells[one].ravel(), cells[other].ravel()
        rows += [i, j]
        columns += [j, i]
        affinities += [np.exp(-beta * apart).ravel()] * 2
    entries = np.concatenate(affinities), (np.concatenate(rows), np.concatenate(columns))
    affinity = csr_array(coo_array(entries, shape=(cells.size, cells.size)))
    return affinity.multiply(1 / affinity.sum(1)[:, None]).tocsr()


def random_walk(maps: np.ndarray, steps_of: csr_array, steps: int) -> np.ndarray:
    """Return the maps (C, h, w) after a random walk: in each step, each cell takes the mean of its neighbours' values,
    weighted by the probabilities (n, n) of ``transitions``."""
    values = maps.reshape(len(maps), -1).T
    for _ in range(steps):
        values = steps_of @ values
    return np.ascontiguousarray(values.T).reshape(maps.shape)


def _half_disc(radius: float, height: int, width: int) -> Iterator[tuple[int, int]]:
    """Yield the steps (down, right) to the neighbours less than ``radius`` apart, one of each pair of opposite ones."""
    reach = int(np.ceil(radius)) - 1
    for down in range(min(reach, height - 1) + 1):
        for right in range(-min(reach, width - 1), min(reach, width - 1) + 1):
            if (down, right) > (0, 0) and down * down + right * right < radius * radius:
                yield down, right
