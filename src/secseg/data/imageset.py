"""One split of a data set: names, and where the files lie. Every reader gives this; everything downstream takes it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class ImageSet:
    """Names, photographs and masks of one split, with the classes that the masks speak of.

    Attributes:
        title: data set and split, as shown to people and written into results (``voc12aug/train_aug``).
        names: image ids, unique.
        images: photographs, in the order of ``names``.
        masks: masks (uint8, class numbers, 255 = void), in the order of ``names``; None where there are none.
        class_names: names of the classes; number 0 is the background.
        palette: (256, 3) uint8, RGB colour of each class number.
    """

    title: str
    names: tuple[str, ...]
    images: tuple[Path, ...]
    masks: tuple[Path, ...] | None
    class_names: tuple[str, ...]
    palette: np.ndarray
