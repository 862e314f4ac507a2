"""A user's folder of data, drawn: images, a table, masks, cues."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from secseg.data.classes import voc_palette
from secseg.data.cues import Cues, CueStore
from secseg.data.masks import save_mask


def draw_images(folder: Path, files: Iterable[str], size: tuple[int, int] = (20, 30)) -> None:
    """Write an image of (H, W) ``size`` to each path below ``folder``, each of another colour."""
    for number, name in enumerate(files):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (size[1], size[0]), (200, 40 * number % 256, 90)).save(path)


def draw_folder(
    root: Path, table: str | None = "image,labels\na.jpg,cat\nb.jpg,dog;cat\nsub/c.png,\n", name: str = "labels.csv"
) -> Path:
    """Write ``a.jpg``, ``b.jpg`` and ``sub/c.png`` below ``root/images``, and a table."""
    draw_images(root / "images", ("a.jpg", "b.jpg", "sub/c.png"))
    if table is not None:
        (root / name).write_text(table, "utf-8")
    return root


def draw_mask(path: Path, number: int, size: tuple[int, int] = (20, 30)) -> None:
    """Write a mask whose upper half is the class ``number``."""
    mask = np.zeros(size, np.uint8)
    mask[: size[0] // 2] = number
    save_mask(mask, path, voc_palette())


def write_cues(path: Path, labels: Mapping[str, tuple[int, ...]]) -> None:
    """Write cues of the first label of each image, and of the background, on a grid of 9 x 9."""
    cues = {}
    for name, numbers in labels.items():
        cue_map = np.full((9, 9), 255, np.uint8)
        cue_map[0] = 0
        cue_map[4] = numbers[0] if numbers else 255
        cues[name] = Cues(numbers, cue_map)
    CueStore.from_dict(cues, {"source": "drawn for a test"}).save(path)
