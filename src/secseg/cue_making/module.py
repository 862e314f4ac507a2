"""The LightningModule of a localization network: the multi-label loss and average precision."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics.functional.classification import binary_average_precision

from secseg.cue_making.classifier import LocalizationNet
from secseg.training.monitor import LossWatch
from secseg.training.optimizers import build_optimizer, describe_groups


class ClassificationModule(pl.LightningModule):
    """Trains ``network`` with the multi-label logistic loss, the mean over classes and images, and measures it.

    Logged: ``train/loss``, ``val/loss``, ``val/map``, ``val/ap/<class>``. On one device.

    Args:
        network: images to scores.
        optim: the ``optim`` node, plain (see ``build_optimizer``).
        positive_weights: what the loss of each class's positives is multiplied with (K,), or None.

    Attributes:
        scores: ``map`` and ``ap`` (by class) of the last measurement; see ``average_precision``.
        measured_at: its global step, -1 before there is one.
    """

    def __init__(
        self, network: LocalizationNet, optim: Mapping[str, Any], positive_weights: Tensor | None = None
    ) -> None:
        super().__init__()
        self.network, self.optim = network, optim
        self.register_buffer("positive_weights", positive_weights, persistent=False)
        self.scores: dict[str, Any] = {}
        self.measured_at = -1
        self.loss_watch = LossWatch("The classifier's loss", "A lower learning rate (optim.optimizer.lr) may help.")

    def forward(self, batch: Mapping[str, Any]) -> Tensor:
        """Return scores (B, K) of a batch, from its cached features where it has them."""
        if "features" in batch:
            return self.network.classify(batch["features"])
        return self.network(batch["image"])

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        loss = self._loss(self(batch), batch["labels"])
        self.loss_watch.watch({"loss": loss}, batch["name"], self.global_step)
        self.log("train/loss", loss.detach(), batch_size=len(batch["labels"]))
        return loss

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.loss_watch.refuse()

    def on_validation_epoch_start(self) -> None:
        self.loss_watch.refuse()
        self._seen: list[tuple[Tensor, Tensor]] = []

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self._seen.append((self(batch).float(), batch["labels"]))

    def on_validation_epoch_end(self) -> None:
        scores, labels = (torch.cat(parts) for parts in zip(*self._seen, strict=True))
        ap = dict(zip(self.network.class_names, average_precision(scores, labels), strict=True))
        known = [value for value in ap.values() if not math.isnan(value)]
        self.scores = {"map": sum(known) / len(known) if known else math.nan, "ap": ap}
        self.measured_at = self.global_step
        self.log_dict(
            {
                "val/loss": self._loss(scores, labels),
                "val/map": self.scores["map"],
                **{f"val/ap/{name}": value for name, value in ap.items()},
            }
        )

    def _loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        weights: Any = self.positive_weights
        return F.binary_cross_entropy_with_logits(scores.float(), labels, pos_weight=weights)

    def configure_optimizers(self) -> Any:
        classifier = self.network.head.classifier
        optimizer, schedule = build_optimizer(self.network, classifier, self.optim, self.trainer.max_steps)
        self.print(describe_groups(optimizer.param_groups))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def average_precision(scores: Tensor, labels: Tensor) -> list[float]:
    """Return each class's average precision: the sum over positives' ranks of precision times the rise of recall.

    Args:
        scores: (n, K), of any values; equal ones share a rank.
        labels: (n, K), 0 or 1.

    Returns:
        K values in 0..1, NaN for a class without positives.
    """
    return [
        float(binary_average_precision(torch.sigmoid(column.double()), truth.long())) if truth.any() else math.nan
        for column, truth in zip(scores.T, labels.T, strict=True)
    ]
