"""Seed: the mask matches the weak localization cues."""

from __future__ import annotations

from torch import Tensor

from secseg.losses.averages import mean_over_images
from secseg.losses.probabilities import finite_log
from secseg.losses.terms import LossInputs, Term


def seed_loss(probs: Tensor, cues: Tensor, chosen: Tensor | None = None) -> Tensor:
    """Mean over images of ``- (1 / sum_c |S_c|) sum_c sum_{u in S_c} log f_{u,c}``, background included.

    Args:
        probs: (B, C, H, W), in (0, 1], as ``floor_softmax`` returns them; half precision is computed in float32.
        cues: (B, C, H, W), 1 or True where pixel ``u`` is a cue of class ``c``.
        chosen: (B,) bool, the images of the mean; None for all (see ``mean_over_images``).

    Returns:
        scalar, at least 0. It is 0 for an image without a cue.

    Source: equation 2 of the paper; the official code's seed loss layer.
    """
    log_probs = finite_log(probs)
    cues = cues.to(log_probs.dtype)
    count = cues.sum((1, 2, 3))
    return mean_over_images(-(cues * log_probs).sum((1, 2, 3)) / count.clamp(min=1), chosen)


class SeedTerm(Term):
    """The term ``seed`` of the loss."""

    needs = ("cues",)
    color = "#1b7837"

    def __call__(self, inputs: LossInputs) -> Tensor:
        return seed_loss(inputs.probs, inputs.seeds, inputs.without_mask)
