"""Scores to probabilities with a floor, which keeps every logarithm of the losses finite."""

from __future__ import annotations

import torch
from torch import Tensor

FLOOR = 1e-4
# Probabilities of exactly 0 have no finite logarithm. Floored ones stay far above this.
_SMALLEST = 1e-12


def at_least_float32(x: Tensor) -> Tensor:
    """Return half-precision ``x`` as float32, anything wider as it is: the losses take logarithms of small numbers."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def finite_log(x: Tensor) -> Tensor:
    """Return ``log(max(x, 1e-12))`` in at least float32: finite, with finite gradients, for any ``x`` in [0, 1]."""
    return at_least_float32(x).clamp(min=_SMALLEST).log()


def floor_softmax(logits: Tensor, floor: float = FLOOR) -> Tensor:
    """Probabilities ``f = p / sum_c p`` with ``p = softmax(z) + floor``.

    Args:
        logits: (B, C, ...), scores ``z``; half precision is computed in float32.
        floor: at least 0; the official code's is 1e-4.

    Returns:
        (B, C, ...), in (0, 1), summing to 1 over C.

    Source: the official code's softmax layer (``min_prob``).
    """
    return renormalise(torch.softmax(at_least_float32(logits), dim=1) + floor)


def renormalise(probs: Tensor) -> Tensor:
    """Divide ``probs`` (B, C, ...) by its sum over C."""
    return probs / probs.sum(1, keepdim=True)
