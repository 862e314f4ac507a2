"""The end of a classifier's training before its last step."""

from __future__ import annotations

import logging
from typing import Any

import pytorch_lightning as pl

log = logging.getLogger(__name__)

#: Mean average precision, and in how many validations one after the other, from which on more steps change nothing.
PERFECT, TIMES = 0.995, 2


class StopWhenPerfect(pl.Callback):
    """Stops the training when the mean average precision on the held-out images stays near 1.

    Then hardly anything is left to learn from the labels. Without a class whose precision can be computed, the mean is
    NaN, and the training has to be run without this callback.
    """

    def __init__(self) -> None:
        self.times = 0

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        precision = float(trainer.callback_metrics["val/map"])
        self.times = self.times + 1 if precision >= PERFECT else 0
        if self.times >= TIMES and trainer.global_step < trainer.max_steps:
            trainer.should_stop = True
            log.info(
                "The mean average precision is %.1f %% in %d measurements: training ends at step %d of %d.",
                *(100 * precision, self.times, trainer.global_step, trainer.max_steps),
            )

    def state_dict(self) -> dict[str, Any]:
        return {"times": self.times}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.times = state_dict["times"]
