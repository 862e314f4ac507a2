"""Global weighted rank pooling (GWRP) with its decay, and log-mean-exp pooling.

Source: Kolesnikov and Lampert, ECCV 2016, section 3.2; Pinheiro and Collobert, CVPR 2015.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from secseg.losses.probabilities import at_least_float32
from secseg.utils.checks import check_number, refuse
from secseg.utils.errors import UserError

PoolingFunction: TypeAlias = Callable[[Tensor, Any], Tensor]
"""``(scores (..., n), decay) -> (...)``: pools the scores of one class into one score."""


class Pooling:
    """Base class of a pooling from your own package: ``decay.pooling={_target_: my_package.MyPooling}``.

    The expansion loss uses it instead of ``global_weighted_rank_pooling``.
    """

    def __call__(self, scores: Tensor, decay: float) -> Tensor:
        """Pool probabilities (..., n) of one class into one score (...) in [0, 1]."""
        raise NotImplementedError


class Decay(NamedTuple):
    """Decays of the expansion loss, each in [0, 1]: for classes in the image, absent classes and background.

    A number is the decay of all images. A tensor has one for each class of each image: ``pos`` (B, C - 1), ``bg`` (B,).
    """

    pos: float | Tensor
    neg: float
    bg: float | Tensor


def global_weighted_rank_pooling(scores: Tensor, decay: float | Tensor) -> Tensor:
    """Pool the scores of one class into one score: ``G = (1/Z) sum_j d^(j-1) s_(j)``, scores in descending order.

    ``decay = 0`` is max pooling (0^0 = 1). ``decay = 1`` is average pooling.

    Args:
        scores: (..., n), any real values; half precision is computed in float32.
        decay: ``d`` in [0, 1]; a tensor (...) has one for each row of scores, and is not checked.

    Returns:
        (...), float32 or float64.

    Raises:
        UserError: if the decay is a number outside [0, 1].

    Source: section 3.2 of the paper; ``Z = sum_j d^(j-1)``.
    """
    scores = at_least_float32(scores)
    if isinstance(decay, Tensor):
        ranks = torch.arange(scores.shape[-1], device=scores.device)
        weights = torch.pow(decay.unsqueeze(-1), ranks.to(decay))
        return (scores.sort(-1, descending=True).values * weights.to(scores)).sum(-1) / weights.sum(-1).to(scores)
    check_decay("decay", decay)
    if decay == 0:
        return scores.amax(-1)
    if decay == 1:
        return scores.mean(-1)
    # In float64, on the CPU: float32 would be wrong by 1e-5, and not every device has float64.
    weights = torch.pow(decay, torch.arange(scores.shape[-1], dtype=torch.float64))
    weights = (weights / weights.sum()).to(scores.dtype)
    # Without non_blocking, the host would wait for the GPU.
    weights = weights.to(scores.device, non_blocking=scores.device.type == "cuda")
    # Not a matrix product, which autocast would compute in half precision.
    return (scores.sort(-1, descending=True).values * weights).sum(-1)


def log_mean_exp_pooling(scores: Tensor, sharpness: float = 1.0) -> Tensor:
    """Pool the scores of one class into one score: ``log(mean(exp(r s))) / r``, a smooth maximum.

    The gradient of a pixel is weighted by ``softmax(r s)``, so pixels with high scores learn most. A small ``r`` is
    close to average pooling, a large ``r`` to max pooling.

    Args:
        scores: (..., n), any real values; half precision is computed in float32.
        sharpness: ``r``, above 0.

    Returns:
        (...), float32 or float64.

    Source: Pinheiro and Collobert, From Image-level to Pixel-level Labeling with Convolutional Networks, CVPR 2015.
    """
    scores = at_least_float32(scores)
    return (torch.logsumexp(sharpness * scores, -1) - math.log(scores.shape[-1])) / sharpness


def decay_from_fraction(fraction: float, n: int, share: float = 0.5) -> float:
    """Solve ``(1 - d^(fraction n)) / (1 - d^n) = share`` for ``d``, the decay.

    With this decay, the top ``fraction`` of ``n`` scores has ``share`` of the weight. The paper's 0.996 and 0.999
    follow from this rule with fractions 0.1 and 0.3 for a mask of about 41 x 41 pixels.

    Args:
        fraction: share of the pixels that an object covers, above 0.
        n: number of pixels of the mask, at least 1.
        share: share of the weight, at least ``fraction`` and below 1: a decay below 1 always favours the top. A share
            equal to the fraction gives average pooling (``d = 1``).

    Returns:
        the decay in [0, 1]; 0 (max pooling) if ``fraction n`` is less than one pixel.

    Raises:
        UserError: if a value is outside these ranges.
    """
    if not (0 < fraction <= share < 1 and n >= 1):
        raise UserError(
            f"No decay gives the top {fraction:g} of {n} scores {share:g} of the weight: the fraction must be above 0, "
            "the share at least the fraction and below 1."
        )
    if share == fraction:
        return 1.0
    top = fraction * n
    if top < 1:
        return 0.0

    def surplus(log_decay: float) -> float:
        return math.expm1(top * log_decay) / math.expm1(n * log_decay) - share

    # The share decreases from 1 to the fraction as d increases from 0 to 1. Bisection on log d resolves d near 1.
    low, high = -745.0, -1e-15
    for _ in range(200):
        middle = -math.sqrt(low * high)
        low, high = (middle, high) if surplus(middle) > 0 else (low, middle)
    return math.exp(-math.sqrt(low * high))


def decays_of_sizes(sizes: Tensor, n: int, share: float = 0.5) -> Tensor:
    """Solve the rule of ``decay_from_fraction`` for each of many sizes at once, on their device.

    Args:
        sizes: (...), shares of the mask, above 0. A size of at least ``share`` gives average pooling.
        n: number of pixels of the mask, at least 1.
        share: share of the weight, above 0 and below 1.

    Returns:
        (...), decays in [0, 1], float64; float32 on a device without float64.
    """
    sizes = sizes.to(torch.float32 if sizes.device.type == "mps" else torch.float64)
    low, high = torch.zeros_like(sizes), -math.log1p(-share) / sizes  # of -n log d: at high, the share is exceeded
    for _ in range(60):
        middle = (low + high) / 2
        below = torch.expm1(-sizes * middle) > share * torch.expm1(-middle)  # both are negative
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return torch.exp(-high / n)


def resolve_decay(
    pos: float | None, neg: float | None, bg: float | None, fraction: Mapping[str, float] | None, n: int
) -> Decay:
    """Return the decays for a mask of ``n`` pixels. A decay that is None is solved from the fraction of its name."""
    fractions = {"share": 0.5, **(fraction or {})}
    values = {"pos": pos, "neg": neg, "bg": bg}
    return Decay(
        **{
            name: decay_from_fraction(fractions[name], n, fractions["share"]) if value is None else float(value)
            for name, value in values.items()
        }
    )


def check_decay(name: str, value: float) -> None:
    """Raise a UserError unless ``value`` is a number in [0, 1]."""
    refuse(check_number(name, value, 0, most=1, note="0 is max pooling, 1 average pooling"))
