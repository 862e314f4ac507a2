"""Damage a file as a disk, an interrupted copy, a full quota or an editor does."""

from __future__ import annotations

import random
from pathlib import Path


def flip_bit(content: bytearray, rng: random.Random) -> bytearray:
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    return content


def flip_many(content: bytearray, rng: random.Random) -> bytearray:
    for _ in range(rng.randint(2, 64)):
        flip_bit(content, rng)
    return content


def cut_off(content: bytearray, rng: random.Random) -> bytearray:
    return content[: rng.randrange(len(content))]


def extend(content: bytearray, rng: random.Random) -> bytearray:
    return content + rng.randbytes(rng.randint(1, 512))


def zero_block(content: bytearray, rng: random.Random) -> bytearray:
    start = rng.randrange(len(content))
    length = min(rng.randint(1, 4096), len(content) - start)
    content[start : start + length] = bytes(length)
    return content


def swap_block(content: bytearray, rng: random.Random) -> bytearray:
    start = rng.randrange(len(content))
    length = min(rng.randint(1, 512), len(content) - start)
    content[start : start + length] = rng.randbytes(length)
    return content


def empty(content: bytearray, rng: random.Random) -> bytearray:
    return bytearray()


WAYS = (flip_bit, flip_bit, flip_many, cut_off, extend, zero_block, swap_block, empty)


def damage(path: Path, rng: random.Random) -> str:
    """Damage a file that is not empty. Return the name of the damage, or an empty string if nothing changed."""
    way = rng.choice(WAYS)
    before = path.read_bytes()
    after = bytes(way(bytearray(before), rng))
    path.write_bytes(after)
    return way.__name__ if after != before else ""
