"""A reader of Caffe's weights files (``.caffemodel``) that needs neither Caffe nor protobuf.

It reads the few fields that contain weights, and skips all others.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np

from secseg.utils.errors import UserError

# Field numbers of caffe.proto. V1LayerParameter is the layout of 2014, LayerParameter the later one.
_NET_LAYERS_V1, _NET_LAYERS = 2, 100
_V1_NAME, _V1_BLOBS = 4, 6
_LAYER_NAME, _LAYER_BLOBS = 1, 7
_BLOB_LEGACY_SHAPE = (1, 2, 3, 4)  # num, channels, height, width
_BLOB_DATA, _BLOB_SHAPE, _BLOB_DOUBLE_DATA = 5, 7, 8
_SHAPE_DIM = 1
# Wire types of protobuf, and the number of bytes of those with a fixed size.
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED = {_FIXED64: 8, _FIXED32: 4}
_MOST_AXES = 32


def read_caffemodel(path: str | Path) -> dict[str, list[np.ndarray]]:
    """Read the weights of a ``.caffemodel`` as a dict of layer names to blobs, in order. Layers without blobs are left
    out.

    Blobs are float32, or float64 if the file has doubles. In the layout of 2014 they have four axes (num, channels,
    height, width), and biases are (1, 1, 1, n). Every length is compared with the rest of the file before anything of
    this length is read or allocated.

    Raises:
        UserError: if the file is missing, truncated, damaged or not a caffemodel, with the offset of the fault.

    Source: caffe.proto (NetParameter, V1LayerParameter, LayerParameter, BlobProto, BlobShape) and the encoding of
    protobuf.
    """
    path = Path(path).expanduser()
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            layers = _Message(path, data, 0, len(data)).layers()
    except (OSError, ValueError) as error:  # an empty file cannot be mapped: ValueError
        if isinstance(error, UserError):
            raise
        reason = error.strerror if isinstance(error, OSError) else "it is empty"
        raise UserError(f"The Caffe model {path} cannot be read: {reason}. Check the path.") from error
    if not layers:
        raise UserError(f"{path} has no layer with weights. Give a .caffemodel (not a .prototxt or .solverstate).")
    return layers


class _Field(NamedTuple):
    """A field of a message. A varint is in ``value``; the bytes of other fields are from ``start`` to ``end``."""

    number: int
    wire: int
    value: int
    start: int
    end: int


class _Message(NamedTuple):
    """A protobuf message: the bytes from ``start`` to ``end`` of the mapped file."""

    path: Path
    data: mmap.mmap
    start: int
    end: int

    def layers(self) -> dict[str, list[np.ndarray]]:
        """Read this message as a NetParameter."""
        layers: dict[str, list[np.ndarray]] = {}
        kinds = {_NET_LAYERS_V1: (_V1_NAME, _V1_BLOBS), _NET_LAYERS: (_LAYER_NAME, _LAYER_BLOBS)}
        for field in self.fields():
            if field.number not in kinds:
                continue
            name_field, blobs_field = kinds[field.number]
            name, blobs = "", []
            layer = self.inside(field)
            for part in layer.fields():
                if part.number == name_field:
                    inner = layer.inside(part)
                    name = self.data[inner.start : inner.end].decode("utf-8", "backslashreplace")
                elif part.number == blobs_field:
                    blobs.append(layer.inside(part).blob())
            if blobs and name in layers:
                self.fail(field.start, f"two layers are called {name!r}")
            if blobs:
                layers[name] = blobs
        return layers

    def blob(self) -> np.ndarray:
        """Read this message as a BlobProto."""
        floats, doubles, shape = bytearray(), bytearray(), []
        legacy: dict[int, int] = {}
        for field in self.fields():
            if field.number in _BLOB_LEGACY_SHAPE and field.wire == _VARINT:
                legacy[field.number] = field.value
            elif field.number == _BLOB_SHAPE:
                shape += self.inside(field).dims()
            elif field.number == _BLOB_DATA:
                floats += self.numbers(field, _FIXED32)
            elif field.number == _BLOB_DOUBLE_DATA:
                doubles += self.numbers(field, _FIXED64)
        array = np.frombuffer(doubles, "<f8") if doubles else np.frombuffer(floats, "<f4")
        axes = [legacy.get(number, 0) for number in _BLOB_LEGACY_SHAPE] if legacy else shape
        if array.size == 0 or math.prod(axes) != array.size:
            self.fail(self.start, f"a blob of shape {tuple(axes)} has {array.size} values")
        return array.reshape(axes)

    def numbers(self, field: _Field, wire: int) -> bytes:
        """Return the bytes of a repeated float or double: a single number, or many packed ones."""
        if field.wire not in (wire, _BYTES) or (field.end - field.start) % _FIXED[wire]:
            self.fail(field.start, "the numbers of a blob have the wrong size")
        return self.data[field.start : field.end]

    def dims(self) -> list[int]:
        """Read this message as a BlobShape."""
        dims: list[int] = []
        for field in self.fields():
            if field.number == _SHAPE_DIM and field.wire == _VARINT:
                dims.append(field.value)
            elif field.number == _SHAPE_DIM:
                position = self.inside(field).start
                while position < field.end:
                    value, position = self.varint(position, field.end)
                    dims.append(value)
            if len(dims) > _MOST_AXES:
                self.fail(self.start, f"a blob has more than {_MOST_AXES} axes")
        return dims

    def inside(self, field: _Field) -> _Message:
        """Return the message that is the content of ``field``."""
        if field.wire != _BYTES:
            self.fail(field.start, f"field {field.number} is not a message")
        return self._replace(start=field.start, end=field.end)

    def fields(self) -> Iterator[_Field]:
        position = self.start
        while position < self.end:
            at = position
            tag, position = self.varint(position, self.end)
            number, wire = tag >> 3, tag & 7
            value, length = 0, 0
            if wire == _VARINT:
                value, position = self.varint(position, self.end)
            elif wire == _BYTES:
                length, position = self.varint(position, self.end)
            elif wire in _FIXED:
                length = _FIXED[wire]
            if number == 0 or wire not in (_VARINT, _BYTES, *_FIXED):
                self.fail(at, f"there is no field {number} of wire type {wire}")
            if length > self.end - position:
                self.fail(at, f"field {number} has {length} bytes, but only {self.end - position} are left")
            yield _Field(number, wire, value, position, position + length)
            position += length

    def varint(self, position: int, end: int) -> tuple[int, int]:
        """Read a varint (7 bits per byte, the lowest first). Return its value and the position after it."""
        value = 0
        for at in range(position, min(position + 10, end)):
            byte = self.data[at]
            value |= (byte & 0x7F) << (7 * (at - position))
            if byte < 0x80:
                return value, at + 1
        self.fail(position, "a number is truncated" if end - position < 10 else "a number is too long")

    def fail(self, offset: int, problem: str) -> NoReturn:
        raise UserError(
            f"{self.path} is truncated or not a Caffe model: at offset {offset}, {problem}. Download it again, or give "
            "a .caffemodel (not a .prototxt or .solverstate)."
        )
