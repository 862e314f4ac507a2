"""The LightningDataModule of the user's own data: which images are trained on, which are held out, and a summary."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from secseg.data.cues.cue_files import CueStore
from secseg.data.datamodule import ImageDataModule
from secseg.data.folder import open_folder
from secseg.data.folder_split import choose_split, describe_folder, oddities
from secseg.data.images import image_size, read_mask
from secseg.data.labels import Labels, check_same_labels
from secseg.data.splits import ImageSet
from secseg.utils.checks import check_choice, check_number, refuse
from secseg.utils.errors import UserError, listing
from secseg.utils.parallel import results_and_problems

log = logging.getLogger(__name__)


class FolderDataModule(ImageDataModule):
    """A folder of images with image-level labels (see ``open_folder``).

    Args:
        root: the folder.
        images, labels, mask_folder, classes, unlabelled: as for ``open_folder``.
        train_split, val_split, val_share: as for ``choose_split``.
        others: as ``ImageDataModule``.
    """

    title = "folder"

    def __init__(
        self,
        root: str | None,
        images: str | None = None,
        mask_folder: str | None = None,
        classes: Sequence[str] | None = None,
        unlabelled: str = "error",
        train_split: str = "train",
        val_split: str = "val",
        val_share: float = 0.1,
        **others: Any,
    ) -> None:
        if root is None:
            raise UserError("data=folder needs data.root=<folder of your images and labels>.")
        super().__init__(root, train_split, val_split, **others)
        self.images, self.mask_folder, self.classes, self.unlabelled = images, mask_folder, classes, unlabelled
        self.val_share = val_share
        self._check()

    def image_labels(self) -> Labels:
        return {name: self.data.labels[name] for name in self.train_images.names}

    def label_source(self) -> str:
        return self.data.source

    def protocol(self) -> dict[str, Any]:
        return {**super().protocol(), "labels": self.label_source()}

    def _trained_classes(self) -> None:
        return None  # ``oddities`` tells of those that no training image has, to those who make cues, too

    def _prepare(self) -> None:
        self.data = open_folder(self.root, self.images, self.labels, self.mask_folder, self.classes, self.unlabelled)
        self.class_names = self.data.class_names

    def _open_train(self, masks: bool, folder: Path | None) -> ImageSet:
        train, val = self._names(self.train_split), self._names(self.val_split)
        log.info("%s", describe_folder(self.data, train, val))
        for oddity in oddities(self.data, train, val):
            log.warning("%s", oddity)
        images = self._images(self.train_split, folder)
        if masks:
            _check_masks(images, required=True)
        return images

    def _open_val(self) -> ImageSet:
        images = self._images(self.val_split)
        _check_masks(images, required=False)
        return images

    def _open_cues(self) -> CueStore:
        store = super()._open_cues()
        check_same_labels(self.image_labels(), {name: store[name].labels for name in self.train_images.names})
        return store

    def _names(self, split: str) -> tuple[str, ...]:
        return choose_split(self.data, split, self.val_split, self.val_share)

    def _images(self, split: str, folder: Path | None = None) -> ImageSet:
        """Return a split with its masks, or those in ``folder``."""
        names = self._names(split)
        return ImageSet(
            title=f"{self.root.absolute().name}/{split}",
            names=names,
            images=tuple(self.data.images[name] for name in names),
            masks=tuple(self.data.masks[name] if folder is None else folder / f"{name}.png" for name in names),
            class_names=self.class_names,
            palette=self.palette,
        )

    def _check(self) -> None:
        problems = [
            *check_choice("data.unlabelled", self.unlabelled, ("error", "skip")),
            *check_number("data.val_share", self.val_share, above=0, below=1),
        ]
        classes = self.classes
        if classes is not None and (isinstance(classes, str) or not all(isinstance(name, str) for name in classes)):
            problems.append(f"data.classes={classes}: give a list of names, numbers and yes or no in quotes.")
        refuse(problems)


def _check_masks(images: ImageSet, required: bool) -> None:
    """Read the masks that are there, since they would be read for the first time after many steps.

    Raises:
        UserError: with all that do not fit their images; where they are required, with all that are absent.
    """
    assert images.masks is not None
    pairs = [pair for pair in zip(images.images, images.masks, strict=True) if required or pair[1].is_file()]

    def check(pair: tuple[Path, Path]) -> None:
        read_mask(pair[1], len(images.class_names), image_size(pair[0]))

    _, problems = results_and_problems(check, pairs)
    if problems:
        raise UserError(f"{len(problems)} masks of {images.title} cannot be used:\n{listing(problems)}")
