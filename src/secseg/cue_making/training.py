"""Training of a localization network from image-level labels alone."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from pytorch_lightning.loggers import Logger
from torch import Tensor
from torchmetrics.functional.classification import binary_average_precision

from secseg.cue_making.classifier import LocalizationNet
from secseg.cue_making.data import LabelledDataModule, LabelledImages, positive_weights, split_holdout
from secseg.cue_making.snapshots import Snapshots
from secseg.cue_making.stopping import StopWhenPerfect
from secseg.data.labels import Labels
from secseg.data.splits import ImageSet
from secseg.models import trunk_fingerprint
from secseg.models.files.model_file import write_model
from secseg.training.checkpoints import CheckpointFiles, Checkpoints, RandomStates
from secseg.training.feature_cache import FeatureCache, cache_folder
from secseg.training.monitor import LossMonitor
from secseg.training.optimizers import build_optimizer, describe_groups
from secseg.training.progress import Progress, SpeedMonitor
from secseg.training.run import build_trainer
from secseg.utils.device import pick_device

log = logging.getLogger(__name__)

NAME = "network.safetensors"


def train_classifier(
    network: LocalizationNet,
    images: ImageSet,
    labels: Labels,
    node: Mapping[str, Any],
    folder: Path,
    *,
    device: str = "auto",
    precision: str = "32-true",
    workers: int = 2,
    feature_cache: str | None = None,
    seed: int = 0,
    loggers: Sequence[Logger] = (),
    callbacks: Sequence[pl.Callback] | None = None,
) -> dict[str, Any]:
    """Train ``network``, leave it with the best weights in evaluation mode, and write it into ``folder``.

    With ``running_maximum``, the folder also gets the weights of earlier steps (see ``Snapshots``). An interrupted
    training resumes from ``checkpoints/last.ckpt`` there. A frozen trunk's features come from the cache that
    ``src/train.py`` uses too: the same trunk, input size and mirroring share its entries.

    Args:
        network: of ``build_localization_net``.
        images, labels: the training images, and the foreground class numbers (1..K) of each.
        node: ``foreground`` or ``background`` of ``conf/localization``.
        device, precision, workers, feature_cache, seed: as for ``src/train.py``.
        loggers, callbacks: as for Lightning's Trainer; callbacks None for a progress bar.

    Returns:
        as ``_fit``, and ``seconds`` in all and ``feature_seconds`` for the features.

    Raises:
        UserError: for settings or images that do not fit, or a loss that is not finite.
    """
    started = time.perf_counter()
    pl.seed_everything(seed, workers=True, verbose=False)
    cache = open_cache(network, node["mirror"], feature_cache)
    parts = split_holdout(images, node["holdout"])
    train, held_out = (LabelledImages(part, labels, network.input_size, cache) for part in parts)
    data = LabelledDataModule(train, held_out, node["batch_size"], node["mirror"], seed, workers)
    weights = positive_weights(train.labels, node["balance"])
    module = ClassificationModule(network, node["optim"], weights, node["background_share"])
    checkpoints = Checkpoints(folder / "checkpoints", "val/map", "The same command continues.")
    shown = [SpeedMonitor(), Progress()] if callbacks is None else callbacks
    stopping: list[pl.Callback] = [StopWhenPerfect()] if can_measure(held_out.labels) else []
    count = node["running_maximum"]
    snapshots = [] if count is None else [Snapshots(folder, count, node["network"])]
    options = trainer_options(node, device, precision, validate=len(held_out) > 0)
    runner = build_trainer(options, folder, [RandomStates(), *stopping, *snapshots, checkpoints, *shown], list(loggers))
    if cache is not None:
        cache.prepare(images.images, network.features)
    feature_seconds = time.perf_counter() - started
    figures = _fit(runner, module, data, checkpoints)
    write_model(folder / NAME, network.eval(), node["network"])
    return {**figures, "seconds": time.perf_counter() - started, "feature_seconds": feature_seconds}


def trainer_options(node: Mapping[str, Any], device: str, precision: str, validate: bool) -> dict[str, Any]:
    """Return the options of Lightning's Trainer for one device; arguments as ``train_classifier``."""
    picked = pick_device(device)
    return {
        "accelerator": "gpu" if picked.type == "cuda" else picked.type,
        "devices": 1 if picked.index is None else [picked.index],
        "precision": precision,
        "max_steps": node["steps"],
        "val_check_interval": min(node["validate_every"], node["steps"]),
        "limit_val_batches": 1.0 if validate else 0,
        "log_every_n_steps": min(10, node["steps"]),
        "num_sanity_val_steps": 0,
    }


