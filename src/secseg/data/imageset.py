"""One split of a data set: names, and where the files lie. Every reader gives this; everything downstream takes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np

from secseg.errors import UserError


@dataclass(frozen=True)
class ImageSet:
    """Names, photographs and masks of one split, with the classes that the masks speak of.

    Attributes:
        title: data set and split, as shown to people and written into results (``voc12aug/train_aug``).
        names: image ids, unique.
        images: photographs, in the order of ``names``.
        masks: masks (uint8, class numbers, 255 = void), in the order of ``names``, some of which may be absent; None
            where there are none.
        class_names: names of the classes; number 0 is the background.
        palette: (256, 3) uint8, RGB colour of each class number.
    """

    title: str
    names: tuple[str, ...]
    images: tuple[Path, ...]
    masks: tuple[Path, ...] | None
    class_names: tuple[str, ...]
    palette: np.ndarray

    def take(self, numbers: Sequence[int]) -> Self:
        """Return the images at these positions."""
        names, images = tuple(self.names[at] for at in numbers), tuple(self.images[at] for at in numbers)
        masks = None if self.masks is None else tuple(self.masks[at] for at in numbers)
        return replace(self, names=names, images=images, masks=masks)

    def with_masks(self) -> Self:
        """Return the images whose mask is there.

        Raises:
            UserError: if there are none.
        """
        there = [at for at, mask in enumerate(self.masks or ()) if mask.is_file()]
        if not there:
            raise UserError(f"{self.title} has no masks to score against. Choose a split that has.")
        return self.take(there)
