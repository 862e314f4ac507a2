"""What the last validation predicted, for reports that compare runs image by image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, Trainer

from secseg.evaluation.predictions import ImagePredictions


class Predictions(Callback):
    """Writes :class:`~secseg.evaluation.predictions.ImagePredictions` of the validation after the last step."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.found: ImagePredictions | None = None

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        final = trainer.global_step >= trainer.max_steps and not trainer.sanity_checking
        self.found = ImagePredictions(pl_module.class_names, pl_module.palette) if final else None

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if self.found is None:
            return
        for name, mask, (plain, refined) in zip(batch["name"], batch["mask"], outputs["predictions"], strict=True):
            self.found.add(name, {"without_crf": plain, "with_crf": refined}, mask)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        if self.found is None:
            return
        if trainer.world_size > 1:
            parts: list[Any] = [None] * trainer.world_size
            torch.distributed.all_gather_object(parts, self.found)
            for part in parts:
                self.found.merge(part)
        if trainer.is_global_zero:
            self.found.write(self.folder)
        self.found = None
