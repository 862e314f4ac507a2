"""An evaluation in the loggers: figures as a summary, the per-class table and the worst images with their masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from pytorch_lightning.loggers import Logger

from secseg.drawing.overlays import GalleryItem
from secseg.drawing.wandb import iou_table, wandb_image
from secseg.runs.wandb_logger import WandbRunLogger


def log_evaluation(
    loggers: Sequence[Logger],
    folder: Path,
    figures: Mapping[str, Mapping[str, Any]],
    gallery: Sequence[GalleryItem],
    class_names: Sequence[str],
) -> None:
    """Log what ``write_evaluation`` returned and drew in ``folder``; pictures go to W&B alone."""
    values = {}
    for variant, suffix in (("without_crf", ""), ("with_crf", "_crf")):
        for key in ("miou", "pixel_accuracy") if variant in figures else ():
            values[f"test/{key}{suffix}"] = figures[variant][key]
    for logger in loggers:
        logger.log_metrics(values, step=0)
        if isinstance(logger, WandbRunLogger):
            import wandb

            pictures = {f"figures/{path.stem}": wandb.Image(Image.open(path)) for path in sorted(folder.glob("*.png"))}
            table = iou_table({variant: figure["iou"] for variant, figure in figures.items()})
            worst = [wandb_image(item, class_names) for item in gallery]
            logger.send({**pictures, "tables/iou": table, **({"pictures/worst": worst} if worst else {})})
        logger.finalize("success")
