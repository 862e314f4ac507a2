"""Tensors of torch within pickles, read with NumPy alone and without running anything that they ask for.

A pickled tensor is a call of ``torch._utils._rebuild_tensor_v2`` with a storage. The storage is a call of
``torch.storage._load_from_bytes`` with the content of a file that ``torch.save`` wrote in its older layout: five
pickles and the numbers.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from secseg.data.array_pickle import Array, ByteReader
from secseg.utils.errors import UserError

STORAGES = {
    "HalfStorage": "<f2",
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "ShortStorage": "<i2",
    "IntStorage": "<i4",
    "LongStorage": "<i8",
    "BoolStorage": "?",
}
_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001


class _StorageUnpickler(pickle._Unpickler):
    """Reads one of the five pickles; their only names are types of storages. See ``array_pickle`` about its base."""

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        raise UserError(
            f"asks for {module}.{name} in a tensor, which is not a type of storage. It may be an attempt to run code; "
            "nothing was run"
        )

    def persistent_load(self, pid: Any) -> tuple[str, int]:
        kind, dtype, _, _, count, *view = pid
        if kind != "storage" or dtype not in STORAGES.values() or type(count) is not int or any(view):
            raise UserError("contains a tensor whose storage cannot be read")
        return dtype, count


def load_storage(data: Any) -> np.ndarray:
    """Replaces ``torch.storage._load_from_bytes``: return the numbers, (n,)."""
    file = ByteReader(data)
    magic, protocol, _, storage, _ = (_StorageUnpickler(file).load() for _ in range(5))
    if (magic, protocol) != (_MAGIC, _PROTOCOL) or not isinstance(storage, tuple):
        raise UserError("contains a tensor whose storage torch.save did not write")
    dtype, count = storage
    (written,) = struct.unpack("<q", file.read(8))
    numbers = np.frombuffer(file.read(), dtype)
    if not written == count == len(numbers):
        raise UserError(f"contains a tensor with {len(numbers)} numbers instead of {count}")
    return numbers


def rebuild_tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Array:
    """Replaces ``torch._utils._rebuild_tensor_v2``."""
    if not isinstance(storage, np.ndarray) or len(size) != len(stride):
        raise UserError("contains a tensor without numbers")
    if any(type(one) is not int or one < 0 for one in (offset, *size, *stride)):
        raise UserError("contains a tensor of an impossible shape")
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    count = int(np.prod([float(length) for length in size]))
    if count and (last >= len(storage) or count > len(storage)):
        raise UserError(f"contains a tensor of shape {tuple(size)} with only {len(storage)} numbers")
    array = Array()
    if count:
        steps = [step * storage.itemsize for step in stride]
        array.value = np.lib.stride_tricks.as_strided(storage[offset:], size, steps).copy()
    else:
        array.value = np.zeros(size, storage.dtype)
    return array


TENSOR_NAMES: Mapping[tuple[str, str], Callable[..., Any]] = {
    ("torch._utils", "_rebuild_tensor_v2"): rebuild_tensor,
    ("torch.storage", "_load_from_bytes"): load_storage,
    ("collections", "OrderedDict"): dict,  # of hooks, which is empty
}
"""The names that tensors need, for ``load_arrays``."""
