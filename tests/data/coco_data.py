"""Small data in the real layouts of COCO 2014, written without the readers and writers of the package.

Objects are rectangles with whole corners, whose pixels NumPy can paint: polygons, or run lengths for crowds.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

# Numbers and names as in COCO's own file.
CATEGORIES = {
    **{1: "person", 2: "bicycle", 3: "car", 4: "motorcycle", 5: "airplane", 6: "bus", 7: "train", 8: "truck"},
    **{9: "boat", 10: "traffic light", 11: "fire hydrant", 13: "stop sign", 14: "parking meter", 15: "bench"},
    **{16: "bird", 17: "cat", 18: "dog", 19: "horse", 20: "sheep", 21: "cow", 22: "elephant", 23: "bear"},
    **{24: "zebra", 25: "giraffe", 27: "backpack", 28: "umbrella", 31: "handbag", 32: "tie", 33: "suitcase"},
    **{34: "frisbee", 35: "skis", 36: "snowboard", 37: "sports ball", 38: "kite", 39: "baseball bat"},
    **{40: "baseball glove", 41: "skateboard", 42: "surfboard", 43: "tennis racket", 44: "bottle"},
    **{46: "wine glass", 47: "cup", 48: "fork", 49: "knife", 50: "spoon", 51: "bowl", 52: "banana", 53: "apple"},
    **{54: "sandwich", 55: "orange", 56: "broccoli", 57: "carrot", 58: "hot dog", 59: "pizza", 60: "donut"},
    **{61: "cake", 62: "chair", 63: "couch", 64: "potted plant", 65: "bed", 67: "dining table", 70: "toilet"},
    **{72: "tv", 73: "laptop", 74: "mouse", 75: "remote", 76: "keyboard", 77: "cell phone", 78: "microwave"},
    **{79: "oven", 80: "toaster", 81: "sink", 82: "refrigerator", 84: "book", 85: "clock", 86: "vase"},
    **{87: "scissors", 88: "teddy bear", 89: "hair drier", 90: "toothbrush"},
}
CONTIGUOUS = {raw: number for number, raw in enumerate(CATEGORIES, 1)}

LAYOUTS = {
    "official": ("train2014", "val2014"),
    "clip_es": ("JPEGImages/train2014", "JPEGImages/val2014"),
    "afa": ("JPEGImages/train", "JPEGImages/val"),
    "toco": ("coco2014/train2014", "coco2014/val2014"),
    "flat": ("images", "images"),
}
MASK_NAMES = {"stem": "COCO_{part}2014_{number:012}", "zeros": "{number:012}", "bare": "{number}"}


class Box(NamedTuple):
    """An object: COCO's number of its category, and its pixels."""

    category: int
    top: int
    left: int
    bottom: int
    right: int
    crowd: bool = False


@dataclass(frozen=True)
class Scene:
    """An image: its number, its size, its objects in the order of the file."""

    number: int
    height: int
    width: int
    boxes: tuple[Box, ...]

    def name(self, part: str) -> str:
        return f"COCO_{part}2014_{self.number:012}"

    def labels(self) -> tuple[int, ...]:
        return tuple(sorted({CONTIGUOUS[box.category] for box in self.boxes if not box.crowd}))

    def mask(self, rule: str = "last", numbering: str = "contiguous") -> np.ndarray:
        """Return the mask that code around COCO makes: ``last`` as ReCAM, ``smallest`` as coco2voc."""
        boxes = [box for box in self.boxes if rule == "smallest" or not box.crowd]
        if rule == "smallest":
            boxes = sorted(boxes, key=area)
            boxes.reverse()
        mask = np.zeros((self.height, self.width), np.uint8)
        for box in boxes:
            value = CONTIGUOUS[box.category] if numbering == "contiguous" else box.category
            mask[box.top : box.bottom, box.left : box.right] = value
        return mask


def area(box: Box) -> int:
    return (box.bottom - box.top) * (box.right - box.left)


def scenes(count: int, seed: int, first: int = 1, categories: Sequence[int] = tuple(CATEGORIES)) -> list[Scene]:
    """Draw images of up to four overlapping objects. Each tenth has none, each seventh a crowd in addition."""
    rng = np.random.default_rng(seed)
    found = []
    for at in range(count):
        height, width = (int(side) for side in rng.integers(30, 50, 2))
        boxes = [
            _box(rng, height, width, int(rng.choice(categories))) for _ in range(0 if at % 10 == 9 else 1 + at % 4)
        ]
        if at % 7 == 6 and boxes:
            boxes.insert(0, _box(rng, height, width, int(rng.choice(categories)))._replace(crowd=True))
        found.append(Scene(first + 3 * at, height, width, tuple(boxes)))
    return found


