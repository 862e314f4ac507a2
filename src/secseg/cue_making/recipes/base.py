"""What a cue recipe is, and the pure functions that recipes share."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter, median_filter

from secseg.data.cues.store import join_cues

__all__ = [
    "CueInputs",
    "CueRecipe",
    "background_cue",
    "confident_cues",
    "foreground_cues",
    "join_cues",
    "log_odds",
    "scaled_maps",
]


@dataclass(frozen=True)
class CueInputs:
    """What a recipe can read of one image. K is the number of classes without the background, (h, w) the grid.

    Attributes:
        labels: class numbers of the image, from 1 to K, at least one.
        read_image: returns the image, (H, W, 3) uint8 RGB. Reading takes time, so call it once, and only if needed.
        maps: (K, h, w) float32, class activation maps in the unit of the classifier's scores; see ``shares``. Class c
            has the map c - 1. Maps of classes that are not in ``labels`` are 0.
        scores: (K,) float32, the classifier's scores before the sigmoid. Those of other classes are 0.
        highest: (h, w) float32, the highest of all K maps, those of other classes included.
        saliency: (h, w) float32, at least 0, from the background network; None unless the recipe needs ``saliency``.
            With ``shares``, 1 minus the probability of the background; None unless the files have it.
        crf: the CRF of ``crf.train``: scores (C, h, w) and the image to probabilities (C, h, w) float32; None unless
            the recipe needs ``crf``.
        shares: whether the maps are those of another program, which are in 0..1 (see ``log_odds``).
        read_features: returns the features (c, h, w) float32 of the classifier's trunk on the grid of the maps; None
            unless the recipe needs ``features``.
    """

    labels: tuple[int, ...]
    read_image: Callable[[], np.ndarray]
    maps: np.ndarray
    scores: np.ndarray
    highest: np.ndarray
    saliency: np.ndarray | None = None
    crf: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None
    shares: bool = False
    read_features: Callable[[], np.ndarray] | None = None


class CueRecipe:
    """Turns the maps of one image into its cues.

    A subclass takes its settings as constructor arguments. ``conf/cues/<option>.yaml`` names it by ``_target_``.

    Attributes:
        needs: the inputs that cost extra work and that the recipe reads: ``saliency`` (trains a background network),
            ``crf`` (builds the CRF of ``crf.train``), ``features`` (reads or computes those of the classifier's trunk).
    """

    needs: Collection[str] = ()

    def __call__(self, inputs: CueInputs) -> np.ndarray:
        """Return the cue map (h, w) uint8: 0 = background, the class numbers of the image, 255 = no cue.

        Several threads call it at once. It is not called for images without labels: all of such an image is background.
        """
        raise NotImplementedError


def log_odds(shares: np.ndarray) -> np.ndarray:
    """Bring maps in 0..1, of any shape, into the unit of a classifier's scores: log(m / (1 - m)), for m in 0.01..0.99.

    The probability that belongs to a score of -1 is 0.27, so a background score of -1 is a threshold of 0.27 for maps.
    """
    clipped = np.clip(shares, 0.01, 0.99)
    return np.log(clipped / (1 - clipped))


def scaled_maps(maps: np.ndarray) -> np.ndarray:
    """Return maps (K, h, w) of any sign in 0..1: negative values become 0, and each map is divided by its maximum."""
    positive = np.maximum(maps, 0)
    highest = positive.max((1, 2), keepdims=True, initial=0)
    return positive / np.where(highest > 0, highest, 1)


def confident_cues(
    maps: np.ndarray, threshold: float, background: float, saliency: np.ndarray | None = None
) -> np.ndarray:
    """Return the cue map (h, w) of maps (K, h, w) in 0..1: the class whose map is the highest and above ``threshold``,
    the background where the highest map, or the ``saliency`` if given, is at most ``background``, and else no cue.

    Where the highest maps are equal, the class with the smaller region wins, as in ``join_cues``.
    """
    highest = maps.max(0)
    salient = highest if saliency is None else saliency
    return join_cues((maps > threshold) & (maps == highest), salient <= background)


def foreground_cues(maps: np.ndarray, labels: Sequence[int], threshold: float = 0.2) -> np.ndarray:
    """Return where each class of an image has a cue: where its map is above ``threshold`` times its maximum.

    A map without a value above 0 gives no cue. Maps (K, h, w) of any sign give (K, h, w) bool. Class c, from 1 to K,
    has the map c - 1; maps of classes that are not in ``labels`` are not read.

    Source: the paper (0.2).
    """
    cues = np.zeros(maps.shape, dtype=bool)
    for number in labels:
        values = maps[number - 1].astype(np.float64)
        cues[number - 1] = (values > threshold * values.max()) & (values.max() > 0)
    return cues


def background_cue(
    values: np.ndarray, share: float = 0.1, median: int = 3, smooth: float = 0.0, zeros: bool = False
) -> np.ndarray:
    """Return where the background has a cue, (h, w) bool: where ``values`` are lowest.

    A grid cell has a cue if its value is strictly below the value at the rank of the share, which is ``sorted[168]``
    of 41 x 41 cells. Where many values are equal, fewer cells have a cue, or none.

    Args:
        values: (h, w), saliency or activation.
        share: of the grid cells, in [0, 1).
        median: side of a median filter that is applied before, odd.
        smooth: standard deviation, in cells, of a Gaussian filter that is applied before the median filter.
        zeros: whether all cells with the value 0, after the filters, have a cue, too. Maps of other programs are 0 at
            many pixels, and then no cell is strictly below the value at the rank.

    Both filters repeat the values at the border (SciPy's mode ``nearest``). For a median over 3 x 3, this equals
    SciPy's default mode ``reflect``.

    Source: the paper, and the counts of cells in the official cue file; the Gaussian filter is ours.
    """
    values = values.astype(np.float64)
    if smooth > 0:
        values = gaussian_filter(values, smooth, mode="nearest")
    if median > 1:
        values = median_filter(values, median, mode="nearest")
    lowest = values < np.sort(values, axis=None)[int(share * values.size)]
    return lowest | (values == 0) if zeros else lowest
