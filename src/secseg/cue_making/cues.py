"""Maps to localization cues, as pure functions; the defaults are the official ones (section 5 of the method's page)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter, median_filter

from secseg.data.classes import VOID
from secseg.utils.checks import check_choice, check_flag, check_number, refuse

CONFLICTS = ("smaller", "stronger")
BACKGROUNDS = ("saliency", "maps")


@dataclass(frozen=True)
class CueSettings:
    """How maps become cues: the keys of ``conf/cues`` that are not about the maps themselves.

    Attributes:
        threshold: a location is a cue where the class's map is above this share of its maximum; in [0, 1).
        min_score: least probability, by the classifier, of a class that gets cues; in [0, 1].
        conflict: which class a location of several keeps: ``smaller`` or ``stronger`` (see ``join_cues``).
        refine: refine the maps with the CRF; then cues are probabilities above ``refined_threshold``, in [0, 1).
        least: of the refined cues, the share of the locations that each class of the image has at least; in [0, 1).
        background_score: score of the background at each location, for the CRF.
        background: what tells the background: ``saliency`` of a background network, or ``maps``, the highest of all
            classes' maps, those of absent classes too.
        share: of the locations that are background; in [0, 1).
        median: side of the median filter before it, odd; 1 for none.
        smooth: standard deviation of the Gaussian filter before that, locations; 0 for none.

    Raises:
        UserError: for values out of range, all of them told.
    """

    threshold: float = 0.2
    min_score: float = 0.0
    conflict: str = "smaller"
    refine: bool = False
    refined_threshold: float = 0.5
    least: float = 0.0
    background_score: float = 0.0
    background: str = "saliency"
    share: float = 0.1
    median: int = 3
    smooth: float = 0.0

    def __post_init__(self) -> None:
        problems = [
            problem
            for key in ("threshold", "refined_threshold", "least", "share")
            for problem in check_number(f"cues.{key}", getattr(self, key), 0, below=1)
        ]
        problems += [
            *check_number("cues.min_score", self.min_score, 0, most=1),
            *check_choice("cues.conflict", self.conflict, CONFLICTS),
            *check_choice("cues.background", self.background, BACKGROUNDS),
            *check_flag("cues.refine", self.refine),
            *check_number("cues.background_score", self.background_score),
            *check_number("cues.smooth", self.smooth, 0),
        ]
        if not (isinstance(self.median, int) and self.median > 0 and self.median % 2):
            problems.append(f"cues.median={self.median}: give an odd whole number; 1 for no filter.")
        refuse(problems)


def foreground_cues(maps: np.ndarray, labels: Sequence[int], threshold: float = 0.2) -> np.ndarray:
    """Return where each class of an image has a cue: where its map is above ``threshold`` times its maximum.

    A map without a value above 0 gives no cue: nothing in the image speaks for the class.

    Shape:
        maps: (K, h, w), of any sign; those of classes that the image has not are not read.
        labels: class numbers from 1 to K; class c has the map c - 1.
        returns: (K, h, w) bool.

    Source: section 5 of the method's page (0.2).
    """
    cues = np.zeros(maps.shape, dtype=bool)
    for number in labels:
        values = maps[number - 1].astype(np.float64)
        cues[number - 1] = (values > threshold * values.max()) & (values.max() > 0)
    return cues


def refined_cues(
    probs: np.ndarray, maps: np.ndarray, labels: Sequence[int], threshold: float = 0.5, least: float = 0.0
) -> np.ndarray:
    """Return where each class of an image has a cue: where it is the most probable of all and above ``threshold``.

    A class of which that leaves less than ``least`` of the locations, or nothing, gets those where its map is highest
    and no other class has a cue, up to that number and one at least: the image has it somewhere, and no label goes
    without a cue in the official file either.

    Args:
        probs: (K + 1, h, w), background first.
        maps: (K, h, w), before they were refined.
        labels: class numbers from 1 to K; others have no cue.
        threshold: least probability.
        least: share of the locations, in [0, 1).

    Returns:
        (K, h, w) bool; classes overlap only where the image is too small for all.
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