def open_cache(network: LocalizationNet, mirror: bool, feature_cache: str | None) -> FeatureCache | None:
    """Return the cache of a frozen trunk's features that ``train_classifier`` uses; None without such a cache."""
    folder = cache_folder(feature_cache)
    if not network.freeze or folder is None:
        return None
    return FeatureCache(folder, trunk_fingerprint(network), network.input_size, "opencv", mirror)


def _fit(
    runner: pl.Trainer, module: ClassificationModule, data: LabelledDataModule, checkpoints: Checkpoints
) -> dict[str, Any]:
    """Train, and give the module the weights of the best validation, or the last ones without held-out images.

    Returns:
        plain values: ``map`` and ``ap`` (by class, see ``average_precision``) on the held-out images, None where there
        are none; ``loss`` of the last step; ``kept_step``, the step of the weights, and ``steps`` in all;
        ``train_images`` and ``holdout_images``.
    """
    last = checkpoints.folder / "last.ckpt"
    runner.fit(module, data, ckpt_path=str(last) if last.is_file() else None)
    loss = runner.callback_metrics.get("train/loss")
    kept_step = runner.global_step
    if len(data.held_out):
        if module.measured_at != runner.global_step:  # the training did not end with a validation
            runner.validate(module, data, verbose=False)
        if checkpoints.best_model_path and not module.scores["map"] >= checkpoints.best_score:
            best = CheckpointFiles().load_checkpoint(checkpoints.best_model_path)
            module.load_state_dict(best["state_dict"])
            runner.validate(module, data, verbose=False)
            kept_step = int(best["global_step"])
    return {
        "map": module.scores.get("map"),
        "ap": module.scores.get("ap"),
        "loss": None if loss is None else float(loss),
        "kept_step": kept_step,
        "steps": runner.global_step,
        "train_images": len(data.train),
        "holdout_images": len(data.held_out),
    }


