"""The one table of the terms of the loss, the base class of a term, and what a term may read.

A new term of this package is one file and one line of ``TERMS``. A term of your own is a subclass of ``Term`` that the
config names: ``+loss.size='{_target_: my_package.SizeTerm, weight: 0.1}'``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor

from secseg.crf import CRF
from secseg.losses.pooling import Decay, PoolingFunction
from secseg.losses.probabilities import floor_softmax
from secseg.utils.checks import check_number, refuse
from secseg.utils.config import build, loss_weights
from secseg.utils.errors import UserError, nearest

TERMS = {
    "seed": "secseg.losses.seed.SeedTerm",
    "expand": "secseg.losses.expand.ExpandTerm",
    "constrain": "secseg.losses.constrain.ConstrainTerm",
    "supervised": "secseg.losses.supervised.SupervisedTerm",
}
"""The class of each term, by its name in ``conf/loss``."""

NEEDS = ("cues", "labels", "mask", "crf")
"""What a term can need: training opens cues and masks, and builds a CRF, for the terms that need them."""


@dataclass(frozen=True, eq=False)
class LossInputs:
    """What a term may read of one batch. What no term needs is None.

    Attributes:
        logits: (B, C, H, W), the network's scores in at least float32.
        images: (B, 3, H, W) uint8, RGB.
        cues: (B, C, H, W), 1 or True where a pixel is a cue of a class.
        labels: (B, C), 1 for classes in the image, else 0. Column 0 is the background and is not read.
        mask: (B, H, W), class numbers, 255 where void.
        decay: decays of the expansion loss.
        pooling: pools the scores of one class into one score.
        crf: ``(logits, images) -> probs``.
    """

    logits: Tensor
    images: Tensor
    cues: Tensor
    labels: Tensor
    mask: Tensor
    decay: Decay
    pooling: PoolingFunction
    crf: CRF | None

    @cached_property
    def probs(self) -> Tensor:
        """(B, C, H, W), the floored softmax of ``logits``."""
        return floor_softmax(self.logits)

    @cached_property
    def crf_probs(self) -> Tensor:
        """(B, C, H, W), the CRF's output, unfloored. All terms share it: the CRF runs once a batch."""
        assert self.crf is not None
        return self.crf(self.logits, self.images)


class Term:
    """A term of the loss: a function of ``LossInputs``.

    Attributes:
        needs: which of ``NEEDS`` the term reads. ``logits``, ``probs`` and ``images`` are always there.
        color: of its curve, as Matplotlib names colours.
        weight: factor in the sum, above 0; ``build_terms`` sets it.
    """

    needs: tuple[str, ...] = ()
    color = "#888888"
    weight = 1.0

    def __call__(self, inputs: LossInputs) -> Tensor:
        """Return the mean of the term over the images of the batch, a scalar."""
        raise NotImplementedError


def build_terms(loss: Mapping[str, Any]) -> dict[str, Term]:
    """Build the terms whose weight is above 0.

    Args:
        loss: the ``loss`` node, plain: name of the term to its weight, or to a node of weight and options. A term of
            your own has ``_target_`` there. Missing terms have weight 0.

    Raises:
        UserError: for an unknown term, a negative weight, an unknown need, no term at all, or as ``build``.
    """
    terms: dict[str, Term] = {}
    for name, weight in loss_weights(loss).items():
        node = {"_target_": TERMS.get(name), **(loss[name] if isinstance(loss[name], Mapping) else {})}
        node.pop("weight", None)
        if node["_target_"] is None or name == "loss":  # train/loss is the sum
            raise UserError(
                f"loss.{name} is not a term of the loss. The terms are {', '.join(TERMS)}.{nearest(name, TERMS)} "
                f"For a term of your own give +loss.{name}='{{_target_: my_package.MyTerm, weight: 0.1}}'."
            )
        refuse(check_number(f"loss.{name}", weight, 0))
        if weight > 0:
            terms[name] = build(node, Term)
            terms[name].weight = float(weight)
            if unknown := sorted(set(terms[name].needs) - set(NEEDS)):
                raise UserError(f"loss.{name} needs {', '.join(unknown)}: a term can need {', '.join(NEEDS)}.")
    if not terms:
        raise UserError("Every term of the loss has weight 0, so nothing would be trained. Choose loss=sec, say.")
    return terms


def needed(terms: Iterable[Term]) -> set[str]:
    """Return which of ``NEEDS`` any of the terms reads."""
    return {need for term in terms for need in term.needs}
