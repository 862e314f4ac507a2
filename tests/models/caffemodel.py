"""Writes ``.caffemodel`` files, with the encoding of protobuf and the fields of caffe.proto."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


def varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    return bytes([*encoded, value])


def field(number: int, content: bytes | int) -> bytes:
    """A field of bytes (its length goes before it), or of a whole number."""
    if isinstance(content, int):
        return varint(number << 3 | VARINT) + varint(content)
    return varint(number << 3 | BYTES) + varint(len(content)) + content


def legacy_blob(array: np.ndarray) -> bytes:
    """A BlobProto of 2014: num, channels, height, width before the packed values; a bias is (1, 1, 1, n)."""
    shape = (1,) * (4 - array.ndim) + array.shape
    return b"".join(field(n, side) for n, side in enumerate(shape, 1)) + field(5, array.astype("<f4").tobytes())


def blob(array: np.ndarray, packed: bool = True, double: bool = False) -> bytes:
    """A BlobProto with a BlobShape; its values and the sides packed or one by one, float or double."""
    number, kind, wire = (8, "<f8", FIXED64) if double else (5, "<f4", FIXED32)
    values = array.astype(kind)
    sides = [varint(side) for side in array.shape]
    if packed:
        return field(number, values.tobytes()) + field(7, field(1, b"".join(sides)))
    loose = b"".join(varint(number << 3 | wire) + value.tobytes() for value in values.ravel())
    return loose + field(7, b"".join(varint(1 << 3 | VARINT) + side for side in sides))


def layer(name: str, blobs: Sequence[bytes], v1: bool = False) -> bytes:
    """A layer, with fields that are not weights before, between and after its own."""
    number, name_field, blobs_field = (2, 4, 6) if v1 else (100, 1, 7)
    noise = field(3, b"bottom") + varint(35 << 3 | FIXED32) + b"\0\0\x80\x3f" + field(1001, b"share")
    content = noise + field(name_field, name.encode()) + b"".join(field(blobs_field, one) for one in blobs)
    return field(number, content + field(5, 4))


def net(layers: Mapping[str, Sequence[np.ndarray]], v1: bool = False) -> bytes:
    """A NetParameter of these layers, and one without weights."""
    make = legacy_blob if v1 else blob
    parts = [layer(name, [make(array) for array in arrays], v1) for name, arrays in layers.items()]
    return field(1, b"a net") + layer("relu1_1", [], v1) + b"".join(parts) + field(5, 1)
