"""Expand: the mask, pooled into image-level scores, matches the image-level labels."""

from __future__ import annotations

from torch import Tensor

from secseg.losses.averages import mean_over_images
from secseg.losses.pooling import PoolingFunction, global_weighted_rank_pooling
from secseg.losses.probabilities import at_least_float32, finite_log
from secseg.losses.terms import LossInputs, Term


def expand_loss(
    probs: Tensor,
    labels: Tensor,
    pos: float | Tensor,
    neg: float,
    bg: float | Tensor,
    pooling: PoolingFunction = global_weighted_rank_pooling,
    chosen: Tensor | None = None,
) -> Tensor:
    """Mean over images of the expansion loss.

    ``- (1/|T|) sum_{c in T} log G_c(f; pos) - (1/|C'\\T|) sum_{c in C'\\T} log(1 - G_c(f; neg)) - log G_bg(f; bg)``

    Args:
        probs: (B, C, H, W), in (0, 1), as ``floor_softmax`` returns them; half precision is computed in float32.
        labels: (B, C), 1 for classes in the image, else 0. Column 0 is the background and is not read.
        pos: decay for classes in the image, in [0, 1]; (B, C - 1) for one of each class of each image.
        neg: decay for absent classes, in [0, 1].
        bg: decay for the background, in [0, 1]; (B,) for one of each image.
        pooling: ``(scores (..., n), decay) -> (...)``, pools the scores of one class into one score in [0, 1].
        chosen: (B,) bool, the images of the mean; None for all (see ``mean_over_images``).

    Returns:
        scalar, at least 0. The first sum is 0 for an image without a foreground label, the second for an image with
        all of them.

    Raises:
        UserError: if a decay is a number outside [0, 1].

    Source: equation 4 of the paper; the official code's expansion loss.
    """
    scores = at_least_float32(probs).flatten(2)
    present = labels[:, 1:].to(scores.dtype)
    absent = 1 - present
    foreground = scores[:, 1:]
    log_present = finite_log(_pool_chosen(foreground, present, pos, pooling))
    log_absent = finite_log(1 - _pool_chosen(foreground, absent, neg, pooling))
    log_background = finite_log(pooling(scores[:, 0], bg))
    values = -(_mean_over(log_present, present) + _mean_over(log_absent, absent) + log_background)
    return mean_over_images(values, chosen)


def _pool_chosen(scores: Tensor, chosen: Tensor, decay: float | Tensor, pooling: PoolingFunction) -> Tensor:
    """Pool (B, K, n) scores to (B, K). Where ``chosen`` (B, K) is 0, the result may be any number in [0, 1].

    An image has few classes, so a CPU sorts only their scores. A GPU sorts all scores: to pick some of them, the CPU
    would have to know their number, and so would synchronise with the GPU.
    """
    if scores.device.type != "cpu" or (not isinstance(decay, Tensor) and decay in (0, 1)):
        return pooling(scores, decay)
    at = chosen.nonzero(as_tuple=True)
    decay = decay[at] if isinstance(decay, Tensor) else decay
    return scores.new_zeros(chosen.shape).index_put(at, pooling(scores[at], decay))


def _mean_over(values: Tensor, chosen: Tensor) -> Tensor:
    """Return the mean of (B, K) ``values`` over the classes that are ``chosen`` in each image; 0 if none is."""
    return (values * chosen).sum(1) / chosen.sum(1).clamp(min=1)


class ExpandTerm(Term):
    """The term ``expand`` of the loss."""

    needs = ("labels",)
    color = "#d95f02"

    def __call__(self, inputs: LossInputs) -> Tensor:
        return expand_loss(inputs.probs, inputs.labels, *inputs.decays, inputs.pooling, inputs.without_mask)
