"""Checks of the arguments: what pydensecrf refuses is refused here, with the same type of exception."""

from __future__ import annotations

from numbers import Number
from typing import Any, NoReturn

import numpy as np

from secseg.densecrf.constants import KernelType, NormalizationType
from secseg.densecrf.permutohedral import largest_feature

PEER = "pydensecrf (pip install pydensecrf2, needs a C++ compiler)"


def unsupported(what: str, remedy: str = f"Use {PEER}") -> NoReturn:
    """Raise the error for a part of pydensecrf that is not here."""
    raise NotImplementedError(f"secseg.densecrf does not support {what}. {remedy}.")


def whole(name: str, value: Any) -> int:
    """Return a number as an int. As in pydensecrf, the part after the point is cut off."""
    if not isinstance(value, Number) or isinstance(value, complex):
        raise TypeError(f"{name}={value!r}: give a whole number, not {type(value).__name__}.")
    return int(value)  # type: ignore[call-overload]


def size(name: str, value: Any) -> int:
    """Return a number of pixels or labels.

    Raises:
        ValueError: below 1. pydensecrf does not check this.
    """
    number = whole(name, value)
    if number < 1:
        raise ValueError(f"{name}={value}: give a number of at least 1.")
    return number


def contiguous(name: str, value: Any, dtype: type[np.generic], dimensions: int) -> np.ndarray:
    """Return a buffer as an array that shares its memory.

    Args:
        name: of the argument, for messages.
        value: a writable C-contiguous array, or another object with the buffer protocol.
        dtype: its type. A bool buffer may be used as uint8.
        dimensions: how many it has.

    Raises:
        TypeError: if it is not a buffer.
        ValueError: if its type, number of dimensions or memory layout is wrong, or it is read-only.
    """
    wanted = np.dtype(dtype)
    if not isinstance(value, np.ndarray):
        try:
            value = np.asarray(memoryview(value))
        except TypeError:
            raise TypeError(f"{name}: give a NumPy array of {wanted}, not {type(value).__name__}.") from None
    array: np.ndarray = value
    if not array.flags.c_contiguous:
        raise ValueError(f"{name} is not C-contiguous, as after a transpose or a slice: np.ascontiguousarray({name}).")
    if not array.flags.writeable:
        raise ValueError(f"{name} is read-only, which pydensecrf refuses: give {name}.copy().")
    if array.ndim != dimensions:
        raise ValueError(f"{name} has {array.ndim} dimensions, of shape {array.shape}: it needs {dimensions}.")
    if array.dtype == bool and wanted == np.uint8:
        return array.view(np.uint8)
    if array.dtype != wanted:
        raise ValueError(f"{name} has the type {array.dtype}, and needs {wanted}: {name}.astype('{wanted}').")
    return array


def one_width(name: str, value: Any, count: int) -> float:
    """Return the width of all ``count`` directions of ``sxy`` or ``srgb``: a number, or a sequence of equal numbers.

    Raises:
        NotImplementedError: if they differ.
        IndexError: if there are too few.
        TypeError: if it is neither.
        ValueError: for numbers that are not above 0. pydensecrf does not check this.
    """
    try:
        given = [value] * count if isinstance(value, Number) else [value[i] for i in range(count)]
    except IndexError:
        raise IndexError(f"{name}={value}: give a number, or {count} equal numbers.") from None
    if any(isinstance(width, str) for width in given):
        raise TypeError(f"{name}={value!r}: give a number.")
    widths = [float(width) for width in given]  # type: ignore[arg-type]
    if len(set(widths)) > 1:
        unsupported(f"different widths, {name}={tuple(widths)}", f"Give one number for all directions, or use {PEER}")
    if not 0 < widths[0] < np.inf:
        raise ValueError(f"{name}={value}: give a number above 0.")
    return widths[0]


def check_range(height: int, width: int, sxy: float, srgb: float | None = None) -> None:
    """Raise a ValueError if widths are too small for the lattice."""
    apart = {"sxy": (max(height, width) - 1) / sxy}
    if srgb is not None:
        apart["srgb"] = 255 / srgb
    most = largest_feature(2 if srgb is None else 5)
    for name, farthest in apart.items():
        if farthest > most:
            raise ValueError(
                f"{name} is too small: pixels can be {farthest:.3g} standard deviations apart, and the lattice "
                f"holds {most:.3g}. Give a larger {name}."
            )


def potts(compat: Any) -> float:
    """Return the weight of a kernel.

    Raises:
        NotImplementedError: for a number below 0, a vector or a matrix.
    """
    if not isinstance(compat, Number):
        try:
            dimensions = memoryview(compat).ndim
        except TypeError:
            raise TypeError(f"compat={compat!r}: give a number.") from None
        if dimensions not in (1, 2):
            raise ValueError(f"compat has {dimensions} dimensions: give a number.")
        shape = ("vector", "matrix")[dimensions - 1]
        unsupported(f"compat as a {shape}", f"Give one number for all labels, or use {PEER}")
    weight = float(compat)  # type: ignore[arg-type]
    if weight < 0:
        unsupported(f"a negative compat ({compat})", f"Give a number of at least 0, or use {PEER}")
    return weight


def check_kind(kernel: Any, normalization: Any) -> None:
    """Raise a NotImplementedError for an unknown kernel, and for any normalization but the symmetric one."""
    kinds = whole("kernel", kernel), whole("normalization", normalization)
    if kinds[0] not in set(KernelType):
        unsupported(f"kernel={kernel}", "Give DIAG_KERNEL, the default")
    if kinds[1] != NormalizationType.NORMALIZE_SYMMETRIC:
        name = {int(kind): kind.name for kind in NormalizationType}.get(kinds[1], kinds[1])
        unsupported(f"normalization={name}", f"Give NORMALIZE_SYMMETRIC, the default, or use {PEER}")
