"""Pickles of NumPy arrays, read without running anything that they ask for.

A pickle can name any function of any module and call it. Here a few names of NumPy are allowed, each as an exact
(module, name) pair. They are replaced by small classes that accept arrays of given types only, so no NumPy function is
called with arguments from the file.
"""

from __future__ import annotations

import io
import pickle
import re
from typing import Any, ClassVar

import numpy as np

from secseg.utils.errors import UserError


class Dtype:
    """Replaces ``numpy.dtype``.

    Args:
        code: the type as the file names it.
        types, content: as for ``load_arrays``.
    """

    def __init__(self, code: str, types: re.Pattern[str], content: str) -> None:
        if not (isinstance(code, str) and types.fullmatch(code)):
            raise UserError(f"contains an array of type {code!r}; {content} are integers")
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


class _Bytes(io.BytesIO):
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

    def __init__(self, data: bytes, types: re.Pattern[str], content: str, scalars: bool) -> None:
        super().__init__(_Bytes(data), encoding="latin1")
        self.types, self.content, self.scalars = types, content, scalars

    def find_class(self, module: str, name: str) -> Any:
        match module, name:
            case (("numpy.core.multiarray" | "numpy._core.multiarray"), "_reconstruct"):
                return lambda *_: Array()
            case (("numpy.core.multiarray" | "numpy._core.multiarray"), "scalar") if self.scalars:
                return _scalar
            case "numpy", "ndarray":
                return None  # only an argument of _reconstruct
            case "numpy", "dtype":
                return lambda code, *_: Dtype(code, self.types, self.content)
            case "_codecs", "encode":
                return _encoded  # the bytes of an array, as Python 3 writes them in protocol 2
        raise UserError(
            f"asks for {module}.{name}, which is not one of the NumPy names that {self.content} need. "
            "It may be an attempt to run code; nothing was run"
        )

    def refuse_bytearray(self: Any) -> None:
        """Python allocates it before it reads its bytes, and a file can claim any length."""
        raise UserError("contains a bytearray, which arrays do not need")

    dispatch: ClassVar[dict[int, Any]] = {**pickle._Unpickler.dispatch, pickle.BYTEARRAY8[0]: refuse_bytearray}


def _encoded(text: Any, encoding: Any) -> bytes:
    if not (isinstance(text, str) and encoding == "latin1"):
        raise UserError("contains bytes in another form than NumPy's")
    return text.encode("latin1")


def _scalar(dtype: Any, data: Any = b"") -> Any:
    if not isinstance(dtype, Dtype):
        raise UserError("contains a number without a type")
    return dtype.array(data)[0].item()


def load_arrays(data: bytes, types: re.Pattern[str], content: str, scalars: bool = False) -> Any:
    """Return the content of a pickle, with an ``Array`` in place of each NumPy array.

    Args:
        data: the pickle.
        types: legal types of arrays, as NumPy's codes (``i8``).
        content: what the arrays are, in one word, for messages.
        scalars: whether single numbers and strings of NumPy are legal, too.

    Raises:
        UserError: if the pickle asks for anything else. The message has no subject.
        Exception: of any kind, if the pickle is damaged.
    """
    return _Unpickler(data, types, content, scalars).load()
