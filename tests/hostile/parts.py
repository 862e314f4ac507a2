"""Common parts of the readers of user files and of our own files."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from secseg.data.classes import voc_palette
from secseg.data.masks import palette_image

CLASSES = ("background", "cat", "dog")
IMAGES = ("a", "b")
MASK = np.array([[0, 1, 2], [255, 0, 1]], np.uint8)


def put(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def png(_: Path, values: np.ndarray = MASK) -> bytes:
    file = io.BytesIO()
    palette_image(values, voc_palette()).save(file, "PNG")
    return file.getvalue()
