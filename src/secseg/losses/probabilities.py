"""Probabilities with a floor, so that every logarithm in the losses is finite."""

from __future__ import annotations

import torch
from torch import Tensor

FLOOR = 1e-4
_SMALLEST = 1e-12  # far below the floor; for probabilities of exactly 0


def at_least_float32(x: Tensor) -> Tensor:
    """Return ``x`` in float32 if it has half precision, which is too coarse for logarithms of small numbers."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def finite_log(x: Tensor) -> Tensor:
    """Return ``log(max(x, 1e-12))`` in at least float32. It and its gradient are finite for all ``x`` in [0, 1]."""
    return at_least_float32(x).clamp(min=_SMALLEST).log()


def floor_softmax(logits: Tensor, floor: float = FLOOR) -> Tensor:
    """Return probabilities ``f = p / sum_c p`` with ``p = softmax(z) + floor``.

    Args:
        logits: (B, C, ...), scores ``z``; half precision is computed in float32.
        floor: at least 0; 1e-4 in the official code.

    Returns:
        (B, C, ...), in (0, 1), summing to 1 over C.

    Source: the official code's softmax layer (``min_prob``).
    """
    return renormalise(torch.softmax(at_least_float32(logits), dim=1) + floor)


def renormalise(probs: Tensor) -> Tensor:
    """Divide ``probs`` (B, C, ...) by its sum over C."""
    return probs / probs.sum(1, keepdim=True)