def background_cue(values: np.ndarray, share: float = 0.1, median: int = 3, smooth: float = 0.0) -> np.ndarray:
    """Return where the background has a cue: at the least of ``values``, strictly below the one at the rank of the
    share: ``sorted[168]`` of 41 x 41 locations. Where many are equal, there may be fewer cues, or none.

    Args:
        values: (h, w), saliency or activation.
        share: of the locations, in [0, 1).
        median: side of a median filter before, odd.
        smooth: standard deviation of a Gaussian filter before that, locations.

    Returns:
        (h, w) bool.

    Both filters repeat the values at the border (SciPy's mode ``nearest``); for a median over 3 x 3 that is SciPy's
    default ``reflect``, too.

    Source: section 5 of the method's page; the Gaussian filter is ours.
    """
    values = values.astype(np.float64)
    if smooth > 0:
        values = gaussian_filter(values, smooth, mode="nearest")
    if median > 1:
        values = median_filter(values, median, mode="nearest")
    return values < np.sort(values, axis=None)[int(share * values.size)]


def join_cues(
    foreground: np.ndarray, background: np.ndarray, conflict: str = "smaller", maps: np.ndarray | None = None
) -> np.ndarray:
    """Return one class a location: (h, w) uint8, 0 = background, 255 = no cue. Objects beat background.

    Args:
        foreground: (K, h, w) bool, cues of the classes 1 to K.
        background: (h, w) bool.
        conflict: of several classes, ``smaller`` keeps the one with the smaller region (its locations before any is
            taken away), ``stronger`` the one whose map is higher, divided by its maximum; where that is equal, the one
            with the smaller number.
        maps: (K, h, w), for ``stronger`` alone.

    Source: section 5 of the method's page: the official file has background lose, and one port lets the smaller region
    win. ``official_cues`` decides in the same way where it meets two classes.
    """
    cues = np.where(background, 0, VOID).astype(np.uint8)
    present = np.flatnonzero(foreground.any((1, 2)))
    if conflict == "stronger" and maps is not None and len(present):
        tops = np.maximum(maps[present].max((1, 2), keepdims=True), np.finfo(np.float64).tiny)
        strength = np.where(foreground[present], maps[present] / tops, -np.inf)
        return np.where(foreground.any(0), present[strength.argmax(0)] + 1, cues).astype(np.uint8)
    for at in sorted(present.tolist(), key=lambda at: (-foreground[at].sum(), -at)):
        cues[foreground[at]] = at + 1  # the last one wins
    return cues


def sure_classes(scores: np.ndarray, labels: Sequence[int], min_score: float = 0.0) -> tuple[int, ...]:
    """Return the classes of an image that the classifier sees in it: those of a probability of at least ``min_score``.

    The labels are right all the same, but where the classifier does not see a class, its map is no guide to it. The
    most probable one is kept in any case, so that every image with labels has a class to have cues of.

    Shape:
        scores: (K,), before the sigmoid.
        labels: class numbers from 1 to K.
    """
    if not labels:
        return ()
    best = max(labels, key=lambda number: (scores[number - 1], -number))
    probs = 0.5 * (1 + np.tanh(0.5 * scores.astype(np.float64)))  # the sigmoid, without overflow
    return tuple(number for number in labels if number == best or probs[number - 1] >= min_score)


def make_cue_map(
    maps: np.ndarray,
    saliency: np.ndarray,
    labels: Sequence[int],
    settings: CueSettings,
    scores: np.ndarray | None = None,
    probs: np.ndarray | None = None,
) -> np.ndarray:
    """Return the cues of one image: (h, w) uint8, 0 = background, 255 = no cue.

    An image without labels is background everywhere: that is what having none says.

    Args:
        maps: (K, h, w) class activation maps.
        saliency: (h, w), what tells objects from background (see ``settings.background``).
        labels: class numbers of the image, from 1 to K.
        settings: how.
        scores: (K,) of the image, where ``settings.min_score`` is above 0.
        probs: (K + 1, h, w) of ``refine``, where ``settings.refine`` is set.
    """
    if not labels:
        return np.zeros(maps.shape[1:], dtype=np.uint8)
    seen = tuple(labels) if scores is None else sure_classes(scores, labels, settings.min_score)
    if settings.refine:
        assert probs is not None
        foreground = refined_cues(probs, maps, seen, settings.refined_threshold, settings.least)
        maps = probs[1:]
    else:
        foreground = foreground_cues(maps, seen, settings.threshold)
    background = background_cue(saliency, settings.share, settings.median, settings.smooth)
    return join_cues(foreground, background, settings.conflict, maps)
