"""The device, the precision that it is fast at, and memory that this process keeps. Imports torch only when needed."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from secseg.utils.errors import UserError, nearest

if TYPE_CHECKING:
    import torch

PRECISIONS = ("auto", "32-true", "bf16-mixed", "16-mixed")
"""Precisions of a training, ``trainer.precision``."""

ALLOCATION = ("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD")
"""The start of the names of variables that choose how memory is allocated."""

# malloc.h of glibc
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8


def resolve_precision(precision: str, accelerator: str) -> str:
    """Return what ``trainer.precision`` means on this machine.

    ``auto`` is ``bf16-mixed`` if the device has instructions for bfloat16, else ``32-true``: emulated, bfloat16 takes
    several times as long on a CPU. Any other precision is returned as it is.

    Args:
        precision: one of ``PRECISIONS``.
        accelerator: ``trainer.accelerator`` (``auto``, ``cpu``, ``gpu`` or ``mps``), or a device's type.
    """
    if precision != "auto":
        return precision
    return "bf16-mixed" if multiplies_in_bfloat16(accelerator) else "32-true"


def multiplies_in_bfloat16(accelerator: str) -> bool:
    """Return whether the device of ``accelerator`` has instructions for bfloat16."""
    import torch

    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if accelerator == "cpu" or (accelerator == "auto" and not torch.backends.mps.is_available()):
        return torch.cpu._is_avx512_bf16_supported()
    return False


def keep_freed_memory() -> bool:
    """Make this process keep the memory that it frees, for its next allocations. Call it before threads are started.

    glibc takes each large block from the kernel and returns it when it is freed, like the end of its heap. A
    convolutional network allocates such blocks in each pass, and the kernel clears their pages each time. With this
    setting no block is taken singly, the heap is not trimmed, and all threads share one heap. The process stays as
    large as it has been.

    Source: mallopt(3). A test checks the settings, for blocks of 48 MiB and in a further thread.

    Returns:
        Whether the settings are made. They are not if the C library is not glibc, or if the user has chosen others
        with ``MALLOC_*`` or ``GLIBC_TUNABLES``, or another allocator with ``LD_PRELOAD``.
    """
    if platform.libc_ver()[0] != "glibc" or any(name.startswith(ALLOCATION) for name in os.environ):
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return all([mallopt(_MMAP_MAX, 0), mallopt(_TRIM_THRESHOLD, -1), mallopt(_ARENA_MAX, 1)])


def peak_memory() -> int | None:
    """Return the largest memory that this process has had so far, in bytes; None if the system does not report it."""
    with suppress(ImportError):
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with suppress(ImportError):  # Windows
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    return None


def pick_device(name: str) -> torch.device:
    """Return the device of that name; ``auto`` is a GPU where there is one, else the CPU.

    Raises:
        UserError: for a name that is none, or a device that this machine does not have.
    """
    import torch

    gpus = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    there = ["cpu", *(["cuda"] if gpus else []), *gpus, *(["mps"] if torch.backends.mps.is_available() else [])]
    if name == "auto":
        return torch.device(there[1] if len(there) > 1 else "cpu")
    if name not in there:
        raise UserError(f"device={name}: this machine has {', '.join(['auto', *there])}.{nearest(name, there)}")
    return torch.device(name)
