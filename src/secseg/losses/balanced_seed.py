"""Balanced seed: as seed, but background and foreground each have their own mean."""

from __future__ import annotations

from torch import Tensor

from secseg.losses.averages import mean_over_images
from secseg.losses.probabilities import finite_log
from secseg.losses.terms import LossInputs, Term


def balanced_seed_loss(probs: Tensor, seeds: Tensor, chosen: Tensor | None = None) -> Tensor:
    """Mean over images of ``- (1/n_bg) sum_{u in S_bg} log f_{u,bg} - (1/n_fg) sum_{c fg} sum_{u in S_c} log f_{u,c}``.

    Args:
        probs: (B, C, H, W), in (0, 1], as ``floor_softmax`` returns them; half precision is computed in float32.
        seeds: (B, C, H, W), 1 or True where pixel ``u`` is a seed of class ``c``.
        chosen: (B,) bool, the images of the mean; None for all (see ``mean_over_images``).

    Returns:
        scalar, at least 0. A sum without any seed is 0.

    Source: Huang et al., Weakly-Supervised Semantic Segmentation Network with Deep Seeded Region Growing, CVPR 2018.
    """
    log_probs = finite_log(probs)
    seeds = seeds.to(log_probs.dtype)
    sums, counts = (seeds * log_probs).sum((2, 3)), seeds.sum((2, 3))
    background = sums[:, 0] / counts[:, 0].clamp(min=1)
    foreground = sums[:, 1:].sum(1) / counts[:, 1:].sum(1).clamp(min=1)
    return mean_over_images(-(background + foreground), chosen)


class BalancedSeedTerm(Term):
    """The term ``balanced_seed`` of the loss."""

    needs = ("cues",)
    color = "#66a61e"

    def __call__(self, inputs: LossInputs) -> Tensor:
        return balanced_seed_loss(inputs.probs, inputs.seeds, inputs.without_mask)
