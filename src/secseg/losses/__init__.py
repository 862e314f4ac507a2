"""The terms of the SEC loss, as pure functions of tensors, and their weighted sum."""

from secseg.losses.composite import SECLoss
from secseg.losses.constrain import constrain_loss
from secseg.losses.expand import expand_loss
from secseg.losses.probabilities import floor_softmax
from secseg.losses.seed import seed_loss
from secseg.losses.supervised import supervised_loss

__all__ = ["SECLoss", "constrain_loss", "expand_loss", "floor_softmax", "seed_loss", "supervised_loss"]
