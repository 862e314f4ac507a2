"""What is written beside a mask: the picture of it over the photograph, and the probabilities in bytes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from secseg.data.classes import voc_palette
from secseg.drawing.overlays import overlay
from secseg.utils.errors import UserError
from secseg.utils.files import atomic_write

LEVELS = 255
"""A probability is kept as the nearest of the steps 0/255, 1/255, ..., 1: it is off by 1/510 at most."""


def save_overlay(photo: np.ndarray, mask: np.ndarray, path: Path) -> None:
    """Write the mask (H, W) uint8 over its photograph (H, W, 3) uint8 as a JPEG, whole or not at all."""
    with atomic_write(path) as temporary:
        Image.fromarray(overlay(photo, mask, voc_palette())).save(temporary, format="JPEG", quality=90)


def save_probabilities(probs: Tensor, class_names: Sequence[str], path: Path) -> None:
    """Write probabilities (C, h, w) as a compressed ``.npz``, whole or not at all: ``probs`` (C, h, w) uint8, 255 times
    the probability, rounded, so off by 1/510 at most; and ``class_names`` (C,).
    """
    steps = (probs * LEVELS).round().clamp(0, LEVELS).byte().numpy()
    with atomic_write(path) as temporary:
        np.savez_compressed(temporary, probs=steps, class_names=np.array(class_names))


def read_probabilities(path: str | Path) -> tuple[np.ndarray, tuple[str, ...]]:
    """Read what ``save_probabilities`` wrote: (C, h, w) float32, each off by 1/510 at most, and the classes' names.

    Raises:
        UserError: if the file is missing, damaged or another one.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            probs, names = file["probs"], tuple(map(str, file["class_names"]))
        if probs.dtype != np.uint8 or probs.ndim != 3 or len(names) != len(probs):
            raise ValueError(f"probabilities {probs.dtype} {probs.shape} of {len(names)} classes")
        return probs.astype(np.float32) / LEVELS, names
    except FileNotFoundError as error:
        raise UserError(f"There are no probabilities at {path}.") from error
    except Exception as error:  # NumPy raises whatever the damaged bytes lead to
        raise UserError(f"{path} does not hold probabilities, or is damaged ({error}). Predict them again.") from error
