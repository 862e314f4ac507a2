"""COCO 2014: its classes, and the layouts in which its images, masks and lists are passed around."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from secseg.utils.errors import UserError, listing
from secseg.utils.text import count

COCO_CLASSES: tuple[str, ...] = (
    "background", "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat",
    "traffic light", "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep",
    "cow", "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee",
    "skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard",
    "tennis racket", "bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich",
    "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant", "bed",
    "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven",
    "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
)  # fmt: skip
UNUSED = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91)
"""Numbers of categories, 1 to 91, that no annotation has."""
CATEGORIES = tuple(number for number in range(1, 92) if number not in UNUSED)
"""COCO's number of each category, in the order of the classes."""

PARTS = ("train", "val")
IMAGE_PLACES = ("", "JPEGImages", "coco2014", "images")
MASK_PLACES = ("masks_last", "masks_smallest", "SegmentationClass", "voc_format/class_labels", "mask", "masks")
LIST_PLACES = ("", "ImageSets", "ImageSets/Segmentation", "voc_format", "coco2014")
ANNOTATION_PLACES = ("annotations", "", "coco2014/annotations")
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
_NAME = re.compile(r"(?:COCO_(train|val)2014_)?0*(\d{1,12})", re.ASCII)


def image_number(name: str) -> int | None:
    """Return the number in the name of an image, with or without leading zeros and ``COCO_train2014_``; None if the
    name is of another form."""
    match = _NAME.fullmatch(name)
    return int(match[2]) if match else None


def part_of(name: str) -> str | None:
    """Return the part, ``train`` or ``val``, that the name of an image starts with; None without a part."""
    match = _NAME.fullmatch(name)
    return match[1] if match else None


@dataclass(frozen=True)
class CocoFiles:
    """The files of a folder of images or masks.

    Attributes:
        place: the folder that holds them, or the folders of the parts.
        folders: the folders that were read.
        files: file of each image by its number, in the order of the numbers.
        parts: numbers of the images of each part, as the folder or the name says.
    """

    place: Path
    folders: tuple[Path, ...]
    files: Mapping[int, Path]
    parts: Mapping[str, frozenset[int]]


def find_images(root: Path, images: Path | None = None) -> CocoFiles:
    """Find the images of both parts; one part may be missing.

    Args:
        root: folder of the data. The first of ``IMAGE_PLACES`` in it that has the folders ``train2014`` and
            ``val2014``, or ``train`` and ``val``, counts; else the first that has images of COCO.
        images: a folder to look into instead.

    Raises:
        UserError: if there are no images; with all images that have several files.
    """
    places = [images] if images is not None else [root / place for place in IMAGE_PLACES]
    for place in sorted(places, key=lambda place: not _part_folders(place)):
        found = _find(place, IMAGE_SUFFIXES)
        if found.files:
            return found
    raise UserError(
        f"There are no images of COCO 2014. Looked for the folders train2014, val2014, train and val, and for images "
        f"COCO_train2014_<12 digits>.jpg or <12 digits>.jpg, in:\n{listing(places)}\n"
        "Set data.root, or name the folder of the images with data.images=."
    )


def find_masks(root: Path, masks: Path | None = None) -> CocoFiles | None:
    """Find masks ``<id>.png``, in any form of the id; None if there are none.

    Args:
        root: folder of the data, with one of ``MASK_PLACES``.
        masks: a folder to look into instead.

    Raises:
        UserError: if several places in the root have masks, or ``masks`` has none; with all images that have several
            masks.
    """
    if masks is not None:
        found = _find(masks, (".png",))
        if not found.files:
            raise UserError(f"There are no masks of COCO's images, <id>.png, in {masks}, nor in {_parts_text()} there.")
        return found
    found_places = [_find(root / place, (".png",)) for place in MASK_PLACES if (root / place).is_dir()]
    found_places = [found for found in found_places if found.files]
    if len(found_places) > 1:
        places = listing([found.place for found in found_places])
        raise UserError(f"Several folders have masks. Choose one with data.mask_folder=:\n{places}")
    return found_places[0] if found_places else None


def find_list(root: Path, split: str) -> Path | None:
    """Return the id list ``<split>.txt`` in ``LIST_PLACES``, or the path ``split``; None if there is no list."""
    if split.endswith(".txt"):
        return next((path for path in (root / split, Path(split).expanduser()) if path.is_file()), None)
    places = (root / place / f"{split}.txt" for place in LIST_PLACES)
    return next((path for path in places if path.is_file()), None)


def find_part_file(root: Path, folder: Path | None, name: str) -> Path | None:
    """Return the file ``name`` in ``folder``, or in ``ANNOTATION_PLACES`` of the root; None if there is none."""
    places = [folder] if folder is not None else [root / place for place in ANNOTATION_PLACES]
    return next((place / name for place in places if (place / name).is_file()), None)


def _parts_text() -> str:
    return ", ".join([*(f"{part}2014" for part in PARTS), *PARTS])


def _part_folders(place: Path) -> dict[str, Path]:
    found = {part: [place / f"{part}2014", place / part] for part in PARTS}
    return {part: path for part, paths in found.items() for path in reversed(paths) if path.is_dir()}


def _find(place: Path, suffixes: Iterable[str]) -> CocoFiles:
    folders: list[tuple[str | None, Path]] = [*_part_folders(place).items()] or [(None, place)]
    files: dict[int, Path] = {}
    parts: dict[str, set[int]] = {part: set() for part in PARTS}
    several: list[str] = []
    for part, folder in folders:
        for name in sorted(os.listdir(folder)) if folder.is_dir() else ():
            stem, suffix = os.path.splitext(name)
            number = image_number(stem) if suffix.lower() in suffixes else None
            if number is None:
                continue
            if number in files:
                several.append(f"{number}: {files[number]} and {folder / name}")
            files[number] = folder / name
            if (known := part or part_of(stem)) is not None:
                parts[known].add(number)
    if several:
        raise UserError(
            f"{count(len(several), 'image has', 'images have')} several files. Keep one of each:\n{listing(several)}"
        )
    return CocoFiles(
        place=place,
        folders=tuple(folder for _, folder in folders),
        files={number: files[number] for number in sorted(files)},
        parts={part: frozenset(numbers) for part, numbers in parts.items()},
    )
