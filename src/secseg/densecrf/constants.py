"""The constants of pydensecrf, with its numbers."""

from __future__ import annotations

from enum import IntEnum


class KernelType(IntEnum):
    """How the parameters of a kernel could be learned. This does not change the inference, in pydensecrf neither."""

    CONST_KERNEL = 0
    DIAG_KERNEL = 1
    FULL_KERNEL = 2


class NormalizationType(IntEnum):
    """What the kernel is divided by. Only ``NORMALIZE_SYMMETRIC``, the default, is supported."""

    NO_NORMALIZATION = 0
    NORMALIZE_BEFORE = 1
    NORMALIZE_AFTER = 2
    NORMALIZE_SYMMETRIC = 3


CONST_KERNEL, DIAG_KERNEL, FULL_KERNEL = KernelType
NO_NORMALIZATION, NORMALIZE_BEFORE, NORMALIZE_AFTER, NORMALIZE_SYMMETRIC = NormalizationType
