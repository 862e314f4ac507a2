"""Constrain: the mask agrees with the output of a fully-connected CRF on it."""

from __future__ import annotations

from torch import Tensor

from secseg.losses.averages import mean_over_images
from secseg.losses.probabilities import FLOOR, at_least_float32, finite_log, renormalise
from secseg.losses.terms import LossInputs, Term


def constrain_loss(probs: Tensor, crf_probs: Tensor, chosen: Tensor | None = None) -> Tensor:
    """Mean over images of ``(1/n) sum_u sum_c Q_{u,c} log(Q_{u,c} / f_{u,c})``, the KL divergence from ``Q`` to ``f``.

    Args:
        probs: (B, C, H, W), ``f`` in (0, 1], as ``floor_softmax`` returns them; half precision is computed in float32.
        crf_probs: (B, C, H, W), ``Q``, the CRF's output in [0, 1]. This function floors it at 1e-4 and renormalises.
            The CRF decides whether it passes a gradient (``build_crf(..., gradient=)``).
        chosen: (B,) bool, the images of the mean; None for all (see ``mean_over_images``).

    Returns:
        scalar, at least 0 up to rounding.

    Source: equation 5 of the paper; the official code's constrain loss, and its ``min_prob`` for ``Q``.
    """
    log_f = finite_log(probs)
    q = renormalise(at_least_float32(crf_probs).clamp(min=FLOOR))
    divergence = (q * (q.log() - log_f)).sum(1)
    return mean_over_images(divergence.mean((1, 2)), chosen)


class ConstrainTerm(Term):
    """The term ``constrain`` of the loss."""

    needs = ("crf",)
    color = "#4575b4"

    def __call__(self, inputs: LossInputs) -> Tensor:
        return constrain_loss(inputs.probs, inputs.crf_probs, inputs.without_mask)
