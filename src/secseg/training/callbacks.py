"""The callbacks of ``conf/callbacks``: what a training shows and keeps besides its checkpoints.

They write into the run folder, which is the trainer's ``default_root_dir``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.loggers import TensorBoardLogger

from secseg.drawing.fonts import no_glyph_warnings
from secseg.drawing.panels import curves, panel, save_figure
from secseg.drawing.wandb import confusion_table, iou_table, wandb_images
from secseg.evaluation import score_table
from secseg.evaluation.predictions import ImagePredictions
from secseg.runs.wandb_logger import WandbRunLogger
from secseg.training.progress import SpeedMonitor
from secseg.utils.config import build


def build_callbacks(config: Mapping[str, Any]) -> list[Callback]:
    """Return the callbacks of the ``callbacks`` node, plain: a node with ``_target_`` by name, or None to leave it out.

    Raises:
        UserError: as ``build``.
    """
    nodes = {f"callbacks.{name}": node for name, node in config.items() if node is not None}
    return [SpeedMonitor(), *(build(node, Callback, key) for key, node in nodes.items())]


class ScoreTable(Callback):
    """Prints the IoU of each class after each validation that scored an image."""

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        if trainer.sanity_checking or not trainer.is_global_zero:
            return
        variants = {"without_crf": pl_module.val_scores, "with_crf": pl_module.val_scores_crf}
        if results := {variant: scores for variant, scores in variants.items() if scores is not None}:
            print(score_table(results, title=f"step {trainer.global_step}"), flush=True)


class Pictures(Callback):
    """Writes ``pictures/step_000400.png`` of the module's ``gallery`` after each validation.

    TensorBoard gets the same picture. W&B gets each image with its masks as overlays (``pictures/val``), the per-class
    table (``tables/iou``) and the confusion matrix (``tables/confusion``).
    """

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        if trainer.sanity_checking or not trainer.is_global_zero:
            return
        step = trainer.global_step
        figure = None
        if pl_module.gallery:
            figure = panel(pl_module.gallery, pl_module.class_names, pl_module.palette)
            save_figure(figure, Path(trainer.default_root_dir, "pictures", f"step_{step:06d}.png"))
        for logger in trainer.loggers:
            if isinstance(logger, WandbRunLogger):
                logger.send(lambda: _wandb_values(pl_module, step))
            elif isinstance(logger, TensorBoardLogger) and figure is not None:
                with no_glyph_warnings():  # save_figure has reported the missing characters
                    logger.experiment.add_figure("pictures/val", figure, step, close=False)


class Curves(Callback):
    """Draws ``curves.png`` from ``metrics.csv`` after each validation and at the end."""

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        if not trainer.sanity_checking:
            self._draw(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        self._draw(trainer, pl_module)

    def _draw(self, trainer: Trainer, pl_module: Any) -> None:
        folder = Path(trainer.default_root_dir)
        metrics = folder / "metrics.csv"
        if trainer.is_global_zero and metrics.is_file():
            colors = {name: term.color for name, term in pl_module.loss.terms.items()}
            save_figure(curves(metrics, colors), folder / "curves.png")


class Predictions(Callback):
    """Writes the counts and masks of each image in the validation after the last step, for ``src/report.py``.

    The files are those of :class:`~secseg.evaluation.predictions.ImagePredictions`.
    """

    def __init__(self) -> None:
        self._predictions: ImagePredictions | None = None

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        final = trainer.global_step >= trainer.max_steps and not trainer.sanity_checking
        self._predictions = ImagePredictions(pl_module.class_names, pl_module.palette) if final else None

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if self._predictions is None:
            return
        for name, mask, (plain, refined) in zip(batch["name"], batch["mask"], outputs["predictions"], strict=True):
            self._predictions.add(name, {"without_crf": plain, "with_crf": refined}, mask)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        if self._predictions is None:
            return
        if trainer.world_size > 1:
            parts: list[Any] = [None] * trainer.world_size
            torch.distributed.all_gather_object(parts, self._predictions)
            for part in parts:
                self._predictions.merge(part)
        if trainer.is_global_zero:
            self._predictions.write(Path(trainer.default_root_dir))
        self._predictions = None


def _wandb_values(module: Any, step: int) -> dict[str, Any]:
    scores = {"without_crf": module.val_scores, "with_crf": module.val_scores_crf}
    ious = {variant: score["iou"] for variant, score in scores.items() if score is not None}
    values: dict[str, Any] = {"trainer/global_step": step}
    if ious:
        values["tables/iou"] = iou_table(ious)
        values["tables/confusion"] = confusion_table(module.val_confusion, module.class_names)
    if module.gallery:
        values["pictures/val"] = wandb_images(module.gallery, module.class_names)
    return values
