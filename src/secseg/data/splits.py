"""One split of a data set: names, and where the files lie. Every reader gives this; everything downstream takes it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np

from secseg.utils.errors import UserError, listing


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

    def triples(self) -> list[tuple[str, Path, Path]]:
        """Return name, image and mask of each image of a split with masks."""
        assert self.masks is not None
        return list(zip(self.names, self.images, self.masks, strict=True))

    def with_masks(self) -> Self:
        """Return the images whose mask is there.

        Raises:
            UserError: if there are none.
        """
        there = [at for at, mask in enumerate(self.masks or ()) if mask.is_file()]
        if not there:
            raise UserError(f"{self.title} has no masks to score against. Choose a split that has.")
        return self.take(there)


def split_warnings(
    train: ImageSet, val: ImageSet, trained: Collection[int] | None, scored: Collection[str] | None
) -> list[str]:
    """Return what makes scores on ``val`` say less than they seem to, a message each.

    Args:
        train, val: the two splits.
        trained: numbers of the classes that training images have; None where that is not known.
        scored: names of the classes that are scored; None for all.
    """
    found = []
    unseen = [
        name
        for number, name in enumerate(val.class_names)
        if number and trained is not None and number not in trained and (scored is None or name in scored)
    ]
    if unseen:
        found.append(f"{len(unseen)} classes that are scored have no training image:\n{listing(unseen)}")
    if both := sorted(set(train.names) & set(val.names)):
        found.append(
            f"{len(both)} of {len(val.names)} validation images are training images, too, so that scores say little of "
            f"new images:\n{listing(both)}"
        )
    return found
