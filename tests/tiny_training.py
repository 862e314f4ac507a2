"""A tiny module with loaders, the attributes that callbacks read, and random numbers from three sources."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from secseg.losses import build_terms
from secseg.training.checkpoints import CheckpointFiles, Checkpoints, RandomStates

CLASSES = ("background", "cat", "dog")
BATCH, STEPS, EVERY = 4, 12, 4


class TinyImages(Dataset[dict[str, Any]]):
    def __len__(self) -> int:
        return STEPS * BATCH

    def __getitem__(self, index: int) -> dict[str, Any]:
        generator = torch.Generator().manual_seed(index)
        return {"image": torch.rand(3, 8, 8, generator=generator), "name": str(index)}


class FromStep(Sampler[int]):
    """All positions from the first one that the trainer has not used."""

    def __init__(self, module: pl.LightningModule) -> None:
        self.module = module

    def __len__(self) -> int:
        return STEPS * BATCH

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.module.global_step * BATCH, STEPS * BATCH))


class TinyModule(pl.LightningModule):
    """Calls ``on_step(step)`` and ``on_validation(batch)`` within the steps, so that they can be interrupted."""

    def __init__(self, on_step: Callable[[int], None] | None = None, on_validation: Any = None) -> None:
        super().__init__()
        self.net = torch.nn.Sequential(torch.nn.Conv2d(3, 3, 3), torch.nn.Dropout(0.5))
        self.on_step, self.on_validation = on_step, on_validation
        self.class_names = CLASSES
        self.loss = SimpleNamespace(terms=build_terms(dict.fromkeys(("seed", "expand", "constrain"), 1.0)))
        self.palette = np.zeros((256, 3), np.uint8)
        self.palette[:3] = [[0, 0, 0], [64, 0, 0], [64, 0, 128]]
        self.val_scores: dict[str, Any] = {}
        self.val_scores_crf: dict[str, Any] | None = None
        self.val_confusion: dict[str, np.ndarray] = {}
        self.gallery: list[Any] = []
        self.validated: list[tuple[int, int]] = []  # global step, images scored
        self.scored = 0
        self.scores_by_step: dict[int, float] = {}

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> torch.Tensor:
        noise = random.random() + np.random.rand()  # noqa: NPY002
        loss = self.net(batch["image"]).square().mean() + noise * self.net[0].weight.mean()
        for name in ("loss", "seed", "expand", "constrain"):
            self.log(f"train/{name}", loss.detach())
        if self.on_step is not None:
            self.on_step(self.global_step)
        return loss

    def on_validation_epoch_start(self) -> None:
        self.scored = 0
        if not self.validated:  # as workers do that start at the first validation
            torch.rand(1), random.random()

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.scored += len(batch["image"])
        if self.on_validation is not None and not self.trainer.sanity_checking:
            self.on_validation(batch_idx)

    def on_validation_epoch_end(self) -> None:
        if self.trainer.sanity_checking:
            return
        self.validated.append((self.global_step, self.scored))
        iou = dict(zip(CLASSES, [0.9, 0.123, float("nan")], strict=True))
        self.val_scores = {"miou": 0.5115, "iou": iou, "pixel_accuracy": 0.8}
        self.val_scores_crf = {**self.val_scores, "iou": {**iou, "cat": 0.456}, "miou": 0.678}
        plain, refined = np.diag([6, 3, 0]), np.diag([7, 2, 0])
        plain[0, 1], plain[1, 0], refined[0, 1], refined[1, 0] = 2, 1, 1, 2
        self.val_confusion = {"without_crf": plain, "with_crf": refined}
        weights = float(self.net[0].weight.detach().sum())
        self.log("val/miou", self.scores_by_step.get(self.global_step, weights))
        mask = np.zeros((24, 32), np.uint8)
        mask[6:18, 8:24] = 1
        mask[0] = 255
        cues = np.full((5, 5), 255, np.uint8)
        cues[2, 2] = 1
        image = np.full((24, 32, 3), 128, np.uint8)
        common = {"image": image, "prediction": mask, "cues": cues, "mask": mask}
        self.gallery = [
            SimpleNamespace(name="with", prediction_crf=mask, **common),
            SimpleNamespace(name="without", prediction_crf=None, **common),
        ]

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=0.01)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 3, 0.5)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def train_dataloader(self) -> Any:
        return DataLoader(TinyImages(), BATCH, sampler=FromStep(self))

    def val_dataloader(self) -> Any:
        return DataLoader(TinyImages(), 16)


def fit(
    module: TinyModule,
    folder: Path,
    resume_from: Path | None = None,
    callbacks: Any = (),
    loggers: Any = (),
    **settings: Any,
) -> pl.Trainer:
    """Train the module as the package does. A resumed run has another seed."""
    pl.seed_everything(0 if resume_from is None else 999)
    module.net[0].reset_parameters()
    trainer = pl.Trainer(
        accelerator="cpu",
        default_root_dir=folder,
        callbacks=[*callbacks, RandomStates(), Checkpoints(folder / "checkpoints")],
        plugins=[CheckpointFiles()],
        logger=list(loggers),
        **{
            "max_steps": STEPS,
            "val_check_interval": EVERY,
            "check_val_every_n_epoch": None,
            "log_every_n_steps": 1,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            **settings,
        },
    )
    trainer.fit(module, ckpt_path=resume_from)
    return trainer
