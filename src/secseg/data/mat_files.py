"""Reading one array out of a MATLAB file (version 5).

SciPy's reader crashes on a file that names a type of numbers which there is not, and makes arrays of cells as large as
a few bytes say. Here no more memory is taken than there are bytes for, unpacked, and these have a bound.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

_HEADER = 128
_BYTES, _MATRIX, _PACKED = 2, 14, 15  # types of elements: unsigned bytes, a matrix, packed elements
_STRUCT, _BYTE_ARRAY = 2, 9  # classes of matrices


def read_field(data: bytes, variable: str, field: str, most: int) -> np.ndarray:
    """Return an array of unsigned bytes: what ``variable.field`` is in MATLAB.

    Args:
        data: the file.
        variable: name of a struct.
        field: name of one of its fields.
        most: bytes that a packed element may unpack to.

    Returns:
        uint8, of the array's shape, not to be written to.

    Raises:
        ValueError, struct.error, zlib.error: where the file is damaged or has no such array.

    Source: MATLAB's "MAT-File Format", level 5.
    """
    order = "<" if data[_HEADER - 2 : _HEADER] == b"IM" else ">"
    for content in _matrices(data, order, most):
        matrix = _parse(content, order)
        if matrix.name == variable.encode() and matrix.kind == _STRUCT and math.prod(matrix.shape) == 1:
            kind, value = _fields(matrix, order).get(field.encode(), (0, b""))
            if kind == _MATRIX:
                return _as_bytes(_parse(value, order))
    raise ValueError(f"it has no struct {variable} with a matrix {field}")


class _Matrix(NamedTuple):
    kind: int
    shape: tuple[int, ...]
    name: bytes
    parts: list[tuple[int, bytes]]


def _matrices(data: bytes, order: str, most: int) -> Iterator[bytes]:
    """Yield the content of each variable."""
    for kind, content in _elements(data[_HEADER:], order):
        if kind == _PACKED:
            unpacker = zlib.decompressobj()
            unpacked = unpacker.decompress(content, most)
            if unpacker.unconsumed_tail:
                raise ValueError(f"it unpacks to more than {most:,} bytes")
            yield from (inner for inner_kind, inner in _elements(unpacked, order) if inner_kind == _MATRIX)
        elif kind == _MATRIX:
            yield content


def _elements(data: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """Yield type and content of the elements that lie one behind the other."""
    at = 0
    while at < len(data):
        kind, size = struct.unpack_from(f"{order}II", data, at)
        start = at + 8
        if kind >> 16:  # up to four bytes, within the tag
            kind, size, start, at = kind & 0xFFFF, kind >> 16, at + 4, at + 8
            if size > 4:
                raise ValueError(f"a small element has {size} bytes")
        else:
            at = start + size + (0 if kind in (_MATRIX, _PACKED) else -size % 8)
        if start + size > len(data):
            raise ValueError(f"an element of {size:,} bytes is cut off")
        yield kind, data[start : start + size]


def _parse(content: bytes, order: str) -> _Matrix:
    (_, flags), (_, sides), (_, name), *parts = _elements(content, order)
    (first,) = struct.unpack_from(f"{order}I", flags)
    return _Matrix(first & 0xFF, struct.unpack(f"{order}{len(sides) // 4}i", sides), name, parts)


def _fields(matrix: _Matrix, order: str) -> dict[bytes, tuple[int, bytes]]:
    """Return type and content of each field of a struct of one entry."""
    (_, length), (_, names), *values = matrix.parts
    (step,) = struct.unpack(f"{order}I", length)
    starts = range(0, len(names), step)
    return dict(zip((names[at : at + step].partition(b"\0")[0] for at in starts), values, strict=True))


def _as_bytes(matrix: _Matrix) -> np.ndarray:
    ((kind, content),) = matrix.parts
    if (matrix.kind, kind) != (_BYTE_ARRAY, _BYTES):
        raise ValueError("the matrix is not one of unsigned bytes")
    if min(matrix.shape, default=0) < 0 or math.prod(matrix.shape) != len(content):
        raise ValueError(f"a matrix of shape {matrix.shape} has {len(content):,} bytes")
    return np.frombuffer(content, np.uint8).reshape(matrix.shape, order="F")
