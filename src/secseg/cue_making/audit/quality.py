"""Cues against masks: how many locations are right."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from secseg.data.classes import VOID
from secseg.data.cues.cue_files import CueStore
from secseg.data.images import read_mask
from secseg.utils.errors import UserError, listing
from secseg.utils.parallel import results_and_problems
from secseg.utils.resizing import resize_mask


def count_right(store: CueStore, masks: Mapping[str, Path], classes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Count locations by image and class: three (len(masks), ``classes``) int64 arrays.

    Returns:
        Locations with a cue of the class where the mask is not void; those of them that lie on their class; locations
        of the class in the mask, which is brought to the cues' grid by :func:`secseg.utils.resizing.resize_mask`.

    Raises:
        UserError: with all masks that cannot be read.
    """

    def compare(name: str) -> np.ndarray:
        cues = store[name].map
        truth = resize_mask(read_mask(masks[name], classes), cues.shape)
        parts = (cues[truth != VOID], cues[cues == truth], truth.reshape(-1))
        return np.stack([np.bincount(part, minlength=256)[:classes] for part in parts])

    counts, broken = results_and_problems(compare, masks)
    if broken:
        raise UserError(f"{len(broken)} of {len(masks)} masks cannot be used:\n{listing(broken)}")
    known, right, true = np.array(counts, dtype=np.int64).swapaxes(0, 1)
    return known, right, true
