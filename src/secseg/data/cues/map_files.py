"""Class activation maps and masks that other programs wrote: one file for each image, in one of six layouts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from secseg.data.array_pickle import load_object
from secseg.data.classes import VOID
from secseg.data.cues.store import resample
from secseg.data.tensor_pickle import TENSOR_NAMES
from secseg.utils.errors import UserError

LAYOUTS = {
    "irn_cam": "CAMs of IRN (keys, high_res)",
    "irn_cam_strided": "CAMs of IRN without high_res (keys, cam)",
    "clip_es": "CAMs of CLIP-ES (keys, attn_highres)",
    "psa_cam": "CAMs of PSA (class: map)",
    "psa_crf": "CRF files of PSA (0: background, class + 1: probability)",
    "png": "PNGs of class numbers (0: background, 255: not sure)",
}
"""What each layout is, for messages."""
NOT_SURE = 0.15
"""Value of all maps of an image where it has no cue: between IRN's thresholds, 0.05 for the background and 0.3 for
classes, so that IRN's code takes such pixels for not sure, too."""
_PARTS = {"high_res": "irn_cam", "attn_highres": "clip_es", "cam": "irn_cam_strided"}
_TYPES = re.compile(r"O8?|[iu][1248]|f[248]|b1")
_EXPECTED = "Expected " + "; ".join(what for layout, what in LAYOUTS.items() if layout != "png") + "."
_SUM_ERROR = 0.01
"""Largest difference of a sum of probabilities from 1, also in half precision."""


@dataclass(frozen=True)
class ClassMaps:
    """The maps of one image, from a file.

    Attributes:
        classes: foreground class numbers, from 1, sorted.
        maps: (K, h, w) float32 in 0..1, one for each class.
        background: (h, w) float32, the probability of the background; None if the file does not have it.
    """

    classes: tuple[int, ...]
    maps: np.ndarray
    background: np.ndarray | None = None

    def on_grid(self, grid: tuple[int, int]) -> ClassMaps:
        """Return the maps on a grid (h, w): each cell has the value of the pixel at its centre, corners aligned."""
        background = None if self.background is None else resample(self.background, grid)
        maps = np.zeros((len(self.maps), *grid), np.float32)
        for at, one in enumerate(self.maps):
            maps[at] = resample(one, grid)
        return ClassMaps(self.classes, maps, background)


def possible_layouts(path: Path) -> set[str]:
    """Return the layouts that the content of a ``.npy`` file can have; errors as ``read_class_maps``.

    Only one is possible, except for files of PSA with one map, of key 0, that is 1 everywhere.
    """
    return _layouts(path, _load(path))


def read_class_maps(path: Path, layout: str, class_names: Sequence[str], size: tuple[int, int]) -> ClassMaps:
    """Read a ``.npy`` file of another program.

    Args:
        path: the file.
        layout: a key of ``LAYOUTS`` other than ``png``.
        class_names: the classes, background first.
        size: (H, W) of the image. Maps may be smaller or larger; see ``same_shape``.

    Raises:
        UserError: if the file is missing, damaged, of another layout or of other classes, asks for anything but arrays
            and tensors, or if its maps are not finite, not in 0..1, not one for each key, or not of the image's shape.
    """
    content = _load(path)
    if layout not in (layouts := _layouts(path, content)):
        raise UserError(
            f"{path} holds {LAYOUTS[min(layouts)]}, and other files in its folder hold {LAYOUTS[layout]}. All files of "
            f"a folder must have one layout. {_remedy(path)}"
        )
    if layout in _PARTS.values():
        found = _from_keys(path, content, next(part for part, name in _PARTS.items() if name == layout))
    else:
        found = {key + (layout == "psa_cam"): _array(path, one, 2, f"map of key {key}") for key, one in content.items()}
    least = 0 if layout == "psa_crf" else 1
    outside = sorted(number for number in found if not least <= number < len(class_names))
    if outside:
        raise UserError(
            f"{path} has maps of the keys {', '.join(str(number - least) for number in outside[:10])}, but the classes "
            f"have the keys 0 to {len(class_names) - 1 - least}. Choose the data set that the file was made for."
        )
    for number, one in found.items():
        _check_values(path, class_names[number], one)
        if one.shape != next(iter(found.values())).shape or not same_shape(one.shape, size):
            raise UserError(
                f"{path}: the map of {class_names[number]} has the shape {one.shape}, and the image {tuple(size)}. A "
                f"map shows the whole image, as (height, width), in its proportions or as a square. {_remedy(path)}"
            )
    background = found.pop(0, None)
    classes = tuple(sorted(found))
    maps = [found[number].astype(np.float32) for number in classes]
    empty = np.zeros((0, *(size if background is None else background.shape)), np.float32)
    return ClassMaps(classes, np.stack(maps) if maps else empty, background)


