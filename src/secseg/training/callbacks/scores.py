"""The table of per-class IoU after a validation."""

from __future__ import annotations

from typing import Any

from pytorch_lightning import Callback, Trainer

from secseg.evaluation import score_table


class ScoreTable(Callback):
    """Prints :func:`~secseg.evaluation.score_table` of the module's ``val_scores`` and ``val_scores_crf`` after each
    validation, where it scored anything.
    """

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        if trainer.sanity_checking or not trainer.is_global_zero:
            return
        variants = {"without_crf": pl_module.val_scores, "with_crf": pl_module.val_scores_crf}
        results = {variant: scores for variant, scores in variants.items() if scores is not None}
        if not results:
            return
        print(score_table(results, title=f"step {trainer.global_step}"), flush=True)
