"""The SEC loss: the weighted sum of its terms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from secseg.crf import CRF
from secseg.losses.adaptive_decay import AdaptiveDecay
from secseg.losses.growing import Growing
from secseg.losses.pooling import Decay, PoolingFunction, global_weighted_rank_pooling
from secseg.losses.probabilities import at_least_float32
from secseg.losses.terms import LossInputs, Term


class SECLoss(nn.Module):
    """Compute ``sum_k w_k L_k`` over the terms ``L_k`` with weights ``w_k``.

    Args:
        terms: the terms by name, as ``build_terms`` returns them.
        decay: decays of the expansion loss, or what estimates them for each image.
        crf: ``(logits, images) -> probs``, for the terms that need a CRF.
        pooling: pools the scores of one class into one score in the expansion loss.
        growing: makes the seeds of the cues; None if the seeds are the cues.

    If only some images train on their mask (``masked``), these images take ``supervised`` in place of ``seed``,
    ``expand`` and ``constrain``. Each term is the mean over its own images in the batch (of one process, if there are
    several), and 0 without any.

    Source: equation 1 of the paper (seed, expand and constrain, weights 1, 1, 1).
    """

    def __init__(
        self,
        terms: Mapping[str, Term],
        decay: Decay | AdaptiveDecay,
        crf: CRF | None = None,
        pooling: PoolingFunction = global_weighted_rank_pooling,
        growing: Growing | None = None,
    ) -> None:
        super().__init__()
        self.terms, self.decay, self.crf, self.pooling, self.growing = dict(terms), decay, crf, pooling, growing

    def forward(self, logits: Tensor, batch: Mapping[str, Any], step: int = 0) -> dict[str, Tensor]:
        """Return ``loss``, the weighted sum, and the value of each term; scalars.

        Args:
            logits: (B, C, H, W), the network's scores; half precision is computed in float32.
            batch: ``crf_image`` (the images), ``cues``, ``labels``, ``mask`` and ``masked``, as in ``LossInputs``. An
                entry that no term needs may be missing.
            step: of the training, counted from 0, for weights with a warm-up.
        """
        targets: Any = {**dict.fromkeys(("crf_image", "cues", "labels", "mask", "masked")), **batch}
        with torch.autocast(logits.device.type, enabled=False):
            inputs = LossInputs(
                at_least_float32(logits),
                images=targets["crf_image"],
                cues=targets["cues"],
                labels=targets["labels"],
                mask=targets["mask"],
                decay=self.decay,
                pooling=self.pooling,
                crf=self.crf,
                masked=targets["masked"],
                growing=self.growing,
            )
            values = {name: term(inputs) for name, term in self.terms.items()}
            loss = sum(term.weight_at(step) * values[name] for name, term in self.terms.items())
        return {"loss": loss, **values}  # type: ignore[dict-item]
