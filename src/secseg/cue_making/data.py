"""Images with image-level labels, for training and validation of a classifier."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from secseg.data.images import read_image
from secseg.data.labels import Labels
from secseg.data.sampler import ShuffledSampler
from secseg.data.samples import loader
from secseg.data.shared_memory import check_shared_memory
from secseg.data.splits import ImageSet
from secseg.data.transforms import mirror, training_input
from secseg.training.feature_cache import FeatureCache
from secseg.utils.checks import check_number, refuse
from secseg.utils.errors import UserError, listing


class LabelledImages(Dataset[dict[str, Any]]):
    """Samples by (image number, mirrored or not): ``image`` (3, S, S) uint8 RGB or, with a feature cache, ``features``
    instead, a list of (c, h, w); ``labels`` (K,) float, 0 or 1; ``name``.

    Args:
        images: the images, whose classes begin with the background.
        labels: foreground class numbers (1..K) of each image; may be none.
        input_size: side S of the network's square input, pixels.
        features: cache of the frozen trunk's features.
    """

    def __init__(self, images: ImageSet, labels: Labels, input_size: int, features: FeatureCache | None = None) -> None:
        self.images, self.input_size, self.features = images, input_size, features
        self.labels = torch.zeros(len(images.names), len(images.class_names) - 1)
        for row, name in enumerate(images.names):
            self.labels[row, [number - 1 for number in labels[name]]] = 1

    def __len__(self) -> int:
        return len(self.images.names)

    def __getitem__(self, at: tuple[int, bool]) -> dict[str, Any]:
        number, mirrored = at
        path = self.images.images[number]
        sample: dict[str, Any] = {"name": self.images.names[number], "labels": self.labels[number]}
        if self.features is not None:
            return {**sample, "features": self.features.read(path, mirrored)}
        return {**sample, "image": mirror(training_input(read_image(path), self.input_size), mirrored)}


class LabelledDataModule(pl.LightningDataModule):
    """Training batches for all steps, and validation batches with each held-out image once, not mirrored.

    Args:
        train, held_out: the images of each.
        batch_size: images per step.
        mirror: mirror training images with probability 1/2.
        seed: of the order and the mirroring.
        workers: loader processes.
    """

    def __init__(
        self, train: LabelledImages, held_out: LabelledImages, batch_size: int, mirror: bool, seed: int, workers: int
    ) -> None:
        super().__init__()
        self.train, self.held_out = train, held_out
        self.batch_size, self.mirror, self.seed, self.workers = batch_size, mirror, seed, workers

    def train_dataloader(self) -> DataLoader[dict[str, Any]]:
        assert self.trainer is not None
        steps, start = self.trainer.max_steps, self.trainer.global_step
        sampler = ShuffledSampler(len(self.train), self.batch_size, steps, self.seed, self.mirror, start)
        check_shared_memory(lambda: self.train[0, False], self.batch_size, self.workers)
        return loader(self.train, self.workers, batch_sampler=sampler)

    def val_dataloader(self) -> DataLoader[dict[str, Any]]:
        order = [(number, False) for number in range(len(self.held_out))]
        return loader(self.held_out, self.workers, batch_size=self.batch_size, sampler=order)


def split_holdout(images: ImageSet, holdout: float | Sequence[str]) -> tuple[ImageSet, ImageSet]:
    """Split ``images`` into training and held-out images.

    Args:
        images: all images.
        holdout: the names of the held-out images; or their share, in [0, 1), which is rounded to at least one image
            unless it is 0. Which images are held out depends only on their names, not on order, seed or labels.

    Raises:
        UserError: for names that are not among the images, a share out of range, or nothing left to train on.
    """
    if isinstance(holdout, int | float):
        refuse(check_number("holdout", holdout, 0, below=1, note="a share of the images; or a list of their names"))
        drawn = sorted(images.names, key=lambda name: hashlib.sha256(name.encode()).digest())
        chosen = set(drawn[: max(1, round(holdout * len(drawn))) if holdout else 0])
    else:
        chosen = set(holdout)
        if unknown := sorted(chosen - set(images.names)):
            raise UserError(f"holdout names images that are not in {images.title}:\n{listing(unknown)}")
    if len(chosen) == len(images.names):
        raise UserError(f"holdout={holdout} leaves no image of {images.title} to train on.")
    train, held_out = (
        images.take([at for at, name in enumerate(images.names) if (name in chosen) is part]) for part in (False, True)
    )
    return train, held_out


def positive_weights(labels: Tensor, balance: str) -> Tensor | None:
    """Return the weights (K,) of the positives in the loss, or None if all are 1.

    Args:
        labels: (N, K), 0 or 1.
        balance: ``none``, or ``inverse``: negatives over positives, so that both weigh the same in each class. A class
            without positives has weight 1, and a class without negatives counts as if it had one.
    """
    if balance == "none":
        return None
    positives = labels.sum(0)
    negatives = (len(labels) - positives).clamp(min=1)
    return (negatives / positives.clamp(min=1)).where(positives > 0, 1.0)
