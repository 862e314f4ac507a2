"""The LightningDataModule of the user's own data: training and validation images, a summary, and warnings."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from secseg.data.copies import copy_warnings
from secseg.data.datamodule import ImageDataModule
from secseg.data.folder import FolderData, open_folder
from secseg.data.id_list import read_ids
from secseg.data.images import image_name, mask_file, remark
from secseg.data.label_table import SPLIT_WORDS
from secseg.data.label_warnings import label_warnings, lacks_background
from secseg.data.labels import Labels
from secseg.data.mask_checks import check_masks
from secseg.data.some_masks import SOME
from secseg.data.splits import ImageSet, choose_some, name_rank
from secseg.data.walk import not_read_warning
from secseg.utils.checks import check_choice, check_number, refuse
from secseg.utils.console import table
from secseg.utils.errors import UserError, listing, nearest
from secseg.utils.text import count, nfc

log = logging.getLogger(__name__)

MOST_LISTED = 40
"""Most classes that a summary lists."""


class FolderDataModule(ImageDataModule):
    """A folder of images with image-level labels (see ``open_folder``).

    Args:
        root: the folder.
        images, labels, mask_folder, classes, unlabelled: as for ``open_folder``.
        train_split, val_split, val_share: as for ``choose_split``.
        others: as for ``ImageDataModule``.
    """

    title = "folder"

    def __init__(
        self,
        root: str | None,
        images: str | None = None,
        mask_folder: str | None = None,
        classes: Sequence[str] | None = None,
        unlabelled: str = "error",
        val_share: float = 0.1,
        **others: Any,
    ) -> None:
        if root is None:
            raise UserError("data=folder needs data.root=<folder of your images and labels>.")
        super().__init__(root, **others)
        self.images, self.mask_folder, self.classes, self.unlabelled = images, mask_folder, classes, unlabelled
        self.val_share = val_share
        problems = [
            *check_choice("data.unlabelled", unlabelled, ("error", "skip")),
            *check_number("data.val_share", val_share, above=0, below=1),
        ]
        if classes is not None and (isinstance(classes, str) or not all(isinstance(name, str) for name in classes)):
            problems.append(f"data.classes={classes}: give a list of names; put numbers, yes and no in quotes.")
        refuse(problems)

    def prepare(self) -> None:
        places = (self.images, self.labels, self.mask_folder)
        self.data = open_folder(self.root, *places, self.classes, self.unlabelled, self.table_options)
        self.class_names = self.data.class_names

    def open_train_split(self, masks: bool, folder: Path | None) -> ImageSet:
        train, val = self._names(self.train_split), self._names(self.val_split)
        log.info("%s", describe_folder(self.data, train, val))
        self.warn(folder_warnings(self.data, train, val))
        images = self._image_set(self.train_split, folder)
        if masks:
            self.warn(check_masks(images, labels=self.data.labels if folder is None else None))
        return images

    def open_val_split(self) -> ImageSet:
        images = self._image_set(self.val_split)
        # now, and not at the first validation
        self.warn(check_masks(images, required=False, labels=self.data.labels))
        return images

    def open_train(self) -> None:
        super().open_train()
        classes = len(self.class_names) - 1
        self.lacks_background = lacks_background(self.data.labels, self.train_images.names, classes)
        # all masks: the audit of the cues, or a later command needs them
        self.warn(check_masks(self._image_set("all", limited=False), required=False, labels=self.data.labels))

    def check_shown_classes(self, images: ImageSet) -> None:
        if self.training_masks not in (None, SOME, "dataset"):  # else ``check_masks`` compared masks and labels
            super().check_shown_classes(images)

    def check_training_masks(self, images: ImageSet) -> None:
        self.warn(check_masks(images, labels=self.data.labels))

    def image_labels(self) -> Labels:
        return {name: self.data.labels[name] for name in self.train_images.names}

    def own_labels(self) -> Labels:
        return self.image_labels()

    def label_warnings(self) -> list[str]:
        return label_warnings(self.data.labels, self.train_images.names, self.class_names)

    def val_classes(self) -> set[int]:
        return {number for name in self.val_images.names for number in self.data.labels[name]}

    def label_source(self) -> str:
        return self.data.source

    def trained_classes(self) -> None:
        return None  # ``folder_warnings`` reports classes without a training image, to make_cues.py, too

    def protocol(self) -> dict[str, Any]:
        return {**super().protocol(), "labels": self.label_source()}

    def _names(self, split: str, limited: bool = True) -> tuple[str, ...]:
        names = choose_split(self.data, split, self.val_split, self.val_share)
        return choose_some(names, self.limit, self.data.labels) if limited and self.limit is not None else names

    def _image_set(self, split: str, folder: Path | None = None, limited: bool = True) -> ImageSet:
        """Return a split with its masks, or with the masks in ``folder``; ``limited`` to ``limit`` images."""
        names = self._names(split, limited)
        images = ImageSet(
            title=f"{self.root.absolute().name} (split {split})",
            names=names,
            images=tuple(self.data.images[name] for name in names),
            masks=tuple(self.data.masks[name] if folder is None else mask_file(folder, name) for name in names),
            class_names=self.class_names,
            palette=self.palette,
            mask_values=self.mask_values,
        )
        return images if folder is None else images.for_predictions()


def choose_split(data: FolderData, split: str, val_split: str, val_share: float) -> tuple[str, ...]:
    """Return the names of the images of a split, in the order of the data or of the id list.

    Args:
        data: the folder.
        split: ``train``, the images that are not held out for ``val_split``; ``val``, the images that the table's
            column ``split`` names or, without this column, a share of all; ``test``, as the column says; ``masks``, all
            images with a mask; ``all``; or an id list, ``<anything>.txt``.
        val_split: the validation split.
        val_share: the share of ``val`` if no column names it, above 0 and below 1. The split depends only on the names
            of the images, so a new image does not move the others. At least one image is held out, and one is not.

    Raises:
        UserError: if the split does not exist or is empty, or a list names unknown images.
    """
    chosen = _chosen(data, split)
    if chosen is None:
        parts = dict(data.splits or dict.fromkeys(data.images, "train"))
        held_out = _chosen(data, val_split) if val_split != "all" else ()
        if held_out is None:
            held_out = () if data.splits else _share(tuple(data.images), val_share)
        parts |= dict.fromkeys(held_out, "val")
        chosen = tuple(name for name, part in parts.items() if part == split)
        known = sorted({"all", "masks", *parts.values()})
        if not chosen:
            raise UserError(
                f"{data.root} has no image in the split {split!r}.{_missing(data, split, val_split, known)}"
            )
    return chosen


def _missing(data: FolderData, split: str, val_split: str, known: Sequence[str]) -> str:
    """Return why no image is in a split, and what to do; ``known`` are the other splits."""
    if split == "train" and "train" in {*data.splits.values(), *([] if data.splits else ["train"])}:
        return f" All are in the validation split, data.val_split={val_split}. Choose another one."
    others = f" There are {', '.join(known)}, and id lists (.txt)."
    if data.splits and split in SPLIT_WORDS:
        words = ", ".join(f"{number} {word}" for word, number in Counter(data.splits.values()).items())
        key = "data.train_split" if split == "train" else "data.val_split"
        return (
            f" The labels of {data.source} name the split of each image: {words}. Name images of {split} there, or "
            f"set {key} to another split.{others}"
        )
    return f"{nearest(split, known)}{others}"


def _chosen(data: FolderData, split: str) -> tuple[str, ...] | None:
    """Return the images of a split that does not depend on another split; None for the other splits."""
    if split.endswith(".txt"):
        path = Path(split).expanduser()
        places = dict.fromkeys([data.root / path, path])
        place = next((place for place in places if place.is_file()), None)
        if place is None:
            raise UserError(
                f"There is no id list at {' or '.join(map(str, places))}. Give the path of a text file with the name "
                "of an image on each line."
            )
        names = read_ids(place, _naming(data), data.images)
        unknown = [name for name in names[:1000] if name not in data.images]
        if unknown:
            raise UserError(
                f"The id list {place} names images that {data.root} does not have:\n{_nearest(unknown, data)}"
            )
        return names
    if split == "masks":
        names = tuple(name for name, mask in data.masks.items() if mask.is_file())
        if not names:
            strays = f" {_stray_masks(data)}" if data.stray_masks else ""
            raise UserError(
                f"{data.root} has no masks, so no split 'masks'. Name their folder with data.mask_folder=.{strays}"
            )
        return names
    return tuple(data.images) if split == "all" else None


def _nearest(unknown: Sequence[str], data: FolderData) -> str:
    """Return a listing of names, each with the images that may be meant."""
    hints = [nearest(name, data.images) for name in unknown[:10]] + [""] * len(unknown[10:])
    return listing([f"{name}.{hint}" if hint else name for name, hint in zip(unknown, hints, strict=True)])


def _naming(data: FolderData) -> Callable[[str], str]:
    """Return what maps the path of an image, from the folder of images, from the root or absolute, to its name."""
    name, path = next(iter(data.images.items()), ("", data.root))
    folder = path.parents[name.count("/")]
    below = folder.relative_to(data.root).as_posix() if folder.is_relative_to(data.root) else folder.name
    prefixes = [f"{place}/" for place in (below, f"/{below}", folder.absolute().as_posix())]

    def naming(text: str) -> str:
        found = image_name(text)
        names = [found, *(found.removeprefix(nfc(prefix)) for prefix in prefixes)]
        return next((name for name in names if name in data.images), found)

    return naming


def _share(names: Sequence[str], share: float) -> tuple[str, ...]:
    if len(names) < 2:
        raise UserError(
            f"There is only one image ({names[0]}), so none can be held out. Add images, or use data.val_split=all."
        )
    rank = {name: name_rank(name) for name in names}
    lowest, *_, highest = sorted(names, key=rank.__getitem__)
    return tuple(name for name in names if name == lowest or (rank[name] < share and name != highest))


def describe_folder(data: FolderData, train: Sequence[str], val: Sequence[str]) -> str:
    """Return a summary: a table of the number of images of each class, in all and in the two splits."""
    groups = (tuple(data.images), tuple(train), tuple(val))

    def row(title: str, chosen: Callable[[str], bool]) -> tuple[str, ...]:
        return (title, *(str(sum(map(chosen, names))) for names in groups))

    classes = list(enumerate(data.class_names))[1:]
    counts = [Counter(number for name in names for number in data.labels[name]) for names in groups]
    rows = [("", "images", "train", "val"), row("all", lambda name: True)]
    rows += [(title, *(str(count[number]) for count in counts)) for number, title in classes[:MOST_LISTED]]
    if len(classes) > MOST_LISTED:
        rows.append((f"... and {len(classes) - MOST_LISTED} more",))
    rows += [
        row("(several classes)", lambda name: len(data.labels[name]) > 1),
        row("(background alone)", lambda name: not data.labels[name]),
        row("(with a mask)", lambda name: data.masks[name].is_file()),
    ]
    return f"{data.root}, labels from {data.source}:\n{table(rows)}"


def _stray_masks(data: FolderData) -> str:
    files = count(len(data.stray_masks), "file in the folder of masks belongs", "files in the folder of masks belong")
    return f"{files} to no image (a mask has the name of its image and the suffix .png):\n{listing(data.stray_masks)}"


def folder_warnings(data: FolderData, train: Sequence[str], val: Sequence[str]) -> list[str]:
    """Return a warning for each thing that the user may not have intended."""
    warnings = list(data.notes)
    if data.left_out:
        left_out = count(len(data.left_out), "image without labels is", "images without labels are")
        warnings.append(f"{left_out} left out:\n{listing(data.left_out)}")
    trained = {number for name in train for number in data.labels[name]}
    untrained = [title for number, title in enumerate(data.class_names) if number and number not in trained]
    if untrained:
        warnings.append(
            f"{count(len(untrained), 'class has', 'classes have')} no training image:\n{listing(untrained)}"
        )
    if data.not_read:
        warnings.append(not_read_warning(data.not_read))
    warnings += [remark(kind, paths) for kind, paths in data.remarks.items()]
    warnings += copy_warnings(data.images, data.labels, train, val)
    if data.stray_masks:
        warnings.append(_stray_masks(data))
    if not any(data.masks[name].is_file() for name in val):
        some = any(data.masks[name].is_file() for name in data.images)
        hint = " data.val_split=masks scores the images that have a mask." if some else ""
        warnings.append(f"No validation image has a mask: they are shown, but not scored.{hint}")
    return warnings
