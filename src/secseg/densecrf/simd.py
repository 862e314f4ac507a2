"""Numba's compiler, and SIMD vectors of eight float32 values for the functions that it compiles.

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
WIDTH = 8
_FLOATS = ir.VectorType(ir.FloatType(), WIDTH)
_INTS = ir.VectorType(ir.IntType(32), WIDTH)


class _Simd(types.Type):
    def __init__(self) -> None:
        super().__init__(name="float32x8")


@register_model(_Simd)
class _SimdModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _FLOATS)


_simd = _Simd()


def _constant(number: float) -> ir.Constant:
    """A vector of ``number`` in each element."""
    return ir.Constant(_FLOATS, [number] * WIDTH)


def _call(builder: Any, name: str, arguments: Sequence[Any], result: Any = _FLOATS) -> Any:
    signature = ir.FunctionType(result, [argument.type for argument in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, signature, name), arguments)


def _muladd(builder: Any, a: Any, b: Any, c: Any) -> Any:
    return _call(builder, "llvm.fmuladd.v8f32", [a, b, c])


def _address(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    """The address of ``array[index]``, which are the first two arguments."""
    data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
    at = context.cast(builder, arguments[1], signature.args[1], types.intp)
    return builder.bitcast(builder.gep(data, [at]), _FLOATS.as_pointer())


@intrinsic
def load(typing: Any, array: Any, index: Any) -> Any:
    """``array[index : index + 8]`` of a contiguous float32 array of one dimension."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(_address(context, builder, signature, arguments), align=4)

    return _simd(array, index), code


@intrinsic
def store(typing: Any, array: Any, index: Any, value: Any) -> Any:
    """``array[index : index + 8] = value``, for an array as in ``load``."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.store(arguments[2], _address(context, builder, signature, arguments), align=4)
        return context.get_dummy_value()

    return types.void(array, index, value), code


@intrinsic
def fetch(typing: Any, array: Any, index: Any) -> Any:
    """Prefetch the cache line of ``array[index]`` for a later ``load``."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address = _address(context, builder, signature, arguments)
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        settings = [number(0), number(3), number(1)]  # for reading, into all caches, data
        _call(builder, "llvm.prefetch.p0", [builder.bitcast(address, byte), *settings], ir.VoidType())
        return context.get_dummy_value()

    return types.void(array, index), code


@intrinsic
def spread(typing: Any, number: Any) -> Any:
    """A vector of ``number`` in each element."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        single = context.cast(builder, arguments[0], signature.args[0], types.float32)
        one = builder.insert_element(ir.Constant(_FLOATS, ir.Undefined), single, ir.Constant(ir.IntType(32), 0))
        return builder.shuffle_vector(one, ir.Constant(_FLOATS, ir.Undefined), ir.Constant(_INTS, [0] * WIDTH))

    return _simd(number), code


def _operation(operands: int, emit: Callable[..., Any]) -> Any:
    """Return an intrinsic of one to three vectors, whose instructions ``emit(builder, *vectors)`` adds."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return emit(builder, *arguments)

    functions: dict[int, Callable[..., Any]] = {
        1: lambda typing, a: (_simd(a), code),
        2: lambda typing, a, b: (_simd(a, b), code),
        3: lambda typing, a, b, c: (_simd(a, b, c), code),
    }
    return intrinsic(functions[operands])


def _maximum(builder: Any, a: Any, b: Any) -> Any:
    return builder.select(builder.fcmp_ordered(">", a, b), a, b)


def _below(builder: Any, a: Any, b: Any) -> Any:
    return builder.select(builder.fcmp_ordered("<", a, b), _constant(1.0), _constant(0.0))


def _round(builder: Any, value: Any) -> Any:
    return _call(builder, "llvm.nearbyint.v8f32", [value])


def _reduced(builder: Any, value: Any, join: Callable[..., Any]) -> Any:
    """Reduce ``value`` with ``join`` in a tree. The result is in each element."""
    for distance in (4, 2, 1):
        order = ir.Constant(_INTS, [number ^ distance for number in range(WIDTH)])
        value = join(builder, value, builder.shuffle_vector(value, ir.Constant(_FLOATS, ir.Undefined), order))
    return value


#: Taylor series of exp up to 1/6!. For |x| <= ln(2) / 2, the remainder is below 2e-7 of the sum.
_SERIES = [1 / math.factorial(k) for k in range(6, -1, -1)]


def _exp(builder: Any, x: Any) -> Any:
    power = _round(builder, builder.fmul(x, _constant(1 / math.log(2))))
    # ln(2) is subtracted in two parts, so that the remainder is exact.
    rest = _muladd(builder, power, _constant(-0.693359375), x)
    rest = _muladd(builder, power, _constant(2.12194440e-4), rest)
    series = _constant(_SERIES[0])
    for factor in _SERIES[1:]:
        series = _muladd(builder, series, rest, _constant(factor))
    exponent = builder.add(builder.fptosi(power, _INTS), ir.Constant(_INTS, [127] * WIDTH))
    scale = builder.bitcast(builder.shl(exponent, ir.Constant(_INTS, [23] * WIDTH)), _FLOATS)
    tiny = builder.fcmp_ordered("<", x, _constant(-60.0))  # False for NaN, which is kept
    return builder.select(tiny, _constant(0.0), builder.fmul(series, scale))


add = _operation(2, lambda builder, a, b: builder.fadd(a, b))
sub = _operation(2, lambda builder, a, b: builder.fsub(a, b))
mul = _operation(2, lambda builder, a, b: builder.fmul(a, b))
divide = _operation(2, lambda builder, a, b: builder.fdiv(a, b))
#: ``a * b + c``, in one instruction if the processor has it.
muladd = _operation(3, _muladd)
#: The element-wise maximum of two vectors.
larger = _operation(2, _maximum)
#: 1 in each element where ``a < b``, else 0.
below = _operation(2, _below)
#: Each element rounded to a whole number, halves to even.
rint = _operation(1, _round)
#: The maximum of all elements, in each element.
highest = _operation(1, lambda builder, value: _reduced(builder, value, _maximum))
#: The sum of all elements, in each element.
total = _operation(1, lambda builder, value: _reduced(builder, value, lambda builder, a, b: builder.fadd(a, b)))
#: ``exp(value)`` for values of at most 0, within 3 roundings of float32. The result is 0 for values below -60: smaller
#: results would not change a sum, but denormal numbers are slow.
exp_falling = _operation(1, _exp)
