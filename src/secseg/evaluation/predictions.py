"""What a network predicted, image by image, in two files of a run folder: counts for statistics, masks to look at."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from secseg.data.images import palette_image
from secseg.evaluation.confusion import SegmentationScore
from secseg.utils.errors import UserError
from secseg.utils.files import atomic_write

COUNTS, MASKS = "val_counts.npz", "val_masks.zip"
LIMIT = 2 * 1024**3
"""Most bytes that the counts, or a mask, may unpack to; those of 5,000 images and 81 classes have 0.3 GB."""


class ImagePredictions:
    """Gathers the predictions of each image, packed: counts as int32, masks as PNG.

    Args:
        class_names: names of the classes, background first.
        palette: (256, 3) uint8, colours of the PNG files.
    """

    def __init__(self, class_names: Sequence[str], palette: np.ndarray) -> None:
        self.class_names, self.palette = tuple(class_names), palette
        self.counts: dict[str, dict[str, np.ndarray]] = {}
        self.masks: dict[str, bytes] = {}

    def add(self, name: str, variants: Mapping[str, np.ndarray | None], truth: np.ndarray | None) -> None:
        """Add the masks (H, W) uint8 of an image, by variant (``without_crf``, ``with_crf``); None: there is none."""
        for variant, mask in variants.items():
            if mask is None:
                continue
            png = io.BytesIO()
            palette_image(mask, self.palette).save(png, format="PNG")
            self.masks[f"{variant}/{name}.png"] = png.getvalue()
            if truth is not None:
                score = SegmentationScore(self.class_names)
                score.update(mask, truth)
                self.counts.setdefault(variant, {})[name] = score.confusion.astype(np.int32)

    def merge(self, other: ImagePredictions) -> None:
        """Add what another process gathered."""
        self.masks |= other.masks
        for variant, counts in other.counts.items():
            self.counts.setdefault(variant, {}).update(counts)

    def write(self, folder: Path) -> None:
        """Write both files into ``folder``, each whole or not at all; images in the order of their names.

        Raises:
            UserError: if the folder cannot be written or the disk is full.
        """
        arrays: dict[str, np.ndarray] = {"class_names": np.array(self.class_names)}
        for variant, counts in self.counts.items():
            names = sorted(counts)
            arrays |= {"names": np.array(names), variant: np.stack([counts[name] for name in names])}
        if self.counts:
            with atomic_write(folder / COUNTS) as temporary, temporary.open("wb") as file:
                np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
        with atomic_write(folder / MASKS) as temporary, zipfile.ZipFile(temporary, "w") as archive:
            for path in sorted(self.masks):
                archive.writestr(zipfile.ZipInfo(path), self.masks[path])  # without a date: equal masks, equal bytes


class Counts(NamedTuple):
    """Pixels of N images by truth and prediction: ``by_variant`` holds (N, C, C) integers for each variant."""

    names: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()
    by_variant: Mapping[str, np.ndarray] = {}


def read_counts(folder: Path) -> Counts:
    """Return the counts of a run's validation images; none where there is no such file.

    Raises:
        UserError: for a damaged file.
    """
    path = folder / COUNTS
    if not path.is_file():
        return Counts()
    try:
        with zipfile.ZipFile(path) as archive:
            _check_size(sum(member.file_size for member in archive.infolist()))
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        names, class_names = (tuple(map(str, arrays.pop(key))) for key in ("names", "class_names"))
        "".join((*names, *class_names)).encode()  # no halves of characters, which no page can hold
        shape = (len(names), len(class_names), len(class_names))
        for variant, counts in arrays.items():
            if counts.dtype.kind not in "iu" or counts.shape != shape or counts.min(initial=0) < 0:
                raise ValueError(f"{variant} is no count of {shape}")
    except Exception as error:  # NumPy and zipfile raise whatever the damaged bytes lead to
        raise UserError(f"{path} is damaged ({error}): remove it; the run's figures stay.") from error
    return Counts(names, class_names, arrays)


def read_predicted(folder: Path, variant: str, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the predicted masks (H, W) uint8 of those of ``names`` that the run has.

    Raises:
        UserError: for a damaged file.
    """
    path = folder / MASKS
    if not path.is_file():
        return {}
    try:
        with zipfile.ZipFile(path) as archive:
            there = set(archive.namelist())
            files = {name: f"{variant}/{name}.png" for name in names}
            return {name: _mask(archive, file) for name, file in files.items() if file in there}
    except Exception as error:  # Pillow and zipfile raise whatever the damaged bytes lead to
        raise UserError(f"{path} is damaged ({error}): remove it; the run's figures stay.") from error


def _mask(archive: zipfile.ZipFile, file: str) -> np.ndarray:
    _check_size(archive.getinfo(file).file_size)
    image = Image.open(io.BytesIO(archive.read(file)), formats=["PNG"])
    if image.mode not in ("P", "L"):
        raise ValueError(f"{file} holds colours, not class numbers")
    return np.array(image, np.uint8)


def _check_size(size: int) -> None:
    if size > LIMIT:
        raise ValueError(f"it unpacks to {size:,} bytes, more than {LIMIT:,}")
