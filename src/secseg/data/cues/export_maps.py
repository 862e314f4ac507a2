"""Maps and cues of single images in the layouts of IRN (``.npy`` files, ``ir_label``) and PSA (``.npy`` files)."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from PIL import Image

from secseg.utils.files import atomic_write


def strided_size(size: tuple[int, int]) -> tuple[int, int]:
    """Return (h, w) of the smaller maps in IRN's files: a quarter of (H, W), rounded up."""
    return (size[0] - 1) // 4 + 1, (size[1] - 1) // 4 + 1


def write_irn_cam(path: Path, classes: Sequence[int], maps: np.ndarray, strided: np.ndarray) -> None:
    """Write the maps of an image as IRN does: a pickled dict of ``keys`` (torch int64, class - 1), ``cam`` (torch
    float32) and ``high_res`` (NumPy float32).

    Args:
        path: the file, ``<id>.npy``.
        classes: K foreground classes, from 1.
        maps: (K, H, W) float32 in 0..1, at the size of the image.
        strided: (K, h, w) float32, as ``strided_size``.

    Raises:
        UserError: as ``atomic_write``.
    """
    keys = torch.tensor([number - 1 for number in classes], dtype=torch.int64)
    _save(path, {"keys": keys, "cam": torch.from_numpy(strided), "high_res": maps})


def write_psa_cam(path: Path, classes: Sequence[int], maps: np.ndarray) -> None:
    """Write the maps (K, H, W) float32 in 0..1 of an image as PSA does: a pickled dict of class - 1 to map. Arguments
    and errors as for ``write_irn_cam``."""
    _save(path, {number - 1: one for number, one in zip(classes, maps, strict=True)})


def write_ir_label(path: Path, labels: np.ndarray) -> None:
    """Write (H, W) uint8 class numbers, 255 = not sure, as a grey PNG. IRN's code reads a palette as colours.

    Raises:
        UserError: as ``atomic_write``.
    """
    with atomic_write(path) as temporary:
        Image.fromarray(labels).save(temporary, format="PNG")


_PICKLER: Any = pickle._Pickler


class _Pickler(pickle._Pickler):
    """Names NumPy's modules as releases before 1.26 do, which IRN and PSA were written for. Later releases read it."""

    def save_global(self: Any, obj: Any, name: str | None = None) -> None:
        if getattr(obj, "__module__", None) == "numpy._core.multiarray":
            self.write(pickle.GLOBAL + f"numpy.core.multiarray\n{obj.__name__}\n".encode())
            self.memoize(obj)
        else:
            _PICKLER.save_global(self, obj, name)


def _save(path: Path, content: dict[Any, Any]) -> None:
    """Write what ``np.save`` writes for a dict, with protocol 3."""
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        _write_header(file)
        _Pickler(file, protocol=3).dump(np.array(content, dtype=object))


def _write_header(file: IO[bytes]) -> None:
    np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": ()})
