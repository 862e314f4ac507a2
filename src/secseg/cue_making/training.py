"""Training of a localization network from image-level labels alone."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.loggers import Logger

from secseg.cue_making.classifier import LocalizationNet
from secseg.cue_making.classifier_file import save_localization
from secseg.cue_making.data import LabelledDataModule, LabelledImages, positive_weights, split_holdout
from secseg.cue_making.module import ClassificationModule
from secseg.data.splits import ImageSet
from secseg.models import trunk_fingerprint
from secseg.training.checkpoints import CheckpointFiles, Checkpoints, RandomStates
from secseg.training.feature_cache import FeatureCache, cache_folder
from secseg.training.progress import Progress, SpeedMonitor
from secseg.training.run import build_trainer
from secseg.utils.errors import UserError

NAME = "network.safetensors"


def train_classifier(
    network: LocalizationNet,
    images: ImageSet,
    labels: Mapping[str, Sequence[int]],
    stage: Mapping[str, Any],
    folder: Path,
    *,
    trainer: Mapping[str, Any],
    workers: int = 2,
    feature_cache: str | None = None,
    seed: int = 0,
    loggers: Sequence[Logger] = (),
    callbacks: Sequence[pl.Callback] | None = None,
    resume: bool = False,
) -> dict[str, Any]:
    """Train ``network``, leave it with the best weights in evaluation mode, and write it to ``network.safetensors``.

    A frozen trunk's features come from the cache that ``src/train.py`` keeps too: the same trunk, input size and
    mirroring share its entries.

    Args:
        network: of ``build_localization_net``.
        images: the training images; its classes begin with the background.
        labels: foreground class numbers (1..K) of each of them.
        stage: the node ``foreground`` or ``background`` of ``conf/localization``: ``network``, ``steps``,
            ``batch_size``, ``mirror``, ``balance``, ``holdout``, ``validate_every``, ``optim``.
        folder: for checkpoints and the network.
        trainer: options of Lightning's Trainer, such as ``conf/trainer/default.yaml``; steps and validations come from
            ``stage``.
        workers: loader processes.
        feature_cache: folder for a frozen trunk's features; None for the user's cache folder, ``off`` for no cache.
        seed: of the order of images, the mirroring and dropout.
        loggers: where the values go.
        callbacks: None for a bar with the loss and the mean average precision.
        resume: go on from ``checkpoints/last.ckpt`` in ``folder``, where there is one.

    Returns:
        plain values: ``map`` and ``ap`` (by class, NaN without positives) on the held-out images, None where there are
        none; ``loss`` of the last step; ``steps``, ``kept_step`` (whose weights are the best), ``train_images``,
        ``holdout_images``, ``seconds`` and ``feature_seconds`` of it.

    Raises:
        UserError: for labels, settings or images that do not fit.
    """
    started = time.perf_counter()
    pl.seed_everything(seed, workers=True, verbose=False)
    train_images, held_out = split_holdout(images, stage["holdout"])
    cache = open_cache(network, stage["mirror"], feature_cache)
    train, held = (LabelledImages(part, labels, network.input_size, cache) for part in (train_images, held_out))
    data = LabelledDataModule(train, held, stage["batch_size"], stage["mirror"], seed, workers)
    module = ClassificationModule(network, stage["optim"], positive_weights(train.labels, stage["balance"]))
    checkpoints = Checkpoints(folder / "checkpoints", monitor="val/map")
    runner = build_trainer(
        {
            **trainer,
            "max_steps": stage["steps"],
            "val_check_interval": min(stage["validate_every"], stage["steps"]),
            "limit_val_batches": 1.0 if held_out.names else 0,
        },
        folder,
        [RandomStates(), checkpoints, *([SpeedMonitor(), Progress()] if callbacks is None else callbacks)],
        list(loggers),
    )
    if runner.world_size > 1:
        raise UserError("Localization networks train on one device: give trainer.devices=1 and trainer.num_nodes=1.")
    if cache is not None:
        cache.prepare(images.images, network.features)
    feature_seconds = time.perf_counter() - started
    last = checkpoints.folder / "last.ckpt"
    runner.fit(module, data, ckpt_path=str(last) if resume and last.is_file() else None)
    loss = runner.callback_metrics.get("train/loss")
    kept = _keep_best(runner, module, data, checkpoints) if held_out.names else runner.global_step
    save_localization(folder / NAME, network.eval(), stage["network"])
    return {
        "map": module.scores.get("map"),
        "ap": module.scores.get("ap"),
        "loss": None if loss is None else float(loss),
        "steps": runner.global_step,
        "kept_step": kept,
        "train_images": len(train),
        "holdout_images": len(held),
        "seconds": time.perf_counter() - started,
        "feature_seconds": feature_seconds,
    }


def open_cache(network: LocalizationNet, mirror: bool, feature_cache: str | None) -> FeatureCache | None:
    """Return the cache of a frozen trunk's features as ``train_classifier`` uses it, None where there is none."""
    folder = cache_folder(feature_cache)
    if not network.freeze or folder is None:
        return None
    return FeatureCache(folder, trunk_fingerprint(network), network.input_size, "train", mirror)


def _keep_best(
    runner: pl.Trainer, module: ClassificationModule, data: LabelledDataModule, checkpoints: Checkpoints
) -> int:
    """Leave the module with the weights of the best measurement, and its scores; return the step of them."""
    step = runner.global_step
    if module.measured_at != step:  # the last steps, where the run does not end with a measurement
        runner.validate(module, data, verbose=False)
    if not checkpoints.best_model_path or module.scores["map"] >= checkpoints.best_score:
        return step
    best = CheckpointFiles().load_checkpoint(checkpoints.best_model_path)
    module.load_state_dict(best["state_dict"])
    runner.validate(module, data, verbose=False)
    return int(best["global_step"])
