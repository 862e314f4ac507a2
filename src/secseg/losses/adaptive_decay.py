"""Decays from the size of each class in each image, which is estimated while the network trains.

The paper names this and leaves it open: a decay could be set for each class and image if its size were known. The
estimate needs image-level labels and cues only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from secseg.losses.growing import Growing, own_classes
from secseg.losses.pooling import Decay, decays_of_sizes

if TYPE_CHECKING:
    from secseg.losses.terms import LossInputs

MOMENTUM = 0.95
"""Weight of earlier steps in the mean size of a class, at each step in which the class occurs."""


class AdaptiveDecay(nn.Module):
    """Estimates the size of each class of each image, and solves the decay for it.

    ``size = clamp((1 - smoothing) now + smoothing mean, least, most)``: ``now`` is the size in this step, ``mean`` the
    running mean of the class over the images of all steps so far. Then the paper's rule gives the decay: the best
    pixels, as many as ``size`` says, have ``share`` of the weight.

    Args:
        decay: decays that are not estimated; ``pos`` or ``bg`` is None where it is.
        classes: number C of classes, with the background.
        growing: grows the seeds; None for the default thresholds.
        source: what ``now`` is measured on (see ``measure_sizes``).
        share: share of the weight, above 0 and below 1. A class that is larger than this has average pooling.
        smoothing: in [0, 1]; 0 takes only this step, 1 only the mean.
        least, most: bounds of the size, as shares of the mask, above 0 and at most 1.
    """

    mean: Tensor

    def __init__(
        self,
        decay: tuple[float | None, float, float | None],
        classes: int,
        growing: Growing | None = None,
        source: str = "seeds",
        share: float = 0.8,
        smoothing: float = 0.0,
        least: float = 0.01,
        most: float = 1.0,
    ) -> None:
        super().__init__()
        self.decay, self.growing, self.source = decay, growing or Growing(), source
        self.share, self.smoothing, self.least, self.most = share, smoothing, least, most
        self.register_buffer("mean", torch.zeros(classes))  # 0: not seen yet

    @torch.no_grad()
    def forward(self, inputs: LossInputs) -> Decay:
        """Return the decays for a batch, and update the means of the classes."""
        sizes = measure_sizes(self.source, inputs, self.growing)
        chosen = own_classes(inputs.labels)
        self._update((sizes * chosen).sum(0), chosen.sum(0))
        sizes = (1 - self.smoothing) * sizes + self.smoothing * self.mean
        solved = decays_of_sizes(sizes.clamp(self.least, self.most), inputs.logits[0, 0].numel(), self.share)
        pos, neg, bg = self.decay
        return Decay(solved[:, 1:] if pos is None else pos, neg, solved[:, 0] if bg is None else bg)

    def _update(self, sums: Tensor, counts: Tensor) -> None:
        """Move the mean of each class towards its mean size in the batch, of all processes."""
        if torch.distributed.is_initialized():
            both = torch.stack((sums, counts.to(sums)))
            torch.distributed.all_reduce(both)
            sums, counts = both.unbind()
        now = sums / counts.clamp(min=1)
        moved = torch.where(self.mean == 0, now, MOMENTUM * self.mean + (1 - MOMENTUM) * now)
        self.mean.copy_(torch.where(counts > 0, moved, self.mean))


def measure_sizes(source: str, inputs: LossInputs, growing: Growing) -> Tensor:
    """Return the size of each class in each image (B, C), as a share of the mask, in [0, 1]. Absent classes have 0.

    Args:
        source: ``seeds``: the pixels to which the cues grow. ``prediction``: the pixels in which the class is the most
            probable one of the image, after the CRF. ``cues``: the same, for a CRF that knows the cues but not the
            network's scores.
        inputs: ``cues``, ``labels``, ``images``, ``logits`` and ``crf`` are read.
        growing: grows the seeds, unless the inputs have grown ones.
    """
    if source == "seeds":
        grown = inputs.seeds if inputs.growing is not None else growing(inputs.cues, inputs.crf_probs, inputs.labels)
        return grown.flatten(2).float().mean(2)
    if source == "prediction":
        return sizes_of_probabilities(inputs.crf_probs, inputs.labels)
    assert inputs.crf is not None
    scores = scores_of_cues(inputs.cues, inputs.labels).to(inputs.logits)
    return sizes_of_probabilities(inputs.crf(scores, inputs.images), inputs.labels)


def sizes_of_probabilities(probs: Tensor, labels: Tensor) -> Tensor:
    """Return the share of the pixels (B, C) in which a class is the most probable one of the image's own classes."""
    best = probs.masked_fill(~own_classes(labels)[:, :, None, None], -1).argmax(1)
    return torch.stack([(best == c).flatten(1).float().mean(1) for c in range(probs.shape[1])], 1)


def scores_of_cues(cues: Tensor, labels: Tensor, doubt: float = 0.1) -> Tensor:
    """Return scores (B, C, H, W) for the CRF: at a cue, the other classes of the image share ``doubt``; elsewhere, all
    classes of the image are as probable."""
    own = own_classes(labels)[:, :, None, None].to(cues.dtype if cues.is_floating_point() else torch.float32)
    marks = cues.to(own)
    cued = marks * (1 - doubt) + (1 - marks) * own * doubt
    probs = torch.where(marks.sum(1, keepdim=True) > 0, cued, own.expand_as(marks))
    return (probs / probs.sum(1, keepdim=True)).clamp(min=1e-6).log()
