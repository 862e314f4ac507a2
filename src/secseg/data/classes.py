"""The classes of PASCAL VOC and the colours of its masks."""

from __future__ import annotations

import numpy as np

VOC_CLASSES: tuple[str, ...] = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip

VOID = 255
"""Value of a pixel without a class: void in a mask, no cue in a cue map."""


def voc_palette() -> np.ndarray:
    """Return the colour map of VOC: (256, 3) uint8, the RGB colour of each class number.

    Source: the VOC development kit. The bits of the class number go to red, green and blue in turn. Each colour is
    filled from its highest bit down.
    """
    bits = np.arange(256)[:, None, None] >> np.arange(9).reshape(3, 3) & 1  # (number, level, channel)
    return (bits << np.array([[7], [6], [5]])).sum(axis=1).astype(np.uint8)
