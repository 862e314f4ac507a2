"""Numba's compiler, and rows of float32 values in SIMD vectors for the functions that it compiles.

Numba vectorises simple loops, but no exponential, and no sum of array slices that are picked by index. With the
functions of this module, the inner loops of the lattice CRF are vector instructions on any processor that LLVM
supports. They do not check anything: an index out of range reads or overwrites other memory.
"""

from __future__ import annotations

import atexit
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numba
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic as numba_intrinsic
from numba.extending import models, register_model

from secseg.utils.files import user_cache


@cache
def _cache_folder() -> str:
    """Return the user's cache, or a folder for this process alone if the cache cannot be written."""
    folder = user_cache() / "numba"
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    if os.access(folder, os.W_OK):
        return str(folder)
    folder = Path(tempfile.mkdtemp(prefix="secseg-numba-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return str(folder)


def njit(function: Callable[..., Any]) -> Any:
    """Compile a function once per machine. It runs without the GIL, so that threads can work on several images.

    By default Numba caches next to the source file. It looks up the folder when it gets the function, so that the
    functions of other packages keep theirs. After a change of the operations below, remove the cache: Numba notices
    only changes of the file that a function is in.
    """
    config: Any = numba.config
    chosen = config.CACHE_DIR
    config.CACHE_DIR = chosen or _cache_folder()
    try:
        return numba.njit(cache=True, nogil=True)(function)
    finally:
        config.CACHE_DIR = chosen


#: Compiled functions call an intrinsic without its first argument, Numba's typing context.
intrinsic: Callable[[Callable[..., Any]], Callable[..., Any]] = numba_intrinsic
#: The number of labels of a row is a multiple of this number.
WIDTH = 8
#: Float32 values of the widest vectors of common processors. LLVM splits such a vector for other processors.
WIDEST = 16
#: The width of a row of one vector, for ``zeros``.
VECTOR = (0,) * WIDEST


def _floats(size: int) -> ir.VectorType:
    return ir.VectorType(ir.FloatType(), size)


def _ints(size: int) -> ir.VectorType:
    return ir.VectorType(ir.IntType(32), size)


class _Row(types.Type):
    """float32 values in vectors of ``WIDEST`` values, of which the last one may have ``WIDTH``."""

    def __init__(self, width: int) -> None:
        super().__init__(name=f"float32x{width}")
        self.sizes = [WIDEST] * (width // WIDEST) + [WIDTH] * (width % WIDEST // WIDTH)


@register_model(_Row)
class _RowModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, ir.LiteralStructType([_floats(size) for size in kind.sizes]))


def _split(builder: Any, row: Any) -> list[Any]:
    """Return the vectors of a row."""
    return [builder.extract_value(row, number) for number in range(len(row.type.elements))]


def _join(builder: Any, vectors: Sequence[Any]) -> Any:
    """Return the row of these vectors."""
    row = ir.Constant(ir.LiteralStructType([vector.type for vector in vectors]), ir.Undefined)
    for number, vector in enumerate(vectors):
        row = builder.insert_value(row, vector, number)
    return row


def _constant(vector: Any, number: float) -> ir.Constant:
    """Return a vector of ``number`` in each element, as long as ``vector``."""
    return ir.Constant(vector.type, [number] * vector.type.count)


def _shuffle(builder: Any, vector: Any, elements: Sequence[int]) -> Any:
    """Return the vector of these elements of ``vector``."""
    order = ir.Constant(_ints(len(elements)), list(elements))
    return builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), order)


def _call(builder: Any, name: str, arguments: Sequence[Any], result: Any) -> Any:
    signature = ir.FunctionType(result, [argument.type for argument in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, signature, name), arguments)


def _muladd(builder: Any, a: Any, b: Any, c: Any) -> Any:
    return _call(builder, f"llvm.fmuladd.v{a.type.count}f32", [a, b, c], a.type)


def _addresses(context: Any, builder: Any, signature: Any, arguments: Any, sizes: Sequence[int]) -> list[Any]:
    """The addresses of the vectors of the row at ``array[index]``, which are the first two arguments."""
    data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
    start = builder.gep(data, [context.cast(builder, arguments[1], signature.args[1], types.intp)])
    addresses = []
    for number, size in enumerate(sizes):
        address = builder.gep(start, [context.get_constant(types.intp, number * WIDEST)])
        addresses.append(builder.bitcast(address, _floats(size).as_pointer()))
    return addresses


@intrinsic
def zeros(typing: Any, width: Any) -> Any:
    """A row of zeros, as many as the tuple ``width`` has entries: the compiler knows the length of a tuple."""
    row = _Row(width.count)

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _join(builder, [ir.Constant(_floats(size), [0.0] * size) for size in row.sizes])

    return row(width), code


@intrinsic
def load(typing: Any, array: Any, index: Any, like: Any) -> Any:
    """The row at ``array[index]`` of a contiguous float32 array of one dimension, as wide as the row ``like``."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        addresses = _addresses(context, builder, signature, arguments, like.sizes)
        return _join(builder, [builder.load(address, align=4) for address in addresses])

    return like(array, index, like), code


@intrinsic
def store(typing: Any, array: Any, index: Any, row: Any) -> Any:
    """Write a row to ``array[index]``, for an array as in ``load``."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        addresses = _addresses(context, builder, signature, arguments, row.sizes)
        for vector, address in zip(_split(builder, arguments[2]), addresses, strict=True):
            builder.store(vector, address, align=4)
        return context.get_dummy_value()

    return types.void(array, index, row), code


