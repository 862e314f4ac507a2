"""Cues by two thresholds on maps in 0..1, as IRN takes its confident pixels: for maps that another program made."""

from __future__ import annotations

import numpy as np

from secseg.cue_making.recipes.base import CueInputs, CueRecipe, join_cues, scaled_maps
from secseg.utils.checks import check_number, refuse


class ThresholdCues(CueRecipe):
    """Takes the class whose map is highest, if it is high enough, and the background where all maps are low.

    Maps of a classifier are first brought to 0..1 by ``scaled_maps``. Where the highest maps are equal, the class with
    the smaller region wins, as in ``join_cues``.

    Args:
        threshold: a class has a cue where its map is the highest one and above this; in [0, 1).
        background: the background has a cue where the highest map, or the saliency if there is one, is at most this; in
            [0, ``threshold``] or, with saliency, [0, 1).

    Raises:
        UserError: for values out of range.

    Source: IRN's ``conf_fg_thres`` and ``conf_bg_thres``, without its CRF.
    """

    def __init__(self, threshold: float = 0.3, background: float = 0.05) -> None:
        refuse(
            [
                *check_number("cues.threshold", threshold, 0, below=1),
                *check_number("cues.background", background, 0, below=1),
            ]
        )
        self.threshold, self.background = threshold, background

    def __call__(self, inputs: CueInputs) -> np.ndarray:
        maps = inputs.maps if inputs.shares else scaled_maps(inputs.maps)
        highest = maps.max(0)
        salient = highest if inputs.saliency is None or not inputs.shares else inputs.saliency
        return join_cues((maps > self.threshold) & (maps == highest), salient <= self.background)
