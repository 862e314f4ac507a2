"""Normalised cut: each class takes a region with little affinity to the other pixels, relative to its own."""

from __future__ import annotations

from torch import Tensor

from secseg.crf.affinity import Affinity
from secseg.losses.averages import mean_over_images
from secseg.losses.crf_energy import PairwiseTerm
from secseg.losses.probabilities import at_least_float32
from secseg.losses.terms import LossInputs


def normalized_cut_loss(probs: Tensor, affinity: Affinity, chosen: Tensor | None = None) -> Tensor:
    """Mean over images of ``sum_k s_k' A (1 - s_k) / (d' s_k)`` with ``d = A 1``.

    Args:
        probs: (B, C, H, W), ``s``, in (0, 1], as ``floor_softmax`` returns them; half precision is computed in float32.
        affinity: ``(B, C, n) -> (B, C, n)``, times ``A``.
        chosen: (B,) bool, the images of the mean; None for all (see ``mean_over_images``).

    Returns:
        scalar in [0, C].

    Source: Shi and Malik, Normalized Cuts and Image Segmentation, PAMI 2000; Tang et al., Normalized Cut Loss for
    Weakly-supervised CNN Segmentation, CVPR 2018.
    """
    s = at_least_float32(probs).flatten(2)
    degree = affinity(s.new_ones(len(s), 1, s.shape[2]))
    return mean_over_images((1 - (s * affinity(s)).sum(2) / (s * degree).sum(2)).sum(1), chosen)


class NormalizedCutTerm(PairwiseTerm):
    """The term ``normalized_cut`` of the loss; the options are those of ``PairwiseTerm``."""

    color = "#a6761d"

    def __call__(self, inputs: LossInputs) -> Tensor:
        return normalized_cut_loss(inputs.probs, self.affinity(inputs), inputs.without_mask)
