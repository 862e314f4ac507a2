"""pydensecrf's interface on our own CRF: ``import secseg.densecrf as dcrf`` replaces ``import pydensecrf.densecrf``.

The part that public code uses is here (see :class:`DenseCRF2D`), and ``secseg.densecrf.utils`` has the helpers for
unary energies. The results are those of pydensecrf. What is not here raises a ``NotImplementedError`` with its remedy.
:func:`inference_batch` is new: it runs the CRFs of many images on all cores.

This package imports NumPy and Numba, and no torch. It also holds the arithmetic of ``secseg.crf``:
:mod:`secseg.densecrf.permutohedral` builds the lattice, and :mod:`secseg.densecrf.mean_field` iterates.
"""

from __future__ import annotations

from secseg.densecrf.constants import (
    CONST_KERNEL,
    DIAG_KERNEL,
    FULL_KERNEL,
    NO_NORMALIZATION,
    NORMALIZE_AFTER,
    NORMALIZE_BEFORE,
    NORMALIZE_SYMMETRIC,
    KernelType,
    NormalizationType,
)
from secseg.densecrf.crf import ConstUnary, DenseCRF, DenseCRF2D, LogisticUnary, Unary, inference_batch

__all__ = [
    "CONST_KERNEL",
    "DIAG_KERNEL",
    "FULL_KERNEL",
    "NORMALIZE_AFTER",
    "NORMALIZE_BEFORE",
    "NORMALIZE_SYMMETRIC",
    "NO_NORMALIZATION",
    "ConstUnary",
    "DenseCRF",
    "DenseCRF2D",
    "KernelType",
    "LogisticUnary",
    "NormalizationType",
    "Unary",
    "inference_batch",
]
