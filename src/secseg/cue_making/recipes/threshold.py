"""Cues by two thresholds on maps in 0..1, as IRN takes its confident pixels, and AFA after its refinement."""

from __future__ import annotations

import numpy as np

from secseg.cue_making.recipes.base import CueInputs, CueRecipe, confident_cues, join_cues, scaled_maps
from secseg.utils.checks import check_flag, check_number, refuse


class ThresholdCues(CueRecipe):
    """Takes the class whose map is highest, if it is high enough, and the background where all maps are low.

    Maps of a classifier are first brought to 0..1 by ``scaled_maps``. Where the highest maps are equal, the class with
    the smaller region wins, as in ``join_cues``.

    Args:
        threshold: a class has a cue where its map is the highest one and above this; in [0, 1).
        background: the background has a cue where the highest map, or the saliency if there is one, is at most this; in
            [0, ``threshold``] or, with saliency, [0, 1).
        refine: refine the maps with the CRF of ``crf.train`` before, twice: with the one and with the other threshold
            as the value of the background in each grid cell. Classes are where one is the most probable the first time,
            the background is where it is the most probable the second time. The saliency is not read. With
            ``crf=par``, a threshold of 0.7 and a background of 0.25, this is the refinement of AFA and ToCo.

    Raises:
        UserError: for values out of range.

    Source: IRN's ``conf_fg_thres`` and ``conf_bg_thres``; AFA's two values of the background (Ru et al., CVPR 2022).
    AFA refines the softmax of the maps. Ours are divided by their sum, so that they are probabilities for each CRF.
    """

    def __init__(self, threshold: float = 0.3, background: float = 0.05, refine: bool = False) -> None:
        refuse(
            [
                *check_number("cues.threshold", threshold, 0, below=1),
                *check_number("cues.background", background, 0, below=1),
                *check_flag("cues.refine", refine),
            ]
        )
        self.threshold, self.background, self.refine = threshold, background, refine
        self.needs = ("crf",) if refine else ()

    def __call__(self, inputs: CueInputs) -> np.ndarray:
        maps = inputs.maps if inputs.shares else scaled_maps(inputs.maps)
        if self.refine:
            high, low = (most_probable(inputs, maps, value) for value in (self.threshold, self.background))
            return join_cues(np.arange(1, len(maps) + 1)[:, None, None] == high, low == 0)
        return confident_cues(maps, self.threshold, self.background, inputs.saliency if inputs.shares else None)


def most_probable(inputs: CueInputs, maps: np.ndarray, background: float) -> np.ndarray:
    """Return the most probable class (h, w) in each grid cell, 0 for the background, after the CRF.

    Its input are the logarithms of the maps (K, h, w) of the image's classes and of ``background``, all at least 0.01.
    """
    assert inputs.crf is not None
    own = maps[[number - 1 for number in inputs.labels]]
    values = np.concatenate([np.full((1, *own.shape[1:]), background), own]).clip(min=0.01)
    probs = inputs.crf(np.log(values).astype(np.float32), inputs.read_image())
    return np.array([0, *inputs.labels])[probs.argmax(0)]
