"""Warnings about predicted masks that were scored."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from secseg.inference.mask_warnings import removed_by_crf, too_large, unpredicted


def score_warnings(
    confusions: Mapping[str, np.ndarray],
    class_names: Sequence[str],
    images: int,
    scored: Collection[str] | None = None,
    trained: Collection[int] | None = None,
    pixels: np.ndarray | None = None,
    labelled: Collection[int] = (),
) -> list[str]:
    """Return a line for each scored class that is never predicted or too large, or that the CRF removes.

    Args:
        confusions: pixels (C, C) by (truth, prediction) of the images with a mask, by variant; ``without_crf`` first.
            May be empty.
        class_names: C names, background first.
        images: number of the predicted images.
        scored: names of the classes that are reported; None for all.
        trained: numbers of the classes that training images have; None if unknown. Others cannot be predicted.
        pixels: (2, C) predicted pixels in all images, as ``count_pixels``; None for those in ``confusions``.
        labelled: numbers of the classes that the images have by their labels.
    """
    counted = np.zeros((2, len(class_names)), dtype=np.int64)
    for row, confusion in enumerate(confusions.values()):
        counted[row] = confusion.sum(0)
    true = next((confusion.sum(1) for confusion in confusions.values()), None)
    everywhere = counted if pixels is None else pixels
    reported = {
        number
        for number, name in list(enumerate(class_names))[1:]
        if (scored is None or name in scored) and (trained is None or number in trained)
    }
    seen = set(labelled) | (set() if true is None else set(np.flatnonzero(true).tolist()))
    return [
        *unpredicted(everywhere[0], class_names, seen & reported, images),
        *removed_by_crf(everywhere if true is None else counted, class_names, reported, true),
        *(() if true is None else too_large(counted[len(confusions) - 1], true, class_names, reported)),
    ]
