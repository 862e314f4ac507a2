"""Cues as in the paper: maps above a share of their maximum, and the least salient part of the image as background."""

from __future__ import annotations

import numpy as np

from secseg.cue_making.recipes.base import CueInputs, CueRecipe, background_cue, foreground_cues, join_cues
from secseg.utils.checks import check_choice, check_number, refuse

BACKGROUNDS = ("saliency", "maps")


class OfficialCues(CueRecipe):
    """The recipe of the paper; the defaults are those of the official cue file.

    Args:
        threshold: a class has a cue where its map is above this share of the map's maximum; in [0, 1).
        background: what is low where the background is: ``saliency`` of the background network, or ``maps``, the
            highest of all class activation maps, which needs no second network.
        share: share of the grid cells that become background; in [0, 1).
        median: side of the median filter over saliency or maps, odd; 1 for no filter.

    Raises:
        UserError: for values out of range.
    """

    def __init__(
        self, threshold: float = 0.2, background: str = "saliency", share: float = 0.1, median: int = 3
    ) -> None:
        problems = [
            *check_number("cues.threshold", threshold, 0, below=1),
            *check_choice("cues.background", background, BACKGROUNDS),
            *check_number("cues.share", share, 0, below=1),
        ]
        if type(median) is not int or median < 1 or median % 2 == 0:
            problems.append(f"cues.median={median}: give an odd whole number; 1 means no filter.")
        refuse(problems)
        self.threshold, self.background, self.share, self.median = threshold, background, share, median
        self.needs = ("saliency",) if background == "saliency" else ()

    def __call__(self, inputs: CueInputs) -> np.ndarray:
        values = inputs.saliency if self.background == "saliency" else inputs.highest
        assert values is not None
        foreground = foreground_cues(inputs.maps, inputs.labels, self.threshold)
        return join_cues(foreground, background_cue(values, self.share, self.median, zeros=inputs.shares))
