"""The SEC loss: the weighted sum of its terms, each shown beside the sum."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from secseg.crf import CRF
from secseg.losses.constrain import constrain_loss
from secseg.losses.expand import expand_loss
from secseg.losses.pooling import Decay
from secseg.losses.probabilities import at_least_float32, floor_softmax
from secseg.losses.seed import seed_loss
from secseg.losses.supervised import supervised_loss
from secseg.utils.errors import UserError


class SECLoss(nn.Module):
    """``weights . (seed, expand, constrain, supervised)``, computed for the terms whose weight is above 0.

    Args:
        weights: name of the term to its weight, at least 0; missing terms have weight 0.
        decay: decays of the expansion loss.
        crf: ``(logits, images) -> probs``, needed where ``constrain`` has a weight.

    Raises:
        UserError: for an unknown term, a negative weight, no term at all, or ``constrain`` without a CRF.

    Source: equation 1 of the paper (weights 1, 1, 1).
    """

    TERMS = ("seed", "expand", "constrain", "supervised")

    def __init__(self, weights: dict[str, float], decay: Decay, crf: CRF | None = None) -> None:
        super().__init__()
        unknown = sorted(set(weights) - set(self.TERMS))
        if unknown or any(not weight >= 0 for weight in weights.values()):
            raise UserError(f"loss={weights}: the terms are {', '.join(self.TERMS)}, each with a weight of at least 0.")
        self.weights = {term: float(weights[term]) for term in self.TERMS if weights.get(term, 0) > 0}
        if not self.weights:
            raise UserError("Every term of the loss has weight 0: there is nothing to train on. Choose loss=sec, say.")
        if "constrain" in self.weights and crf is None:
            raise UserError(
                "The constrain loss needs a CRF in training: build one, or give the term weight 0 (loss=seed_expand)."
            )
        self.decay = decay
        self.crf = crf

    def forward(
        self,
        logits: Tensor,
        *,
        cues: Tensor | None = None,
        labels: Tensor | None = None,
        images: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Return each term and ``loss``, their weighted sum; scalars.

        Args:
            logits: (B, C, H, W), the network's scores.
            cues: (B, C, H, W), for ``seed``.
            labels: (B, C), for ``expand``.
            images: (B, 3, H, W) uint8, RGB on the grid of the mask, for ``constrain``.
            mask: (B, H, W), for ``supervised``.
        """
        with torch.autocast(logits.device.type, enabled=False):
            return self._terms(at_least_float32(logits), cues, labels, images, mask)

    def _terms(
        self,
        logits: Tensor,
        cues: Tensor | None,
        labels: Tensor | None,
        images: Tensor | None,
        mask: Tensor | None,
    ) -> dict[str, Tensor]:
        probs = floor_softmax(logits)
        terms: dict[str, Tensor] = {}
        if "seed" in self.weights:
            assert cues is not None
            terms["seed"] = seed_loss(probs, cues)
        if "expand" in self.weights:
            assert labels is not None
            terms["expand"] = expand_loss(probs, labels, *self.decay)
        if "constrain" in self.weights:
            assert self.crf is not None
            assert images is not None
            terms["constrain"] = constrain_loss(probs, self.crf(logits, images))
        if "supervised" in self.weights:
            assert mask is not None
            terms["supervised"] = supervised_loss(probs, mask)
        total = sum(weight * terms[term] for term, weight in self.weights.items())
        return {**terms, "loss": total}  # type: ignore[dict-item]
