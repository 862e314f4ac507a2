"""The terms of the SEC loss, as pure functions of tensors, and their weighted sum."""

from secseg.losses.adaptive_decay import AdaptiveDecay
from secseg.losses.balanced_seed import balanced_seed_loss
from secseg.losses.composite import SECLoss
from secseg.losses.constrain import constrain_loss
from secseg.losses.expand import expand_loss
from secseg.losses.growing import Growing, grow_seeds
from secseg.losses.pooling import Decay, Pooling, decay_from_fraction, global_weighted_rank_pooling
from secseg.losses.probabilities import floor_softmax
from secseg.losses.seed import seed_loss
from secseg.losses.supervised import supervised_loss
from secseg.losses.terms import LossInputs, Term, build_terms

__all__ = [
    "AdaptiveDecay",
    "Decay",
    "Growing",
    "LossInputs",
    "Pooling",
    "SECLoss",
    "Term",
    "balanced_seed_loss",
    "build_terms",
    "constrain_loss",
    "decay_from_fraction",
    "expand_loss",
    "floor_softmax",
    "global_weighted_rank_pooling",
    "grow_seeds",
    "seed_loss",
    "supervised_loss",
]