class ClassificationModule(pl.LightningModule):
    """Trains ``network`` on one device with the multi-label logistic loss, the mean over classes and images.

    With a ``background_share``, ``background_loss`` is added to it.

    Logged: ``train/loss``, ``val/loss``, ``val/map``, ``val/ap/<class>``.

    Args:
        network: images to scores.
        optim: as for ``build_optimizer``.
        positive_weights: weights (K,) of the positives in the loss, or None.
        background_share: share of the cells of each image that are background, above 0 and below 1, or None.

    Attributes:
        scores: ``map`` and ``ap`` (by class) of the last validation; see ``average_precision``.
        measured_at: global step of the last validation, -1 before it.
    """

    def __init__(
        self,
        network: LocalizationNet,
        optim: Mapping[str, Any],
        positive_weights: Tensor | None = None,
        background_share: float | None = None,
    ) -> None:
        super().__init__()
        self.network, self.optim, self.background_share = network, optim, background_share
        self.register_buffer("positive_weights", positive_weights, persistent=False)
        self.scores: dict[str, Any] = {}
        self.measured_at = -1
        self.loss_monitor = LossMonitor("The classifier's loss", "A lower learning rate (optim.optimizer.lr) may help.")

    def forward(self, batch: Mapping[str, Any]) -> Tensor:
        """Return scores (B, K) of a batch, from its cached features where it has them."""
        return self.network.classify(self._levels(batch))

    def _levels(self, batch: Mapping[str, Any]) -> Sequence[Tensor]:
        return batch["features"] if "features" in batch else self.network.features(batch["image"])

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        if self.background_share is None:
            loss = self._loss(self(batch), batch["labels"])
        else:
            maps = self.network.activation_maps_of(self._levels(batch)).float()
            loss = self._loss(self.network.head.pool(maps), batch["labels"])
            loss = loss + background_loss(maps, self.background_share)
        self.loss_monitor.check({"loss": loss}, batch["name"], self.global_step)
        self.log("train/loss", loss.detach(), batch_size=len(batch["labels"]))
        return loss

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.loss_monitor.raise_if_not_finite()

    def on_validation_epoch_start(self) -> None:
        self.loss_monitor.raise_if_not_finite()
        self._seen: list[tuple[Tensor, Tensor]] = []

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self._seen.append((self(batch).float(), batch["labels"]))

    def on_validation_epoch_end(self) -> None:
        scores, labels = (torch.cat(parts) for parts in zip(*self._seen, strict=True))
        ap = dict(zip(self.network.class_names, average_precision(scores, labels), strict=True))
        known = [value for value in ap.values() if not math.isnan(value)]
        self.scores = {"map": sum(known) / len(known) if known else math.nan, "ap": ap}
        self.measured_at = self.global_step
        self.log_dict({"val/loss": self._loss(scores, labels), "val/map": self.scores["map"]})
        self.log_dict({f"val/ap/{name}": value for name, value in ap.items()})

    def _loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        weights: Any = self.positive_weights
        return F.binary_cross_entropy_with_logits(scores.float(), labels, pos_weight=weights)

    def configure_optimizers(self) -> Any:
        classifier = self.network.head.classifier
        optimizer, schedule = build_optimizer(self.network, classifier, self.optim, self.trainer.max_steps)
        self.print(describe_groups(optimizer.param_groups))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def background_loss(maps: Tensor, share: float) -> Tensor:
    """Return the logistic loss of the cells that must be background: in each image, the ``share`` of the cells where
    the highest map is lowest. There, all maps are pushed below 0.

    It is for data in which no image is free of all classes. Without it, the maps of a class need not be lower on the
    background than on its objects, since nothing shows the classifier what background is. The term is ours.

    Args:
        maps: class activation maps (B, K, h, w) in the unit of scores.
        share: above 0 and below 1; at least one cell counts.
    """
    highest = maps.amax(1).flatten(1)
    count = max(1, int(share * highest.shape[1]))
    return F.softplus(highest.topk(count, 1, largest=False, sorted=False).values).mean()


def can_measure(labels: Tensor) -> bool:
    """Return whether the average precision of a class can be computed; if not, log what follows.

    Args:
        labels: (n, K), 0 or 1, of the held-out images; n may be 0, if none are to be held out.
    """
    positives = labels.sum(0)
    measurable = bool(((positives > 0) & (positives < len(labels))).any())
    if len(labels) and not measurable:
        log.warning(
            "The precision of the classifier cannot be computed: each class is in all of the %d held-out images or in "
            "none of them. All steps are trained, and the last weights are kept.",
            len(labels),
        )
    return measurable


def average_precision(scores: Tensor, labels: Tensor) -> list[float]:
    """Return the average precision of each class: the sum, over the ranks of positives, of precision times the increase
    of recall.

    Args:
        scores: (n, K); equal scores share a rank.
        labels: (n, K), 0 or 1.

    Returns:
        K values in 0..1, NaN for a class without positives or without negatives: it would be 1 for all scores.
    """
    # On the CPU: float64 does not exist on each device, and a GPU would be waited for once for each class.
    return [
        float(binary_average_precision(torch.sigmoid(column.double()), truth.long()))
        if 0 < truth.sum() < len(truth)
        else math.nan
        for column, truth in zip(scores.cpu().T, labels.cpu().T, strict=True)
    ]
