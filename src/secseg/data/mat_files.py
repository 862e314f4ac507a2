"""What a MATLAB file (version 5) claims, checked before SciPy reads it: it makes arrays of cells as large as a few
bytes say, and unpacks whatever is packed."""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator

_HEADER = 128
_MATRIX, _PACKED = 14, 15  # types of elements
_NESTED = (1, 2, 3)  # classes of matrices whose entries are matrices: cells, structs, objects
_DEEPEST = 20


def check_mat(data: bytes, most: int) -> None:
    """Make sure that no array in a MATLAB file claims more entries than there are bytes for.

    Args:
        data: the file.
        most: bytes that a packed element may unpack to.

    Raises:
        ValueError, struct.error, zlib.error: where one does, or the file is damaged.

    Source: MATLAB's "MAT-File Format", level 5.
    """
    order = "<" if data[_HEADER - 2 : _HEADER] == b"IM" else ">"
    for kind, content in _elements(data[_HEADER:], order):
        if kind == _PACKED:
            unpacker = zlib.decompressobj()
            content = unpacker.decompress(content, most)
            if unpacker.unconsumed_tail:
                raise ValueError(f"it unpacks to more than {most:,} bytes")
            for inner_kind, inner in _elements(content, order):
                _check(inner_kind, inner, order, 0)
        else:
            _check(kind, content, order, 0)


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


def _check(kind: int, content: bytes, order: str, depth: int) -> None:
    if kind != _MATRIX or not content:
        return
    if depth > _DEEPEST:
        raise ValueError(f"it is nested more than {_DEEPEST} levels deep")
    (_, flags), (_, sides), *parts = _elements(content, order)
    (matrix,) = struct.unpack_from(f"{order}I", flags)
    entries = math.prod(struct.unpack(f"{order}{len(sides) // 4}i", sides))
    if (matrix & 0xFF) in _NESTED and not 0 <= 8 * entries <= len(content):  # each has a tag of eight bytes
        raise ValueError(f"an array claims {entries:,} entries and has {len(content):,} bytes")
    for inner_kind, inner in parts:
        _check(inner_kind, inner, order, depth + 1)
