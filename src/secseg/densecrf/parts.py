"""The parts that a large image is split into, which threads share.

The parts do not depend on the number of threads, and neither does the result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

#: Least number of pixels, and the number of parts of such an image.
PARTS = ((2**21, 8), (2**19, 4), (2**16, 2))


def parts_of(n: int) -> int:
    """Return the number of parts of an image of n pixels."""
    return next((parts for least, parts in PARTS if n >= least), 1)


def bounds_of(n: int, parts: int, multiple: int = 1) -> list[tuple[int, int]]:
    """Return the first index of each part of ``range(n)``, a multiple of a number, and the index after the last one."""
    starts = [n * part // parts // multiple * multiple for part in range(parts)]
    return list(zip(starts, [*starts[1:], n], strict=True))


@contextmanager
def workers(threads: int) -> Iterator[Callable[..., Iterator[Any]]]:
    """Yield a function like ``map``, whose calls run in this number of threads."""
    if threads == 1:
        yield map
    else:
        with ThreadPoolExecutor(threads) as pool:
            yield pool.map
