"""Pictures and curves, into the run folder and to the loggers that show pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.loggers import TensorBoardLogger

from secseg.drawing.panels import curves, panel, save_figure
from secseg.drawing.wandb import confusion_table, iou_table, wandb_image
from secseg.runs.wandb_logger import WandbRunLogger


class Pictures(Callback):
    """After each validation writes ``pictures/step_000400.png`` of the module's ``gallery``.

    W&B gets each photograph with its masks as overlays (``pictures/val``), the per-class table (``tables/iou``) and the
    confusion matrix (``tables/confusion``), TensorBoard the picture.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "pictures"

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        if trainer.sanity_checking or not trainer.is_global_zero:
            return
        step = trainer.global_step
        figure = None
        if pl_module.gallery:
            figure = panel(pl_module.gallery, pl_module.class_names, pl_module.palette)
            save_figure(figure, self.folder / f"step_{step:06d}.png")
        for logger in trainer.loggers:
            if isinstance(logger, WandbRunLogger):
                _to_wandb(logger, pl_module, step)
            elif isinstance(logger, TensorBoardLogger) and figure is not None:
                logger.experiment.add_image("pictures/val", _pixels(figure), step, dataformats="HWC")


class Curves(Callback):
    """Draws ``curves.png`` from ``metrics.csv`` after each validation and at the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        if not trainer.sanity_checking:
            self.on_train_end(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        metrics = self.folder / "metrics.csv"
        if trainer.is_global_zero and metrics.is_file():
            colors = {name: term.color for name, term in pl_module.loss.terms.items()}
            save_figure(curves(metrics, colors), self.folder / "curves.png")


def _pixels(figure: Figure) -> np.ndarray:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def _to_wandb(logger: WandbRunLogger, module: Any, step: int) -> None:
    scores = {"without_crf": module.val_scores, "with_crf": module.val_scores_crf}
    ious = {variant: score["iou"] for variant, score in scores.items() if score is not None}
    values: dict[str, Any] = {"trainer/global_step": step}
    if ious:
        values["tables/iou"] = iou_table(ious)
        values["tables/confusion"] = confusion_table(module.val_confusion, module.class_names)
    if module.gallery:
        values["pictures/val"] = [wandb_image(item, module.class_names) for item in module.gallery]
    logger.send(values)
