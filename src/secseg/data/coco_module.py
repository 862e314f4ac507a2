"""The LightningDataModule of COCO 2014."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from secseg.data.coco import (
    COCO_CLASSES,
    LIST_PLACES,
    PARTS,
    CocoFiles,
    find_images,
    find_list,
    find_masks,
    image_number,
)
from secseg.data.coco_labels import CocoLabels
from secseg.data.coco_masks import NUMBERINGS, find_numbering
from secseg.data.datamodule import ImageDataModule
from secseg.data.id_list import read_ids
from secseg.data.images import image_name
from secseg.data.labels import Labels, labels_in_masks
from secseg.data.splits import ImageSet
from secseg.utils.checks import check_choice, refuse
from secseg.utils.errors import UserError, listing, nearest
from secseg.utils.program import command
from secseg.utils.quoting import override
from secseg.utils.text import part_of

log = logging.getLogger(__name__)


class CocoDataModule(ImageDataModule):
    """COCO 2014 in any of its usual layouts (see ``coco.find_images``), 80 classes and background.

    A split is ``train`` or ``val``, all images of COCO's annotations or, without these, of the folder; or an id list,
    by its name or path. A list in the data that has the name of a split has priority.

    Args:
        root: folder of the data.
        images: folder that holds ``train2014`` and ``val2014``; None to search the root.
        annotations: folder of ``instances_train2014.json`` and ``instances_val2014.json``; None to search the root.
        labels: a file of labels, see ``CocoLabels``; ``masks`` for the classes in the training masks; None for COCO's
            annotations.
        mask_folder: folder of masks, with or without sub-folders of the parts; None to search the root.
        numbering: numbers of the classes in masks, a key of ``NUMBERINGS``; None to find out.
        without_labels: ``skip`` or ``keep`` images without labels; None to skip them, but to use a list as it is.
        others: as for ``ImageDataModule``.
    """

    title = "coco14"
    class_names = COCO_CLASSES

    def __init__(
        self,
        root: str,
        images: str | None = None,
        annotations: str | None = None,
        mask_folder: str | None = None,
        numbering: str | None = None,
        without_labels: str | None = None,
        **others: Any,
    ) -> None:
        super().__init__(root, **others)
        self.places = {"images": images, "annotations": annotations, "mask_folder": mask_folder}
        self.numbering, self.without_labels = numbering, without_labels
        self.left_out: dict[str, int] = {}
        self.numbering_reason = "data.numbering"
        problems = [
            *check_choice("data.numbering", numbering, (None, *NUMBERINGS)),
            *check_choice("data.without_labels", without_labels, (None, "skip", "keep")),
        ]
        if self.mask_values != "auto" and numbering is not None:
            problems.append("data.numbering and data.mask_values state the same. Leave one out.")
        refuse(problems)

    def prepare(self) -> None:
        given = {key: self._place(key, place) for key, place in self.places.items() if place is not None}
        self.files = find_images(self.root, given.get("images"))
        self.found_masks = find_masks(self.root, given.get("mask_folder"))
        file = None if self.labels in (None, "masks") else Path(str(self.labels)).expanduser()
        if file is not None and not file.exists() and (self.root / file).exists():
            file = self.root / file
        self.coco_labels = CocoLabels(self.root, file, given.get("annotations"), self.files, self.table_options)

    def open_train_split(self, masks: bool, folder: Path | None) -> ImageSet:
        found = self.found_masks if folder is None else find_masks(self.root, folder)
        return self._image_set(self.train_split, found, masks, own=folder is None)

    def open_val_split(self) -> ImageSet:
        images = self._image_set(self.val_split, self.found_masks, self.found_masks is not None)
        if self.found_masks is None:
            self.warn(
                [
                    f"{self.root} has no masks, so the validation images are not scored. `{self._prepare_command()}` "
                    "draws masks from COCO's annotations, and data.mask_folder= names a folder of masks."
                ]
            )
        return images

    def image_labels(self) -> Labels:
        if self.labels == "masks":
            return labels_in_masks(self.train_images)
        labels, files = self.coco_labels.of(_numbers_of(self.train_images))
        if not files:
            raise UserError(
                f"There are no image-level labels in {self.root}: no instances_train2014.json in it, nor in its folder "
                f"annotations. Name a file with data.labels=, or make them with `{self._prepare_command()}`."
            )
        numbers = dict(zip(self.train_images.names, _numbers_of(self.train_images), strict=True))
        if missing := [name for name, number in numbers.items() if number not in labels]:
            raise UserError(
                f"{part_of(len(missing), len(numbers), 'image', 'has', 'have')} no labels in {self.label_source()}:\n"
                f"{listing(missing)}\nUse a list of the images that have some, or data.without_labels=skip."
            )
        return {name: labels[number] for name, number in numbers.items()}

    def own_labels(self) -> Labels | None:
        files = self.labels == "masks" or self.coco_labels.of(_numbers_of(self.train_images))[1]
        return self.image_labels() if files else None

    def label_source(self) -> str:
        if self.labels == "masks":
            return "masks"
        return " and ".join(path.name for path in self.coco_labels.of(_numbers_of(self.train_images))[1])

    def val_classes(self) -> set[int] | None:
        labels, files = self.coco_labels.of(_numbers_of(self.val_images))
        return {one for number in _numbers_of(self.val_images) for one in labels.get(number, ())} if files else None

    def protocol(self) -> dict[str, Any]:
        stated = {"without_labels": self.without_labels}
        if self.cues is None:  # else these labels may not be those of expand
            stated["labels"] = self.label_source()
        return {**super().protocol(), **stated, "left_out": dict(self.left_out)}

    def mask_protocol(self) -> dict[str, Any]:
        if self.found_masks is None:
            return {}
        stated = {} if self.numbering is None else {"numbering": self.numbering, "numbering_by": self.numbering_reason}
        return {**({} if stated else super().mask_protocol()), "mask_folder": self.found_masks.place, **stated}

    def _place(self, key: str, place: str) -> Path:
        path = Path(place).expanduser()
        found = next((one for one in (self.root / path, path) if one.is_dir()), None)
        if found is None:
            raise UserError(f"data.{key}={place}: there is no folder at {self.root / path} or {path}.")
        return found

    def _prepare_command(self) -> str:
        return command("prepare_coco", override("root", self.root))

    def _image_set(self, split: str, masks: CocoFiles | None, required: bool, own: bool = True) -> ImageSet:
        """Return a split with masks, which all images must have if ``required``; ``own``: those of the data set."""
        numbers = self._numbers(split)
        if required:
            lacking = [self.files.files[one].stem for one in numbers if masks is None or one not in masks.files]
            if lacking:
                where = f" in {masks.place}" if masks else ""
                raise UserError(
                    f"{part_of(len(lacking), len(numbers), 'image', 'has', 'have')} no mask{where} (split {split!r}):\n"
                    f"{listing(lacking)}\n`{self._prepare_command()}` draws masks from COCO's annotations. "
                    "data.without_labels=skip, or a list, leaves images out."
                )
        files = [self.files.files[number] for number in numbers]
        images = ImageSet(
            title=f"{self.root.absolute().name}/{split}",
            names=tuple(path.stem for path in files),
            images=tuple(files),
            masks=None if masks is None else tuple(self._mask(masks, *one) for one in zip(numbers, files, strict=True)),
            class_names=self.class_names,
            palette=self.palette,
        )
        if own and masks is not None:
            self._find_numbering(images)
        return images

    def _mask(self, masks: CocoFiles, number: int, image: Path) -> Path:
        return masks.files.get(number, masks.folders[0] / f"{image.stem}.png")

    def _numbers(self, split: str) -> tuple[int, ...]:
        """Return the images of a split. Images that have no file are an error."""
        path = find_list(self.root, split)
        if path is None and split not in PARTS:
            known = {one.stem for place in LIST_PLACES for one in (self.root / place).glob("*.txt")} | set(PARTS)
            places = [self.root / place for place in LIST_PLACES]
            raise UserError(
                f"There is no split {split!r}.{nearest(split, known)} There are {', '.join(sorted(known)[:20])}. "
                f"A list {Path(split).stem}.txt would be read from:\n{listing(places)}"
            )
        numbers, where = self._listed(path) if path is not None else self._all(split)
        missing = [str(one) for one in numbers if one not in self.files.files]
        if missing:
            raise UserError(
                f"{part_of(len(missing), len(numbers), 'image', 'has', 'have')} no file (split {split!r}, {where}) in "
                f"{', '.join(map(str, self.files.folders))}:\n{listing(missing)}\n"
                "Add the files, or use a list of the images you have."
            )
        if self.without_labels == "skip" or (self.without_labels is None and path is None):
            numbers = self._labelled(split, numbers)
        return tuple(numbers)

    def _listed(self, path: Path) -> tuple[Sequence[int], str]:
        stems = {number: file.stem for number, file in self.files.files.items()}

        def naming(text: str) -> str:
            name = image_name(text).rpartition("/")[2]
            number = image_number(name)
            return name if number is None else stems.get(number, str(number))

        names = read_ids(path, naming, frozenset(stems.values()))
        strange = [name for name in names if image_number(name) is None]
        if strange:
            raise UserError(f"The id list {path} holds names that are not of COCO's images:\n{listing(strange)}")
        return [number for number in map(image_number, names) if number is not None], str(path)

    def _all(self, part: str) -> tuple[Sequence[int], str]:
        listed, file = self.coco_labels.listed(part)
        numbers = sorted(self.files.parts[part] | listed)
        where = "images of the folder" if file is None else f"images of {file}"
        if not numbers:
            raise UserError(
                f"It is not known which images of {', '.join(map(str, self.files.folders))} are of {part}2014: their "
                f"names do not start with COCO_{part}2014_, and there is no instances_{part}2014.json in {self.root}. "
                f"Give an id list with data.{part}_split=<list>.txt."
            )
        return numbers, where

    def _labelled(self, split: str, numbers: Sequence[int]) -> Sequence[int]:
        """Return the images that have a label, and report how many others there are."""
        labels, files = self.coco_labels.of(numbers)
        if not files:
            self.warn(
                [
                    f"There are no labels of split {split!r}, so images without labels are not left out: all "
                    f"{len(numbers)} are used. Name a file with data.labels=, or add COCO's annotations."
                ]
            )
            return numbers
        kept = [number for number in numbers if labels.get(number)]
        self.left_out[split] = len(numbers) - len(kept)
        log.info(
            "Split %s: %d images, without %d that have no labels (data.without_labels=keep uses all).",
            *(split, len(kept), self.left_out[split]),
        )
        if not kept:
            raise UserError(f"No image of split {split!r} has labels in {', '.join(map(str, files))}.")
        return kept

    def _find_numbering(self, images: ImageSet) -> None:
        """Set ``mask_values`` by ``numbering``, which the first masks that are opened show if it is not given."""
        if self.numbering is None and self.mask_values == "auto":
            pairs = zip(images.names, images.masks or (), strict=True)
            masks = {name: path for name, path in pairs if path.is_file()}
            if not masks:
                return
            labels, _ = self.coco_labels.of(_numbers_of(images))
            numbers = dict(zip(images.names, _numbers_of(images), strict=True))
            known = {name: labels[numbers[name]] for name in masks if numbers[name] in labels}
            self.numbering, self.numbering_reason = find_numbering(masks, known)
            log.info(
                "The masks in %s are numbered %s: %s.",
                next(iter(masks.values())).parent,
                self.numbering,
                self.numbering_reason,
            )
        if self.numbering is not None:
            self.mask_values = NUMBERINGS[self.numbering]


def _numbers_of(images: ImageSet) -> list[int]:
    return [number for number in map(image_number, images.names) if number is not None]
