"""The end of a trial of a search that is worse than the other trials at the same step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pytorch_lightning import Callback, Trainer

from secseg.utils.errors import Pruned


class Pruning(Callback):
    """Reports ``val/miou`` of each validation before the last step, and ends the training if the search prunes it.

    Args:
        report: takes the global step and the mean IoU in [0, 1]; returns whether the trial is pruned.
    """

    def __init__(self, report: Callable[[int, float], bool]) -> None:
        self.report = report
        self._reason: str | None = None

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        scores, step = pl_module.val_scores, trainer.global_step
        if trainer.sanity_checking or scores is None or step >= trainer.max_steps:
            return
        if self.report(step, float(scores["miou"])):
            self._reason = f"pruned after step {step} with val/miou={scores['miou']:.4f}"

    def on_train_batch_start(self, *_: Any) -> None:
        if self._reason is not None:  # after the checkpoint of the validation is written
            raise Pruned(self._reason)