def _box(rng: np.random.Generator, height: int, width: int, category: int) -> Box:
    top, left = (int(rng.integers(0, side - 12)) for side in (height, width))
    bottom, right = int(rng.integers(top + 8, height)), int(rng.integers(left + 8, width))
    return Box(category, top, left, bottom, right)


def image_of(scene: Scene) -> Image.Image:
    """Draw a noisy image whose objects have the colour of their category."""
    rng = np.random.default_rng(scene.number)
    pixels = rng.integers(60, 120, (scene.height, scene.width, 3))
    for box in scene.boxes:
        colour = np.random.default_rng(1000 + box.category).integers(0, 255, 3)
        pixels[box.top : box.bottom, box.left : box.right] = colour
    noise = rng.integers(-12, 12, pixels.shape)
    return Image.fromarray((pixels + noise).clip(0, 255).astype(np.uint8))


def annotation(scene: Scene, box: Box, identity: int) -> dict[str, Any]:
    if box.crowd:
        inside = np.zeros((scene.height, scene.width), bool)
        inside[box.top : box.bottom, box.left : box.right] = True
        columns = inside.T.reshape(-1)  # run lengths go down the columns, and start with the outside
        changes = np.flatnonzero(np.diff(columns, prepend=False))
        counts = np.diff(changes, prepend=0, append=columns.size).tolist()
        shape: Any = {"counts": counts, "size": [scene.height, scene.width]}
    else:
        shape = [[box.left, box.top, box.right, box.top, box.right, box.bottom, box.left, box.bottom]]
        shape = [[float(one) for one in polygon] for polygon in shape]
    return {
        **{"segmentation": shape, "area": float(area(box)), "iscrowd": int(box.crowd), "image_id": scene.number},
        **{"bbox": [box.left, box.top, box.right - box.left, box.bottom - box.top]},
        **{"category_id": box.category, "id": identity},
    }


def instances(part: str, images: Sequence[Scene]) -> dict[str, Any]:
    """Return the content of ``instances_<part>2014.json``. Annotations of the images are mixed, as COCO's are."""
    listed = [
        {
            **{"license": 5, "file_name": f"{scene.name(part)}.jpg", "coco_url": "http://images.cocodataset.org/x"},
            **{"height": scene.height, "width": scene.width, "date_captured": "2013-11-14", "id": scene.number},
        }
        for scene in images
    ]
    pairs = [(scene, box) for at in range(5) for scene in images for box in scene.boxes[at : at + 1]]
    return {
        "info": {"description": "COCO 2014 Dataset, drawn in Zürich", "year": 2014},
        "images": listed,
        "licenses": [{"id": 5, "name": "drawn"}],
        "annotations": [annotation(*pair, identity) for identity, pair in enumerate(pairs, 1)],
        "categories": [{"supercategory": "x", "id": raw, "name": name} for raw, name in CATEGORIES.items()],
    }


def write_json(root: Path, part: str, images: Sequence[Scene], folder: str = "annotations") -> Path:
    path = root / folder / f"instances_{part}2014.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(instances(part, images), ensure_ascii=False), "utf-8")
    return path


def write_images(root: Path, part: str, images: Sequence[Scene], layout: str = "official") -> Path:
    folder = root / LAYOUTS[layout][part == "val"]
    folder.mkdir(parents=True, exist_ok=True)
    for scene in images:
        image_of(scene).save(folder / f"{scene.name(part)}.jpg", quality=95)
    return folder


def write_masks(
    root: Path,
    part: str,
    images: Sequence[Scene],
    numbering: str = "contiguous",
    names: str = "stem",
    folder: str = "SegmentationClass",
    rule: str = "last",
) -> Path:
    place = root / folder / f"{part}2014"
    place.mkdir(parents=True, exist_ok=True)
    for scene in images:
        name = MASK_NAMES[names].format(part=part, number=scene.number)
        Image.fromarray(scene.mask(rule, numbering)).save(place / f"{name}.png")
    return place


def write_coco(
    root: Path, train: int = 20, val: int = 10, layout: str = "official", numbering: str | None = "contiguous"
) -> dict[str, list[Scene]]:
    """Write images, annotations and, with a numbering, masks of both parts, and return the images."""
    parts = {"train": scenes(train, 0, first=9), "val": scenes(val, 1, first=42_000)}
    for part, images in parts.items():
        write_images(root, part, images, layout)
        write_json(root, part, images)
        if numbering is not None:
            write_masks(root, part, images, numbering)
    return parts
