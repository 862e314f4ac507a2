"""A split as a list of files, from whichever data set."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice, zip_longest
from pathlib import Path
from typing import Self

import numpy as np

from secseg.data.mask_values import MaskValues, own_masks
from secseg.data.masks import Mask, decode_mask
from secseg.utils.errors import UserError, listing
from secseg.utils.text import count, part_of


@dataclass(frozen=True)
class ImageSet:
    """Names, images and masks of one split.

    Attributes:
        title: data set and split, for messages and results (``VOC2012 (split train_aug)``), which is no path.
        names: image ids, unique.
        images: image files, in the order of ``names``.
        masks: mask files in the order of ``names``, some of which may be missing (uint8, class numbers, 255 = void);
            None if the data set has no masks.
        class_names: names of the classes; number 0 is the background.
        palette: (256, 3) uint8, RGB colour of each class number.
        mask_values: how the pixels of masks become class numbers.
    """

    title: str
    names: tuple[str, ...]
    images: tuple[Path, ...]
    masks: tuple[Path, ...] | None
    class_names: tuple[str, ...]
    palette: np.ndarray
    mask_values: MaskValues = "auto"

    def take(self, numbers: Sequence[int]) -> Self:
        """Return the images at these positions."""
        names, images = tuple(self.names[at] for at in numbers), tuple(self.images[at] for at in numbers)
        masks = None if self.masks is None else tuple(self.masks[at] for at in numbers)
        return replace(self, names=names, images=images, masks=masks)

    def triples(self) -> list[tuple[str, Path, Path]]:
        """Return name, image and mask of each image of a split with masks."""
        assert self.masks is not None
        return list(zip(self.names, self.images, self.masks, strict=True))

    def read_mask(self, path: Path, size: tuple[int, int] | None = None) -> np.ndarray:
        """Read a mask of this data set; arguments and errors as for ``masks.read_mask``."""
        return self.decode_mask(path, size).numbers

    def decode_mask(self, path: Path, size: tuple[int, int] | None = None) -> Mask:
        """Read a mask of this data set, and return how it was read, too."""
        return decode_mask(path, len(self.class_names), size, self.mask_values, self.palette)

    def for_predictions(self) -> Self:
        """Return this split for masks of class numbers, as predictions are saved."""
        return replace(self, mask_values=own_masks(self.mask_values))

    def mask_folders(self) -> str | None:
        """Return the names of the folders of the masks that exist, for the protocol; None without any."""
        pairs = zip(self.names, self.masks or (), strict=False)
        folders = {path.parents[name.count("/")].name for name, path in pairs if path.is_file()}
        return ", ".join(sorted(folders)) or None

    def with_masks(self) -> Self:
        """Return the images whose mask exists; without any, raise a UserError."""
        found = [at for at, mask in enumerate(self.masks or ()) if mask.is_file()]
        if not found:
            raise UserError(f"{self.title} has no masks to score against. Choose a split that has masks.")
        return self.take(found)


def choose_some(names: Sequence[str], count: int, labels: Mapping[str, Sequence[int]] | None = None) -> tuple[str, ...]:
    """Return at most ``count`` of the names, in their order. The first names may all be of one class, so the choice is
    by a hash of the name; with ``labels``, the classes take turns, and images of background alone count as a class.

    The choice depends only on the arguments: make_cues and the training choose the same images.

    Args:
        names: of images, unique.
        count: number of images, at least 1.
        labels: foreground classes of each image; None if they are not known.
    """
    queues: dict[int, list[str]] = {}
    for name in sorted(names, key=name_rank):
        for number in (labels[name] or (0,)) if labels is not None else (0,):
            queues.setdefault(number, []).append(name)
    turns = (name for turn in zip_longest(*(queues[number] for number in sorted(queues))) for name in turn)
    chosen = set(islice(dict.fromkeys(name for name in turns if name is not None), count))
    return tuple(name for name in names if name in chosen)


def name_rank(name: str) -> float:
    """Return a number in [0, 1) that depends only on the name of an image and looks random."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) / 2**64


TUNED_MARK = " †"
"""Marks figures on the split on which settings were chosen."""


def tuned_note(split: object) -> str:
    """Return the line under a table with ``TUNED_MARK``."""
    return f"{TUNED_MARK.strip()} Settings were chosen on the same split ({split}), so these figures are too high."


def is_tuned_split(tuned_on: object, split: object) -> bool:
    """Return whether figures on ``split`` are figures on the split on which settings were chosen: ``tune`` and the list
    ``lists/tune.txt`` are one split."""
    return tuned_on is not None and Path(str(tuned_on)).stem == Path(str(split)).stem


def split_warnings(
    train: ImageSet, val: ImageSet, trained: Collection[int] | None, scored: Collection[str] | None
) -> list[str]:
    """Return a warning for each reason why scores on ``val`` may mislead.

    Args:
        train, val: the two splits.
        trained: numbers of the classes that the training images have; None if unknown.
        scored: names of the scored classes; None for all.
    """
    warnings = []
    untrained = (
        () if trained is None else [number for number in range(1, len(val.class_names)) if number not in trained]
    )
    unseen = [val.class_names[number] for number in untrained if scored is None or val.class_names[number] in scored]
    if unseen:
        warnings.append(
            f"{count(len(unseen), 'scored class has', 'scored classes have')} no training image:\n{listing(unseen)}"
        )
    if both := sorted(set(train.names) & set(val.names)):
        warnings.append(
            f"{part_of(len(both), len(val.names), 'validation image', 'is', 'are')} also in the training split. The "
            f"scores say little about new images:\n{listing(both)}"
        )
    return warnings
