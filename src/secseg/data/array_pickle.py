"""Pickles of NumPy arrays, read without running anything that they ask for.

A pickle can name any function of any module and call it. Here a few names of NumPy are allowed, each as an exact
(module, name) pair. They are replaced by small classes that accept arrays of given types only, so no NumPy function is
called with arguments from the file.
"""

from __future__ import annotations

import io
import pickle
import re
import struct
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np

from secseg.utils.errors import UserError

MAGIC = b"\x93NUMPY"
"""The first bytes of a file of ``np.save``."""


class Dtype:
    """Replaces ``numpy.dtype``.

    Args:
        code: the type as the file names it.
        types, content: as for ``load_arrays``.
    """

    def __init__(self, code: str, types: re.Pattern[str], content: str) -> None:
        if not (isinstance(code, str) and types.fullmatch(code)):
            raise UserError(f"contains an array of type {code!r}, which {content} do not need")
        self.code = "=" + code

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        order = {"<": "<", ">": ">", "|": "=", "=": "="}
        self.code = order[state[1]] + self.code[1:]

    def array(self, data: Any) -> np.ndarray:
        raw = data.encode("latin1") if isinstance(data, str) else data
        return np.frombuffer(raw, dtype=np.dtype(self.code))


class Array:
    """Replaces ``numpy.ndarray``: gets its array, or its list of objects, with its state."""

    value: np.ndarray
    objects: list[Any] | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, data = state
        if not isinstance(dtype, Dtype):
            raise UserError("contains an array without a type")
        if dtype.code[1:] in ("O", "O8"):
            self.objects = list(data)
        else:
            self.value = dtype.array(data).reshape(shape, order="F" if fortran else "C")


class ByteReader(io.BytesIO):
    """Raises an error at the end of a truncated file; the unpickler in Python would continue with half a name."""

    def readline(self, size: int | None = -1, /) -> bytes:
        line = super().readline(size)
        if not line.endswith(b"\n"):
            raise EOFError("it ends within a name")
        return line


class _Unpickler(pickle._Unpickler):
    """Allows a few names, and refuses all others before they are imported.

    The base class is Python's implementation: the one in C allocates a memo as large as the file claims, which can be
    gigabytes for ten bytes.
    """

    def __init__(
        self,
        data: bytes,
        types: re.Pattern[str],
        content: str,
        scalars: bool,
        names: Mapping[tuple[str, str], Callable[..., Any]],
    ) -> None:
        super().__init__(ByteReader(data), encoding="latin1")
        self.types, self.content, self.scalars, self.names = types, content, scalars, names

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in self.names:
            return lambda *given: self.names[module, name](*given)  # a pickle could set attributes of a function
        match module, name:
            case (("numpy.core.multiarray" | "numpy._core.multiarray"), "_reconstruct"):
                return lambda *_: Array()
            case (("numpy.core.multiarray" | "numpy._core.multiarray"), "scalar") if self.scalars:
                return lambda *given: _scalar(*given)
            case (("numpy.core.numeric" | "numpy._core.numeric"), "_frombuffer"):
                return lambda *given: _from_buffer(*given)
            case "numpy", "ndarray":
                return None  # only an argument of _reconstruct
            case "numpy", "dtype":
                return lambda code, *_: Dtype(code, self.types, self.content)
            case "_codecs", "encode":
                return lambda *given: _encoded(*given)  # the bytes of an array, as Python 3 writes them in protocol 2
        raise UserError(
            f"asks for {module}.{name}, which is not one of the NumPy names that {self.content} need. "
            "It may be an attempt to run code; nothing was run"
        )

    def read_bytearray(self: Any) -> None:
        """Read it as bytes. Python would allocate it before it reads its bytes, and a file can claim any length."""
        (length,) = struct.unpack("<Q", self.read(8))
        data = self.read(length)
        if len(data) < length:
            raise EOFError("it ends within a bytearray")
        self.append(data)

    dispatch: ClassVar[dict[int, Any]] = {**pickle._Unpickler.dispatch, pickle.BYTEARRAY8[0]: read_bytearray}


def _encoded(text: Any, encoding: Any) -> bytes:
    if not (isinstance(text, str) and encoding == "latin1"):
        raise UserError("contains bytes in another form than NumPy's")
    return text.encode("latin1")


def _scalar(dtype: Any, data: Any = b"") -> Any:
    if not isinstance(dtype, Dtype):
        raise UserError("contains a number without a type")
    return dtype.array(data)[0].item()


def _from_buffer(data: Any, dtype: Any, shape: Any, order: Any, *_: Any) -> Array:
    """Replaces NumPy's function of this name, which arrays need in pickles of protocol 5."""
    array = Array()
    array.__setstate__((1, shape, dtype, order == "F", data))
    return array


def read_header(file: io.BytesIO) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return shape and type of the array in a file of ``np.save``, whose content then starts at the position of
    ``file``. A damaged file raises an exception of any kind."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    return shape, dtype


def load_object(
    data: bytes,
    types: re.Pattern[str],
    content: str,
    names: Mapping[tuple[str, str], Callable[..., Any]] | None = None,
) -> Any:
    """Return the single object in a file of ``np.save``, with an ``Array`` in place of each NumPy array.

    Args:
        data: the file's content. Other arguments as for ``load_arrays``, with scalars.

    Raises:
        UserError: if this is no file of ``np.save``, or one of plain numbers; as ``load_arrays``. The message has no
            subject.
        Exception: of any kind, if the file is damaged.
    """
    file = io.BytesIO(data)
    if not data.startswith(MAGIC):
        raise UserError("is not a file of np.save")
    shape, dtype = read_header(file)
    if not dtype.hasobject:
        raise UserError(f"holds an array of type {dtype} and shape {shape} instead of a dict")
    found = load_arrays(data[file.tell() :], types, content, scalars=True, names=names)
    objects = found.objects if isinstance(found, Array) else None
    if objects is None or len(objects) != 1:
        raise UserError("holds several objects instead of a dict")
    return objects[0]


def load_arrays(
    data: bytes,
    types: re.Pattern[str],
    content: str,
    scalars: bool = False,
    names: Mapping[tuple[str, str], Callable[..., Any]] | None = None,
) -> Any:
    """Return the content of a pickle, with an ``Array`` in place of each NumPy array.

    Args:
        data: the pickle.
        types: legal types of arrays, as NumPy's codes (``i8``).
        content: what the arrays are, in one word, for messages.
        scalars: whether single numbers and strings of NumPy are legal, too.
        names: what replaces further names, by module and name.

    Raises:
        UserError: if the pickle asks for anything else. The message has no subject.
        Exception: of any kind, if the pickle is damaged.
    """
    return _Unpickler(data, types, content, scalars, names or {}).load()
