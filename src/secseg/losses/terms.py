"""The terms of the loss: their table, their base class, and their inputs.

A new term of this package is one file and one line of ``TERMS``. A term from your own package is a subclass of ``Term``
and a node in the config: ``+loss.size='{_target_: my_package.SizeTerm, weight: 0.1}'``.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor

from secseg.crf import CRF
from secseg.losses.adaptive_decay import AdaptiveDecay
from secseg.losses.growing import Growing
from secseg.losses.pooling import Decay, PoolingFunction
from secseg.losses.probabilities import floor_softmax
from secseg.utils.config import build, find, loss_weights
from secseg.utils.errors import UserError, nearest

TERMS = {
    "seed": "secseg.losses.seed.SeedTerm",
    "expand": "secseg.losses.expand.ExpandTerm",
    "constrain": "secseg.losses.constrain.ConstrainTerm",
    "supervised": "secseg.losses.supervised.SupervisedTerm",
    "balanced_seed": "secseg.losses.balanced_seed.BalancedSeedTerm",
    "crf_energy": "secseg.losses.crf_energy.CRFEnergyTerm",
    "normalized_cut": "secseg.losses.normalized_cut.NormalizedCutTerm",
}
"""The class of each term by its name in ``conf/loss``."""

NEEDS = ("cues", "labels", "mask", "crf")
"""Inputs that training provides only if a term needs them: it opens the cues or masks, or builds a CRF."""


@dataclass(frozen=True, eq=False)
class LossInputs:
    """The inputs of the terms for one batch. An input that no term needs may be None.

    Attributes:
        logits: (B, C, H, W), the network's scores in at least float32.
        images: (B, 3, H, W) uint8, RGB.
        cues: (B, C, H, W), 1 or True where a pixel is a cue of a class.
        labels: (B, C), 1 for classes in the image, else 0. Column 0 is the background and is not read.
        mask: (B, H, W), class numbers, 255 where void.
        decay: decays of the expansion loss, or what estimates them for each image.
        pooling: pools the scores of one class into one score.
        crf: ``(logits, images) -> probs``.
        masked: (B,) bool, the images that train on their mask, in place of seed, expand and constrain; None if each
            term reads all images. Terms of other packages decide themselves whether they read it.
        growing: makes ``seeds`` of the cues; None if the seeds are the cues.
    """

    logits: Tensor
    images: Tensor
    cues: Tensor
    labels: Tensor
    mask: Tensor
    decay: Decay | AdaptiveDecay
    pooling: PoolingFunction
    crf: CRF | None
    masked: Tensor | None = None
    growing: Growing | None = None

    @cached_property
    def probs(self) -> Tensor:
        """(B, C, H, W), the floored softmax of ``logits``."""
        return floor_softmax(self.logits)

    @property
    def without_mask(self) -> Tensor | None:
        """(B,) bool, the images that train on their cues and labels; None for all."""
        return None if self.masked is None else ~self.masked

    @cached_property
    def seeds(self) -> Tensor:
        """(B, C, H, W), 1 or True where a pixel is a seed of a class: the cues, or what they grow to."""
        return self.cues if self.growing is None else self.growing(self.cues, self.crf_probs, self.labels)

    @cached_property
    def decays(self) -> Decay:
        """The decays of the expansion loss for this batch."""
        return self.decay if isinstance(self.decay, Decay) else self.decay(self)

    @cached_property
    def crf_probs(self) -> Tensor:
        """(B, C, H, W), the CRF's output without floor. The CRF runs once per batch, and all terms share the result."""
        assert self.crf is not None
        return self.crf(self.logits, self.images)


class Term:
    """A term of the loss: a function of ``LossInputs``.

    Attributes:
        needs: the inputs among ``NEEDS`` that the term reads. Logits, probabilities and images are always available.
        color: a Matplotlib color for its curve.
        weight: its factor in the loss, above 0; ``build_terms`` sets it.
        warmup: the steps (a, b) between which the factor rises linearly from 0 to ``weight``; None for a constant one.
    """

    needs: tuple[str, ...] = ()
    color = "#888888"
    weight = 1.0
    warmup: tuple[int, int] | None = None

    def weight_at(self, step: int) -> float:
        """Return the factor of the term in the loss at a step, counted from 0."""
        if self.warmup is None or step >= self.warmup[1]:
            return self.weight
        start, end = self.warmup
        return self.weight * max(step - start, 0) / max(end - start, 1)

    def __call__(self, inputs: LossInputs) -> Tensor:
        """Return the mean of the term over the images of the batch that it concerns, a scalar."""
        raise NotImplementedError


def build_terms(loss: Mapping[str, Any], growing: bool = False, adaptive: bool = False) -> dict[str, Term]:
    """Build the terms whose weight is above 0.

    Args:
        loss: the ``loss`` node, plain. It maps the name of a term to its weight, or to a node with ``weight``,
            ``warmup`` and the term's options. A term from your own package has ``_target_`` in its node.
        growing: whether the cues grow, which needs the CRF and the labels.
        adaptive: whether the decays of ``expand`` are estimated, which needs the CRF and the cues.

    Raises:
        UserError: if a term is unknown, a need is unknown, or no term has a weight; as ``build``.
    """
    terms: dict[str, Term] = {}
    for name, weight in loss_weights(loss).items():
        node = {"_target_": TERMS.get(name), **(loss[name] if isinstance(loss[name], Mapping) else {})}
        node.pop("weight", None)
        warmup = node.pop("warmup", None)
        if node["_target_"] is None or name == "loss":  # "train/loss" is logged for the sum
            raise UserError(
                f"loss.{name} is not a term of the loss. The terms are {', '.join(TERMS)}.{nearest(name, TERMS)} "
                f"For a term from your own package give +loss.{name}='{{_target_: my_package.MyTerm, weight: 0.1}}'."
            )
        if weight > 0:
            terms[name] = _built(name, node)
            terms[name].weight, terms[name].warmup = float(weight), None if warmup is None else (warmup[0], warmup[1])
            if unknown := sorted(set(terms[name].needs) - set(NEEDS)):
                raise UserError(f"loss.{name} needs {', '.join(unknown)}: a term can need {', '.join(NEEDS)}.")
            if growing and "cues" in terms[name].needs:
                terms[name].needs = (*terms[name].needs, "labels", "crf")
            if adaptive and name == "expand":
                terms[name].needs = (*terms[name].needs, "cues", "crf")
    if not terms:
        raise UserError("Every term of the loss has weight 0, so there is nothing to train: give a term a weight.")
    return terms


def _built(name: str, node: Mapping[str, Any]) -> Term:
    """Build a term. Errors name its key in the config."""
    known = inspect.signature(find(str(node["_target_"]), Term)).parameters
    unknown = sorted(set(node) - {"_target_"} - set(known)) if name in TERMS else []
    if unknown:
        options = ", ".join(["weight", "warmup", *known])
        raise UserError(f"loss.{name}.{unknown[0]} is no option of the term: the options are {options}.")
    try:
        return build(node, Term)
    except UserError as error:
        raise UserError(f"loss.{name}: {error}") from error


def needed(terms: Iterable[Term]) -> set[str]:
    """Return the inputs among ``NEEDS`` that at least one term reads."""
    return {need for term in terms for need in term.needs}
