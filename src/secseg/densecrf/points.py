"""The lattice points of an image: a hash table from keys to numbers, and the chains of neighbours.

Points are numbered from 1. A key is a number made of the coordinates of a point.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from secseg.densecrf.simd import njit

#: Initial size of the hash table, as the exponent of 2.
TABLE_BITS = 14
#: Bits of a key: the remainder of its lattice point, then the quotient of each coordinate.
REMAINDER_BITS = 3


class Points(NamedTuple):
    """Lattice points.

    Attributes:
        keys, mass: (room,) int64 and float32, the key and the sum of the weights of each point.
        table: (4 * room,) int64, the hash table: pairs of a key and its point, which is 0 in an empty pair.
        shift: 64 minus the exponent of the number of pairs.
        size: number of points, below ``room``.
    """

    keys: np.ndarray
    mass: np.ndarray
    table: np.ndarray
    shift: int
    size: int


@njit
def no_points() -> Points:
    """Return an empty hash table."""
    room = 1 << (TABLE_BITS - 1)  # half of the table
    return Points(
        np.empty(room, np.int64), np.empty(room, np.float32), np.zeros(4 * room, np.int64), 64 - TABLE_BITS, 0
    )


@njit
def with_room(points: Points, more: int) -> Points:
    """Return a table that can take ``more`` points."""
    keys, mass, table, shift, count = points
    while count + more + 1 >= len(keys):  # _blur writes to a point after the last one
        keys, mass = np.concatenate((keys, keys)), np.concatenate((mass, mass))
        shift -= 1
        table = np.zeros(4 * len(keys), np.int64)
        for point in range(1, count + 1):
            slot = find_slot(keys[point], table, shift)
            table[slot], table[slot + 1] = keys[point], point
    return Points(keys, mass, table, shift, count)


@njit
def joined(points: Points, others: Points) -> tuple[Points, np.ndarray]:
    """Return all points of two tables, and the new number of each point of the second one."""
    keys, mass, table, shift, count = with_room(points, others.size)
    numbers = np.zeros(others.size + 1, np.int32)
    for other in range(1, others.size + 1):
        key = others.keys[other]
        slot = find_slot(key, table, shift)
        point = table[slot + 1]
        if point == 0:
            count += 1
            point = count
            table[slot], table[slot + 1] = key, point
            keys[point], mass[point] = key, 0
        mass[point] += others.mass[other]
        numbers[other] = point
    return Points(keys, mass, table, shift, count), numbers


@njit
def units_of(directions: int, bits: int) -> tuple[np.ndarray, int]:
    """Return what one more in each coordinate adds to a key, and the key of the origin.

    A key holds the quotients of a point's coordinates by d + 1, shifted above 0, and their common remainder. The last
    coordinate follows from the others, because the sum is 0.
    """
    units = np.zeros(directions, np.int64)
    origin = 0
    for i in range(directions - 1):
        units[i] = np.int64(1) << (REMAINDER_BITS + i * bits)
        origin += int(units[i]) << (bits - 1)
    return units, origin


@njit
def find_slot(key: int, table: np.ndarray, shift: int) -> int:
    """Return the index of ``key`` in the hash table of (key, point) pairs, or of the empty entry (point 0) for it."""
    last = len(table) - 1
    slot = hash_of(key, shift)
    while table[slot + 1] != 0 and table[slot] != key:
        slot = (slot + 2) & last
    return slot


@njit
def hash_of(key: int, shift: int) -> int:
    """Return the index in the hash table at which the search for ``key`` starts."""
    return 2 * int(np.int64((np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(shift)))


@njit
def follow(
    points: Points, bits: int, directions: int, first: int, last: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Follow the neighbours along the directions first..last - 1.

    Returns:
        ``reads`` and ``writes`` of ``Lattice`` for these directions, and (last - first,) the number of entries of each.
    """
    units, _ = units_of(directions, bits)
    keys, _, table, shift, count = points
    all_units, trash = units.sum(), count + 1
    # A chain has two or more points, and one entry before them.
    reads = np.empty((last - first) * (count + count // 2 + 1), np.int32)
    writes = np.empty_like(reads)
    sizes = np.zeros(last - first, np.int64)
    onward, inner, heads = np.empty(count + 1, np.int32), np.empty(count + 1, np.int32), np.empty(count + 1, np.int32)
    size = 0
    # A branch that depends on the points is slow, because the processor cannot predict it.
    for j in range(first, last):
        before, starts = size, 0
        inner[:] = 0
        for point in range(1, count + 1):
            key = keys[point]  # coordinate j goes up by d, all others go down by one
            key += units[j] + (-1 if key & ((1 << REMAINDER_BITS) - 1) else directions - 1 - all_units)
            slot = hash_of(key, shift)
            other = table[slot + 1]
            if (other != 0) & (table[slot] != key):
                other = table[find_slot(key, table, shift) + 1]
            onward[point] = other
            inner[other] = 1
        for point in range(1, count + 1):
            heads[starts] = point
            starts += (inner[point] == 0) & (onward[point] != 0)
        for number in range(starts):
            reads[size], writes[size] = 0, trash
            size += 1
            point = heads[number]
            while point != 0:
                reads[size], writes[size] = point, point
                size += 1
                point = onward[point]
        reads[size], writes[size] = 0, trash
        size += 1
        sizes[j - first] = size - before
    return reads[:size].copy(), writes[:size].copy(), sizes