def maps_of_mask(mask: np.ndarray) -> ClassMaps:
    """Return the maps of the classes in a mask (h, w) uint8: 1 at the pixels of the class, ``NOT_SURE`` where the mask
    has 255, else 0."""
    classes = tuple(np.setdiff1d(mask, (0, VOID)).tolist())
    return ClassMaps(classes, label_maps(mask, classes))


def label_maps(mask: np.ndarray, classes: Sequence[int]) -> np.ndarray:
    """Return the maps (K, h, w) float32 of ``classes`` in a mask, as ``maps_of_mask`` does."""
    unsure = np.where(mask == VOID, np.float32(NOT_SURE), np.float32(0))
    return np.stack([np.where(mask == number, np.float32(1), unsure) for number in classes] or [unsure])[: len(classes)]


def same_shape(shape: Sequence[int], size: Sequence[int]) -> bool:
    """Return whether maps of ``shape`` (h, w) can show the whole image of ``size`` (H, W): the ratios of the sides are
    equal, up to one pixel, or the maps are square, as for networks that squeeze their input."""
    (h, w), (height, width) = shape, size
    return h > 0 and w > 0 and (h == w or abs(h * width - w * height) <= max(height, width, h, w))


def _load(path: Path) -> Mapping[Any, Any]:
    try:
        content = load_object(path.read_bytes(), _TYPES, "maps", TENSOR_NAMES)
    except UserError as error:
        raise UserError(f"{path} {error}. {_EXPECTED}") from error
    except OSError as error:
        raise UserError(f"Cannot read the maps {path}: {error.strerror}.") from error
    except Exception as error:  # a damaged file can fail in any way
        raise UserError(f"The maps {path} are truncated or damaged ({error}). {_remedy(path)}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} holds a {type(content).__name__.lower()} instead of a dict. {_EXPECTED}")
    return content


def _layouts(path: Path, content: Mapping[Any, Any]) -> set[str]:
    for part, layout in _PARTS.items():
        if part in content and "keys" in content:
            return {layout}
    if not all(type(key) is int for key in content):
        keys = ", ".join(str(key)[:40] for key in list(content)[:5])
        raise UserError(f"{path} holds a dict with the keys {keys}. {_EXPECTED}")
    if 0 not in content or not _sums_to_one(path, content):
        return {"psa_cam"}
    return {"psa_crf"} if len(content) > 1 else {"psa_cam", "psa_crf"}


def _from_keys(path: Path, content: Mapping[Any, Any], part: str) -> dict[int, np.ndarray]:
    keys, maps = _array(path, content["keys"], 1, "keys"), _array(path, content[part], 3, part)
    if keys.dtype.kind not in "iu" and keys.size:
        raise UserError(f"{path}: keys are {keys.dtype} numbers instead of class numbers. {_remedy(path)}")
    if len(keys) != len(maps) or len(np.unique(keys)) != len(keys):
        raise UserError(
            f"{path} has {len(keys)} keys ({len(np.unique(keys))} different ones) and {len(maps)} maps in {part}. "
            f"{_remedy(path)}"
        )
    return {int(key) + 1: one for key, one in zip(keys, maps, strict=True)}


def _array(path: Path, entry: Any, dimensions: int, what: str) -> np.ndarray:
    value = np.array(entry) if isinstance(entry, list | tuple) else getattr(entry, "value", None)
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "iufb" or value.ndim != dimensions:
        shape = f"an array of shape {value.shape}" if isinstance(value, np.ndarray) else f"a {type(entry).__name__}"
        raise UserError(f"{path}: {what} is {shape} instead of an array of {dimensions} dimensions. {_remedy(path)}")
    return value


def _check_values(path: Path, name: str, values: np.ndarray) -> None:
    if not np.isfinite(values).all():
        raise UserError(f"{path}: the map of {name} has values that are not finite (NaN, infinite). {_remedy(path)}")
    low, high = float(values.min(initial=0)), float(values.max(initial=0))
    if low < 0 or high > 1:
        raise UserError(
            f"{path}: the map of {name} has values from {low:g} to {high:g}; maps are in 0..1. Set negative values to "
            "0, and divide each map by its maximum."
        )


def _sums_to_one(path: Path, content: Mapping[int, Any]) -> bool:
    maps = [_array(path, one, 2, f"map of key {key}") for key, one in content.items()]
    if any(one.shape != maps[0].shape for one in maps):
        return False
    return bool(np.all(np.abs(np.sum(maps, axis=0, dtype=np.float64) - 1) <= _SUM_ERROR))


def _remedy(path: Path) -> str:
    return f"Make {path.name} again, or leave the image out of the split."
