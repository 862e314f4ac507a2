"""What the C library does with memory that is freed."""

from __future__ import annotations

import ctypes
import os

# malloc.h of glibc
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8


def keep_freed_memory() -> bool:
    """Have this process keep the memory that it frees, for what it allocates next; to be called before it has threads.

    glibc takes large blocks from the kernel one by one and gives them back when they are freed, and does so with the
    end of its heap, too. A convolutional network allocates such blocks in each pass, and the kernel clears their pages
    each time they are touched anew. Here no block is taken by itself, the heap is not trimmed, and all threads share
    one heap. The process stays as large as it has been.

    Source: mallopt(3); that the settings work, for blocks of 48 MiB and in a further thread, is tested.

    Returns:
        Whether it is so now. It is not where the C library is another, or where the user has chosen, by
        ``MALLOC_*`` or ``GLIBC_TUNABLES`` or by another allocator in ``LD_PRELOAD``.
    """
    if not _is_glibc() or any(_is_choice(name) for name in os.environ):
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return all([mallopt(_MMAP_MAX, 0), mallopt(_TRIM_THRESHOLD, -1), mallopt(_ARENA_MAX, 1)])


def _is_glibc() -> bool:
    try:
        return bool(os.confstr("CS_GNU_LIBC_VERSION"))
    except (AttributeError, OSError, ValueError):
        return False


def _is_choice(variable: str) -> bool:
    return variable.startswith("MALLOC_") or variable in ("GLIBC_TUNABLES", "LD_PRELOAD")
