"""Pictures and curves, into the run folder and to the loggers that show pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import TensorBoardLogger

from secseg.panels import curves, panel, save_figure
from secseg.resizing import resize_mask
from secseg.runtime.wandb_logger import WandbRunLogger
from secseg.visualize import GalleryItem

CRF_SUFFIX = {"without_crf": "", "with_crf": " with CRF"}


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

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking:
            self._draw(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._draw(trainer)

    def _draw(self, trainer: Trainer) -> None:
        metrics = self.folder / "metrics.csv"
        if trainer.is_global_zero and metrics.is_file():
            save_figure(curves(metrics), self.folder / "curves.png")


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


def iou_table(ious: Mapping[str, Mapping[str, float]]) -> Any:
    """Return a ``wandb.Table`` of the IoU by class, a column a variant (``without_crf``, ``with_crf``)."""
    import wandb

    names = next(iter(ious.values()))
    rows = [[name, *(iou[name] for iou in ious.values())] for name in names]
    return wandb.Table(columns=["class", *(f"IoU{CRF_SUFFIX[variant]}" for variant in ious)], data=rows)


def confusion_table(counts: Mapping[str, np.ndarray], class_names: Sequence[str]) -> Any:
    """Return a ``wandb.Table`` of the confusion matrices of ``counts``, (C, C) by (truth, prediction) of each variant.

    A row is a true class that has pixels, a predicted class, and what share in [0, 1] of the first went to the second.
    """
    import wandb

    pixels = next(iter(counts.values())).sum(1)  # the truth is that of every variant
    rows = [
        [class_names[truth], name, *(float(of[truth, predicted] / pixels[truth]) for of in counts.values())]
        for truth in np.flatnonzero(pixels).tolist()
        for predicted, name in enumerate(class_names)
    ]
    shares = (f"share{CRF_SUFFIX[variant]}" for variant in counts)
    return wandb.Table(columns=["truth", "prediction", *shares], data=rows)


def wandb_image(item: GalleryItem, class_names: Sequence[str]) -> Any:
    """Return a ``wandb.Image`` of the photograph with each of its masks as an overlay, with class names."""
    import wandb

    masks = {
        "cues": item.cues,
        "prediction": item.prediction,
        "prediction with CRF": item.prediction_crf,
        "ground truth": item.mask,
    }
    labels = {**dict(enumerate(class_names)), 255: "none"}
    overlays = {
        name: {"mask_data": resize_mask(mask, item.photo.shape[:2]), "class_labels": labels}
        for name, mask in masks.items()
        if mask is not None
    }
    return wandb.Image(item.photo, caption=item.name, masks=overlays)
