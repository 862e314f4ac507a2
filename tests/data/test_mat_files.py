"""MATLAB files, written here by the format's description in either byte order, and by SciPy."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from secseg.data.mat_files import read_field

STRUCT, DOUBLES, BYTES = 2, 6, 9
VALUES = np.arange(35, dtype=np.uint8).reshape(5, 7)


def element(order: str, kind: int, content: bytes) -> bytes:
    if 0 < len(content) <= 4:
        return struct.pack(f"{order}I", len(content) << 16 | kind) + content.ljust(4, b"\0")
    return struct.pack(f"{order}II", kind, len(content)) + content + bytes(-len(content) % 8)


def matrix(order: str, kind: int, sides: tuple[int, ...], name: bytes, parts: bytes) -> bytes:
    flags = element(order, 6, struct.pack(f"{order}II", kind, 0))
    shape = element(order, 5, struct.pack(f"{order}{len(sides)}i", *sides))
    return element(order, 14, flags + shape + element(order, 1, name) + parts)


def mat_file(
    order: str = "<",
    sides: tuple[int, ...] = VALUES.shape,
    structs: tuple[int, ...] = (1, 1),
    kind: int = BYTES,
    storage: int = 2,
    step: int = 16,
    packed: bool = False,
) -> bytes:
    """A struct ``truth`` with the fields ``other`` and ``mask``."""
    other = matrix(order, DOUBLES, (1, 1), b"", element(order, 2050, bytes(8)))  # a type of numbers which there is not
    mask = matrix(order, kind, sides, b"", element(order, storage, VALUES.tobytes("F")))
    names = b"other".ljust(16, b"\0") + b"mask".ljust(16, b"\0")
    fields = element(order, 5, struct.pack(f"{order}i", step)) + element(order, 1, names) + other + mask
    content = matrix(order, STRUCT, structs, b"truth", fields)
    if packed:
        content = struct.pack(f"{order}II", 15, len(zlib.compress(content))) + zlib.compress(content)
    return bytes(124) + struct.pack(f"{order}HH", 0x0100, 0x4D49) + content


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("order", "<>")
def test_a_field_is_read_in_either_byte_order_packed_or_not(order: str, packed: bool) -> None:
    np.testing.assert_array_equal(read_field(mat_file(order, packed=packed), "truth", "mask", 1000), VALUES)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (3, 1), (500, 375), (0, 3)])
def test_it_reads_what_scipy_writes(shape: tuple[int, int], packed: bool) -> None:
    values = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
    file = io.BytesIO()
    savemat(file, {"a": 1.0, "GTcls": {"x": np.eye(3), "Segmentation": values, "y": "text"}}, do_compression=packed)
    np.testing.assert_array_equal(read_field(file.getvalue(), "GTcls", "Segmentation", 10**6), values)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sides": (5, 8)}, r"a matrix of shape \(5, 8\) has 35 bytes"),
        ({"sides": (-5, -7)}, "a matrix of shape"),
        ({"sides": (2**31 - 1, 2**31 - 1)}, "a matrix of shape"),
        ({"kind": DOUBLES}, "not one of unsigned bytes"),
        ({"storage": 2050}, "not one of unsigned bytes"),
        ({"structs": (1, 117_440_768)}, "no struct truth"),
        ({"structs": (2**31 - 1, 2**31 - 1)}, "no struct truth"),
        ({"structs": (-1, 1)}, "no struct truth"),
        ({"step": 0}, "must not be zero"),
        ({"step": 5}, "argument 2 is shorter"),
        ({"packed": True}, "unpacks to more than 100 bytes"),
    ],
)
def test_what_does_not_fit_is_told(changes: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, struct.error), match=message):
        read_field(mat_file(**changes), "truth", "mask", 100)


@pytest.mark.parametrize(("variable", "field"), [("mask", "mask"), ("truth", "other2"), ("truth", "")])
def test_a_name_that_is_not_there_is_told(variable: str, field: str) -> None:
    with pytest.raises(ValueError, match=f"no struct {variable} with a matrix {field}"):
        read_field(mat_file(), variable, field, 1000)
