"""Maps refined by the CRF before they become cues, so that cues follow what the photograph shows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from secseg.crf import CRF
from secseg.data.transforms import crf_image, evaluation_input


def refine(
    maps: np.ndarray,
    labels: Sequence[int],
    photo: np.ndarray,
    input_size: int,
    crf: CRF,
    background_score: float = 0.0,
) -> np.ndarray:
    """Return what a CRF makes of an image's class activation maps: probabilities (K + 1, h, w) float32.

    The scores of a location are the maps of the image's classes, which are in the unit of the classifier's scores, and
    one constant for the background. Classes that the image has not take no part and have probability 0. The photograph
    is brought to the maps' grid as the CRF of training has it, by way of the network's input.

    Args:
        maps: (K, h, w); class c has the map c - 1.
        labels: class numbers of the image, from 1 to K; may be none.
        photo: (H, W, 3) uint8 RGB.
        input_size: side of the network's square input, pixels.
        crf: for the grid of the maps (see ``build_stage_crf``).
        background_score: of each location.
    """
    grid = (maps.shape[1], maps.shape[2])
    own = torch.from_numpy(maps[[number - 1 for number in labels]].astype(np.float32))
    logits = torch.cat([torch.full((1, *grid), background_score, dtype=torch.float32), own])
    image = crf_image(evaluation_input(photo, input_size)[None], grid)
    with torch.no_grad():
        own_probs = crf(logits[None], image)[0].numpy()
    probs = np.zeros((len(maps) + 1, *grid), dtype=np.float32)
    probs[[0, *labels]] = own_probs
    return probs
