"""CRF energy: pixels that are close in position and colour take the same class."""

from __future__ import annotations

from torch import Tensor

from secseg.crf.affinity import Affinity, exact_affinity, lattice_affinity
from secseg.losses.averages import mean_over_images
from secseg.losses.probabilities import at_least_float32
from secseg.losses.terms import LossInputs, Term
from secseg.utils.checks import check_choice, check_number, refuse

BACKENDS = {"lattice": lattice_affinity, "exact": exact_affinity}


def crf_energy_loss(probs: Tensor, affinity: Affinity, chosen: Tensor | None = None) -> Tensor:
    """Mean over images of ``1 - sum_k s_k' A s_k / sum_k s_k' A 1``: the affinity between pixels of other classes, as a
    share of all affinity.

    The official code uses ``-sum_k s_k' A s_k``. The first summand makes the loss at least 0, and the denominator, a
    constant of the image because the probabilities sum to 1, makes the weight independent of the size of the grid.

    Args:
        probs: (B, C, H, W), ``s``, probabilities that sum to 1 over C; half precision is computed in float32.
        affinity: ``(B, C, n) -> (B, C, n)``, times ``A``.
        chosen: (B,) bool, the images of the mean; None for all (see ``mean_over_images``).

    Returns:
        scalar in [0, 1].

    Source: Tang et al., On Regularized Losses for Weakly-supervised CNN Segmentation, ECCV 2018.
    """
    s = at_least_float32(probs).flatten(2)
    degree = affinity(s.new_ones(len(s), 1, s.shape[2]))
    return mean_over_images(1 - (s * affinity(s)).sum((1, 2)) / degree.sum((1, 2)), chosen)


class PairwiseTerm(Term):
    """A term over all pairs of pixels, with the affinity of ``exact_affinity``.

    Args:
        xy: standard deviation of the position in pixels of the grid, above 0.
        rgb: standard deviation of the colour in byte values, above 0.
        backend: ``lattice`` (on the CPU, for any grid) or ``exact`` (a matrix of pixels x pixels, on any device).
    """

    def __init__(self, xy: float = 16.0, rgb: float = 15.0, backend: str = "lattice") -> None:
        refuse([*check_number("xy", xy, above=0), *check_number("rgb", rgb, above=0)])
        refuse(check_choice("backend", backend, BACKENDS))
        self.xy, self.rgb, self.backend = xy, rgb, backend

    def affinity(self, inputs: LossInputs) -> Affinity:
        return BACKENDS[self.backend](inputs.images, self.xy, self.rgb, inputs.probs.dtype)


class CRFEnergyTerm(PairwiseTerm):
    """The term ``crf_energy`` of the loss; the options are those of ``PairwiseTerm``."""

    color = "#1f78b4"

    def __call__(self, inputs: LossInputs) -> Tensor:
        return crf_energy_loss(inputs.probs, self.affinity(inputs), inputs.without_mask)
