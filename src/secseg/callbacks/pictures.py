"""Pictures and curves, into the run folder and to the loggers that show pictures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import TensorBoardLogger, WandbLogger

from secseg.files import atomic_write
from secseg.visualize import curves, panel


class Pictures(Callback):
    """After each validation writes ``pictures/step_000400.png`` of the module's ``gallery``.

    W&B gets each photograph with its masks as overlays (``pictures/val``) and the per-class table
    (``tables/iou``), TensorBoard the picture.
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
            _save(figure, self.folder / f"step_{step:06d}.png")
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
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
            _save(curves(metrics), self.folder / "curves.png")


def _save(figure: Figure, path: Path) -> None:
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png")


def _pixels(figure: Figure) -> np.ndarray:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def _to_wandb(logger: WandbLogger, module: Any, step: int) -> None:
    import wandb

    labels = {**dict(enumerate(module.class_names)), 255: "none"}

    def image(item: Any) -> wandb.Image:
        masks = {
            "cues": item.cues,
            "prediction": item.prediction,
            "prediction with CRF": item.prediction_crf,
            "ground truth": item.mask,
        }
        size = item.photo.shape[:2]
        overlays = {
            name: {"mask_data": _enlarged(mask, size), "class_labels": labels}
            for name, mask in masks.items()
            if mask is not None
        }
        return wandb.Image(item.photo, caption=item.name, masks=overlays)

    columns: dict[str, Mapping[str, float]] = {"IoU": module.val_scores["iou"]}
    if module.val_scores_crf is not None:
        columns["IoU with CRF"] = module.val_scores_crf["iou"]
    rows = [[name, *(iou[name] for iou in columns.values())] for name in columns["IoU"]]
    table = wandb.Table(columns=["class", *columns], data=rows)
    values: dict[str, Any] = {"tables/iou": table, "trainer/global_step": step}
    if module.gallery:
        values["pictures/val"] = [image(item) for item in module.gallery]
    logger.experiment.log(values)


def _enlarged(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A mask on the network's grid (the cues), on the photograph's; W&B lays masks over pixel by pixel."""
    if mask.shape == size:
        return mask
    return np.asarray(Image.fromarray(mask).resize(size[::-1], Image.Resampling.NEAREST))
