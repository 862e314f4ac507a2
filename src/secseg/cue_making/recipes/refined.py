"""Cues from maps that the CRF has refined, so that cues follow the edges in the image. One network, no saliency."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from secseg.cue_making.recipes.base import CueInputs, CueRecipe, background_cue, join_cues, log_odds
from secseg.utils.checks import check_number, refuse


class RefinedCues(CueRecipe):
    """Refines the maps with the CRF, and takes the most probable class of each grid cell; the recipe is ours.

    The background is where the highest of all maps is lowest, after smoothing.

    Args:
        threshold: a class has a cue where it is the most probable one and its probability is above this; in [0, 1).
        background_score: score of the background at each grid cell, next to the maps, as input of the CRF.
        least: each class of the image has cues in at least this share of the grid cells; in [0, 1).
        min_score: least probability, by the classifier, of a class that gets cues; in [0, 1].
        share: share of the grid cells that become background; in [0, 1).
        smooth: standard deviation, in cells, of the Gaussian filter over the highest map; 0 for no filter.

    Raises:
        UserError: for values out of range.
    """

    needs = ("crf",)

    def __init__(
        self,
        threshold: float = 0.5,
        background_score: float = -1.0,
        least: float = 0.01,
        min_score: float = 0.0,
        share: float = 0.1,
        smooth: float = 4.0,
    ) -> None:
        refuse(
            [
                *check_number("cues.threshold", threshold, 0, below=1),
                *check_number("cues.background_score", background_score),
                *check_number("cues.least", least, 0, below=1),
                *check_number("cues.min_score", min_score, 0, most=1),
                *check_number("cues.share", share, 0, below=1),
                *check_number("cues.smooth", smooth, 0),
            ]
        )
        self.threshold, self.background_score, self.least = threshold, background_score, least
        self.min_score, self.share, self.smooth = min_score, share, smooth

    def __call__(self, inputs: CueInputs) -> np.ndarray:
        probs = refine(inputs, self.background_score)
        seen = seen_classes(inputs.scores, inputs.labels, self.min_score)
        foreground = refined_cues(probs, inputs.maps, seen, self.threshold, self.least)
        background = background_cue(inputs.highest, self.share, 1, self.smooth, zeros=inputs.shares)
        return join_cues(foreground, background)


def refine(inputs: CueInputs, background_score: float = 0.0) -> np.ndarray:
    """Return what the CRF makes of the class activation maps of an image: probabilities (K + 1, h, w) float32.

    The CRF's input at a grid cell are the maps of the image's classes and, for the background, ``background_score`` in
    the unit of the maps. Other classes take no part and have the probability 0. Maps of another program, in 0..1, are
    brought into the unit of scores by ``log_odds``.
    """
    assert inputs.crf is not None
    maps = inputs.maps[[number - 1 for number in inputs.labels]]
    maps = log_odds(maps) if inputs.shares else maps
    background = np.full((1, *maps.shape[1:]), background_score, dtype=np.float32)
    probs = np.zeros((len(inputs.maps) + 1, *maps.shape[1:]), dtype=np.float32)
    probs[[0, *inputs.labels]] = inputs.crf(np.concatenate([background, maps]), inputs.read_image())
    return probs


def refined_cues(
    probs: np.ndarray, maps: np.ndarray, labels: Sequence[int], threshold: float = 0.5, least: float = 0.0
) -> np.ndarray:
    """Return where each class of an image has a cue: where it is the most probable one and above ``threshold``.

    A class may be left with fewer grid cells than the share ``least``, or with none. It then also gets the cells where
    its map is highest and no other class has a cue, up to that share, and at least one cell: each class of the image is
    somewhere in it, and in the official file, too, each label has a cue.

    Args:
        probs: (K + 1, h, w), background first.
        maps: (K, h, w), before they were refined.
        labels: class numbers from 1 to K; other classes have no cue.
        threshold: least probability.
        least: share of the grid cells, in [0, 1).

    Returns:
        (K, h, w) bool. Classes overlap only where the grid is too small for all of them.
    """
    most = probs.argmax(0)
    cues = np.zeros(maps.shape, dtype=bool)
    for number in labels:
        cues[number - 1] = (most == number) & (probs[number] > threshold)
    for number in labels:
        lacking = max(1, int(least * most.size)) - int(cues[number - 1].sum())
        if lacking > 0:
            free = np.where(cues.any(0), -np.inf, maps[number - 1])
            highest = np.argsort(-free, axis=None, kind="stable")[:lacking]
            cues[number - 1].flat[highest] = True
    return cues


def seen_classes(scores: np.ndarray, labels: Sequence[int], min_score: float = 0.0) -> tuple[int, ...]:
    """Return the classes of an image that the classifier recognises: of a probability of at least ``min_score``.

    Labels are right even where the classifier does not recognise a class, but then the map of that class is not
    reliable. The most probable class is always returned, so that each image with labels has cues.

    Shape:
        scores: (K,), before the sigmoid.
        labels: class numbers from 1 to K, at least one.
    """
    best = max(labels, key=lambda number: (scores[number - 1], -number))
    probs = 0.5 * (1 + np.tanh(0.5 * scores.astype(np.float64)))  # the sigmoid, without overflow
    return tuple(number for number in labels if number == best or probs[number - 1] >= min_score)