@intrinsic
def fetch(typing: Any, array: Any, index: Any) -> Any:
    """Prefetch the cache line of ``array[index]`` for a later ``load``."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        (address,) = _addresses(context, builder, signature, arguments, [WIDTH])
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        settings = [number(0), number(3), number(1)]  # for reading, into all caches, data
        _call(builder, "llvm.prefetch.p0", [builder.bitcast(address, byte), *settings], ir.VoidType())
        return context.get_dummy_value()

    return types.void(array, index), code


@intrinsic
def spread(typing: Any, number: Any, like: Any) -> Any:
    """A row of ``number`` in each element, as wide as the row ``like``."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        single = context.cast(builder, arguments[0], signature.args[0], types.float32)
        one = builder.insert_element(ir.Constant(_floats(1), ir.Undefined), single, ir.Constant(ir.IntType(32), 0))
        return _join(builder, [_shuffle(builder, one, [0] * size) for size in like.sizes])

    return like(number, like), code


def _operation(operands: int, emit: Callable[..., Any]) -> Any:
    """Return an intrinsic of one to three rows, whose instructions ``emit(builder, *vectors)`` adds."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        rows = [_split(builder, argument) for argument in arguments]
        return _join(builder, [emit(builder, *vectors) for vectors in zip(*rows, strict=True)])

    functions: dict[int, Callable[..., Any]] = {
        1: lambda typing, a: (a(a), code),
        2: lambda typing, a, b: (a(a, b), code),
        3: lambda typing, a, b, c: (a(a, b, c), code),
    }
    return intrinsic(functions[operands])


def _reduction(join: Callable[..., Any]) -> Any:
    """Return an intrinsic of a row, which reduces its elements to one number with ``join``."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        parts = []
        for vector in _split(builder, arguments[0]):
            for start in range(0, vector.type.count, WIDTH):
                parts.append(_shuffle(builder, vector, range(start, start + WIDTH)))
        while len(parts) > 1:  # in a tree: a sum of two need not wait for another one
            pairs = [join(builder, a, b) for a, b in zip(parts[::2], parts[1::2], strict=False)]
            parts = pairs + parts[2 * len(pairs) :]
        (rest,) = parts
        for half in (4, 2, 1):
            low, high = (_shuffle(builder, rest, range(start, start + half)) for start in (0, half))
            rest = join(builder, low, high)
        return builder.extract_element(rest, ir.Constant(ir.IntType(32), 0))

    return intrinsic(lambda typing, row: (types.float32(row), code))


def _maximum(builder: Any, a: Any, b: Any) -> Any:
    return builder.select(builder.fcmp_ordered(">", a, b), a, b)


def _below(builder: Any, a: Any, b: Any) -> Any:
    return builder.select(builder.fcmp_ordered("<", a, b), _constant(a, 1.0), _constant(a, 0.0))


def _round(builder: Any, value: Any) -> Any:
    return _call(builder, f"llvm.nearbyint.v{value.type.count}f32", [value], value.type)


#: Taylor series of exp up to 1/6!. For |x| <= ln(2) / 2, the remainder is below 2e-7 of the sum.
_SERIES = [1 / math.factorial(k) for k in range(6, -1, -1)]


def _exp(builder: Any, x: Any) -> Any:
    ints = _ints(x.type.count)
    power = _round(builder, builder.fmul(x, _constant(x, 1 / math.log(2))))
    # ln(2) is subtracted in two parts, so that the remainder is exact.
    rest = _muladd(builder, power, _constant(x, -0.693359375), x)
    rest = _muladd(builder, power, _constant(x, 2.12194440e-4), rest)
    series = _constant(x, _SERIES[0])
    for factor in _SERIES[1:]:
        series = _muladd(builder, series, rest, _constant(x, factor))
    exponent = builder.add(builder.fptosi(power, ints), ir.Constant(ints, [127] * ints.count))
    scale = builder.bitcast(builder.shl(exponent, ir.Constant(ints, [23] * ints.count)), x.type)
    tiny = builder.fcmp_ordered("<", x, _constant(x, -60.0))  # False for NaN, which is kept
    return builder.select(tiny, _constant(x, 0.0), builder.fmul(series, scale))


add = _operation(2, lambda builder, a, b: builder.fadd(a, b))
sub = _operation(2, lambda builder, a, b: builder.fsub(a, b))
mul = _operation(2, lambda builder, a, b: builder.fmul(a, b))
#: ``a * b + c``, in one instruction if the processor has it.
muladd = _operation(3, _muladd)
#: 1 in each element where ``a < b``, else 0.
below = _operation(2, _below)
#: Each element rounded to a whole number, halves to even.
rint = _operation(1, _round)
#: The maximum of all elements, a number.
highest = _reduction(_maximum)
#: The sum of all elements, a number.
total = _reduction(lambda builder, a, b: builder.fadd(a, b))
#: ``exp(value)`` for values of at most 0, within 3 roundings of float32. The result is 0 for values below -60: smaller
#: results would not change a sum, but denormal numbers are slow.
exp_falling = _operation(1, _exp)
