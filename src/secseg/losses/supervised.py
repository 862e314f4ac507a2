"""Cross-entropy with masks: for the upper bound, for retraining on predicted masks, and for images whose mask replaces
their cues. It is not part of SEC."""

from __future__ import annotations

import torch
from torch import Tensor

from secseg.losses.averages import mean_over_images
from secseg.losses.probabilities import finite_log
from secseg.losses.terms import LossInputs, Term


def supervised_loss(probs: Tensor, mask: Tensor, ignore_index: int = 255, chosen: Tensor | None = None) -> Tensor:
    """Mean over images of the mean cross-entropy over the pixels that are not void.

    Args:
        probs: (B, C, H, W), in (0, 1], as ``floor_softmax`` returns them; half precision is computed in float32.
        mask: (B, H, W), class numbers 0..C-1 on the grid of ``probs``, or ``ignore_index``.
        chosen: (B,) bool, the images of the mean; None for all (see ``mean_over_images``).

    Returns:
        scalar, at least 0. It is 0 for an image that is void everywhere.
    """
    known = mask != ignore_index
    target = torch.where(known, mask, 0).long()
    log_probs = finite_log(probs).gather(1, target[:, None])[:, 0]
    return mean_over_images(-(log_probs * known).sum((1, 2)) / known.sum((1, 2)).clamp(min=1), chosen)


class SupervisedTerm(Term):
    """The term ``supervised`` of the loss."""

    needs = ("mask",)
    color = "#7b3294"

    def __call__(self, inputs: LossInputs) -> Tensor:
        return supervised_loss(inputs.probs, inputs.mask, chosen=inputs.masked)
