"""Cross-entropy with masks, for the upper bound and for retraining on predicted masks. It is not part of SEC."""

from __future__ import annotations

import torch
from torch import Tensor

from secseg.losses.probabilities import finite_log
from secseg.losses.terms import LossInputs, Term


def supervised_loss(probs: Tensor, mask: Tensor, ignore_index: int = 255) -> Tensor:
    """Mean over images of the mean cross-entropy over the pixels that are not void.

    Args:
        probs: (B, C, H, W), in (0, 1], as ``floor_softmax`` returns them; half precision is computed in float32.
        mask: (B, H, W), class numbers 0..C-1 on the grid of ``probs``, or ``ignore_index``.

    Returns:
        scalar, at least 0. It is 0 for an image that is void everywhere.
    """
    known = mask != ignore_index
    target = torch.where(known, mask, 0).long()
    log_probs = finite_log(probs).gather(1, target[:, None])[:, 0]
    return -((log_probs * known).sum((1, 2)) / known.sum((1, 2)).clamp(min=1)).mean()


class SupervisedTerm(Term):
    """The term ``supervised`` of the loss."""

    needs = ("mask",)
    color = "#7b3294"

    def __call__(self, inputs: LossInputs) -> Tensor:
        return supervised_loss(inputs.probs, inputs.mask)
