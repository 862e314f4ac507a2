"""Predictions of a run for each image, in two files: pixel counts for statistics, and masks for the gallery."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy.sparse import csr_array

from secseg.data.masks import palette_image
from secseg.evaluation.metrics import SegmentationScore
from secseg.utils.errors import UserError
from secseg.utils.files import atomic_write

COUNTS, MASKS = "val_counts.npz", "val_masks.zip"
PARTS = ("starts", "cells", "pixels")
"""Arrays of the counts of a variant in the file, as in a CSR matrix: the start of each image in the other two arrays;
the cells that are not zero, truth * C + prediction; and their pixels."""
LIMIT = 2 * 1024**3
"""Most unpacked bytes of the counts, or of a mask."""
MOST_CLASSES = 256
"""Masks hold class numbers as bytes."""


class ImagePredictions:
    """Collects the predictions of each image in compact form: nonzero counts, and masks as PNG with ``palette``."""

    def __init__(self, class_names: Sequence[str], palette: np.ndarray) -> None:
        self.class_names, self.palette = tuple(class_names), palette
        self.counts: dict[str, dict[str, np.ndarray]] = {}
        self.masks: dict[str, bytes] = {}

    def add(self, name: str, variants: Mapping[str, np.ndarray | None], truth: np.ndarray | None) -> None:
        """Add the masks (H, W) uint8 of an image by variant (``without_crf``, ``with_crf``); None if there is none."""
        for variant, mask in variants.items():
            if mask is None:
                continue
            png = io.BytesIO()
            palette_image(mask, self.palette).save(png, format="PNG")
            self.masks[f"{variant}/{name}.png"] = png.getvalue()
            if truth is not None:
                score = SegmentationScore(self.class_names)
                score.update(mask, truth)
                cells = np.flatnonzero(score.confusion)
                self.counts.setdefault(variant, {})[name] = np.stack([cells, score.confusion.flat[cells]]).astype(
                    np.int32
                )

    def merge(self, other: ImagePredictions) -> None:
        """Add the predictions of another process."""
        self.masks |= other.masks
        for variant, counts in other.counts.items():
            self.counts.setdefault(variant, {}).update(counts)

    def write(self, folder: Path) -> None:
        """Write both files into ``folder``, each whole or not at all, with the images sorted by name."""
        arrays: dict[str, np.ndarray] = {"class_names": np.array(self.class_names)}
        for variant, counts in self.counts.items():
            names = sorted(counts)
            starts = np.cumsum([0, *(counts[name].shape[1] for name in names)])
            cells, pixels = np.concatenate([counts[name] for name in names], axis=1)
            parts = dict(zip(PARTS, (starts, cells, pixels), strict=True))
            arrays |= {"names": np.array(names), **{f"{variant}.{part}": array for part, array in parts.items()}}
        if self.counts:
            with atomic_write(folder / COUNTS) as temporary:
                np.savez_compressed(temporary, **arrays)  # type: ignore[arg-type]
        with atomic_write(folder / MASKS) as temporary, zipfile.ZipFile(temporary, "w") as archive:
            for path in sorted(self.masks):
                # Without a date: equal masks give equal bytes.
                archive.writestr(zipfile.ZipInfo(path), self.masks[path])


class Counts(NamedTuple):
    """Pixel counts of N images with C classes, by truth and prediction.

    Attributes:
        by_variant: sparse integer counts (N, C * C) of each variant; the column is truth * C + prediction.
    """

    names: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()
    by_variant: Mapping[str, csr_array] = {}

    def total(self, variant: str) -> np.ndarray:
        """Return the counts (C, C) by (truth, prediction) over all images."""
        return self._square(self.by_variant[variant].sum(0))

    def image(self, variant: str, name: str) -> np.ndarray:
        """Return the counts (C, C) by (truth, prediction) of one image."""
        return self._square(self.by_variant[variant][[self.names.index(name)]].toarray())

    def _square(self, cells: np.ndarray) -> np.ndarray:
        return np.asarray(cells).reshape(len(self.class_names), len(self.class_names))


def read_counts(folder: Path) -> Counts:
    """Return the counts of the validation images of a run; empty if the file does not exist.

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
        names, class_names = (tuple(map(str, arrays[key])) for key in ("names", "class_names"))
        "".join((*names, *class_names)).encode()  # fails for half surrogates, which a page cannot hold
        if len(class_names) > MOST_CLASSES:
            raise ValueError(f"{len(class_names)} classes")
        variants = [name.removesuffix(f".{PARTS[0]}") for name in arrays if name.endswith(f".{PARTS[0]}")]
        shape = (len(names), len(class_names) ** 2)
        by_variant = {variant: _sparse([arrays[f"{variant}.{part}"] for part in PARTS], shape) for variant in variants}
    except Exception as error:  # NumPy, SciPy and zipfile raise many kinds of errors
        raise UserError(f"{path} is damaged ({error}). Remove it; the results of the run are kept.") from error
    return Counts(names, class_names, by_variant)


def _sparse(parts: Sequence[np.ndarray], shape: tuple[int, int]) -> csr_array:
    if any(part.dtype.kind not in "iu" or part.ndim != 1 for part in parts):
        raise ValueError("the counts are not arrays of integers")
    starts, cells, pixels = parts
    if pixels.min(initial=0) < 0:
        raise ValueError("a count is negative")
    counts = csr_array((pixels, cells, starts), shape)
    counts.check_format(full_check=True)  # indices within the shape
    return counts


def read_predicted(folder: Path, variant: str, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the predicted masks (H, W) uint8 of ``names``, as far as the run has them."""
    path = folder / MASKS
    if not path.is_file():
        return {}
    try:
        with zipfile.ZipFile(path) as archive:
            there = set(archive.namelist())
            files = {name: f"{variant}/{name}.png" for name in names}
            return {name: _mask(archive, file) for name, file in files.items() if file in there}
    except Exception as error:  # Pillow and zipfile raise many kinds of errors
        raise UserError(f"{path} is damaged ({error}). Remove it; the results of the run are kept.") from error


def _mask(archive: zipfile.ZipFile, file: str) -> np.ndarray:
    _check_size(archive.getinfo(file).file_size)
    image = Image.open(io.BytesIO(archive.read(file)), formats=["PNG"])
    if image.mode not in ("P", "L"):
        raise ValueError(f"{file} holds colours, not class numbers")
    return np.array(image, np.uint8)


def _check_size(size: int) -> None:
    if size > LIMIT:
        raise ValueError(f"it unpacks to {size:,} bytes, more than {LIMIT:,}")
