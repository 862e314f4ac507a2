"""LightningDataModules: splits, labels, cues and batches of a data set."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
from torch.utils.data import DataLoader

from secseg.data.classes import voc_palette
from secseg.data.cue_labels import with_labels
from secseg.data.cues import CueStore
from secseg.data.label_cells import TableOptions
from secseg.data.labels import Labels
from secseg.data.mask_checks import check_masks, check_shown_classes
from secseg.data.mask_values import as_mask_values, check_mask_values, fit_classes
from secseg.data.sampler import ShuffledSampler
from secseg.data.samples import EvaluationImages, FeatureSource, TrainingImages, loader
from secseg.data.shared_memory import check_shared_memory
from secseg.data.some_masks import SOME, check_mask_limit, choose_masks, mask_folder, masks_warnings
from secseg.data.splits import ImageSet, choose_some, split_warnings
from secseg.data.training_cues import open_training_cues
from secseg.utils.checks import check_choice, check_text, check_whole, refuse
from secseg.utils.text import nfc

log = logging.getLogger(__name__)

VAL_BATCH = 4  # images of a batch in a validation


class ImageDataModule(pl.LightningDataModule):
    """Images of a training and a validation split, with labels, cues and masks.

    A subclass is a data set. It sets ``title`` (one word, for messages and results) and ``class_names``, and implements
    ``open_train_split`` and ``open_val_split``; for ``make_cues.py`` also ``image_labels`` and ``label_source``. It may
    override ``prepare``. These methods raise a UserError for data that is missing or does not fit.

    Args:
        root: folder of the data.
        train_split, val_split: names of the splits.
        labels: source of ``image_labels``.
        label_separator, difficult, first_class: as for ``TableOptions``, for a file of labels.
        cues: cue file, ours or the official pickle; None searches ``root`` and the folders above it.
        masks: training masks: ``some``, those that are there; for ``loss=supervised`` only: ``dataset``, or a folder.
        mask_limit: with ``masks=some``, most masks to train on, spread over the classes; None for all.
        batch_size: images per training step and process.
        workers: number of loader processes.
        mirror: mirror training images with probability 1/2.
        scored: names of the classes in the mean IoU; None for all.
        feature_cache: folder for the features of a frozen trunk; None for the user's cache folder; ``off`` for none.
        limit: use only ``limit`` images of each split, chosen by ``choose_some``; None for all.
        mask_values: how the pixels of masks become class numbers, as ``check_mask_values`` takes it.
        seed: seed of the order of the training images.

    Attributes:
        lacks_background: whether labels cannot show what background is; set by ``open_train``.
        class_names, palette: names, background first; (256, 3) uint8 RGB. ``prepare`` may set ``class_names``.
        train_images, val_images: the splits, after ``open``.
        cues: cues of the training images, after ``open``; None if they were not asked for.
        warnings: what was found in the data that the user may not have intended, a text for each.
        masked: names of the images that train on their mask with ``masks=some``, after ``open``; else None.
    """

    title: str
    class_names: tuple[str, ...]
    palette: np.ndarray = voc_palette()
    lacks_background = False
    _expand_labels = "the cue file"

    def __init__(
        self,
        root: str,
        train_split: str = "train",
        val_split: str = "val",
        labels: str | None = None,
        label_separator: str | None = None,
        difficult: str | None = None,
        cues: str | None = None,
        masks: str | None = None,
        batch_size: int = 15,
        workers: int = 2,
        mirror: bool = True,
        scored: Sequence[str] | None = None,
        feature_cache: str | None = None,
        limit: int | None = None,
        seed: int = 0,
        mask_values: Any = "auto",
        mask_limit: int | None = None,
        first_class: int | None = None,
    ) -> None:
        super().__init__()
        refuse(
            [
                *check_whole("data.limit", limit, 1, null=True),
                *check_mask_limit(mask_limit, masks),
                *check_choice("data.difficult", difficult, (None, "present", "absent")),
                *check_choice("data.first_class", first_class, (None, 0, 1)),
                *check_text("data.label_separator", label_separator, null=True, note="space for white space"),
                *check_mask_values(mask_values),
            ]
        )
        self.root = Path(root).expanduser()
        self.train_split, self.val_split = train_split, val_split
        self.table_options = TableOptions(label_separator, difficult, first_class)
        self.labels, self.cue_file, self.training_masks = labels, cues, masks
        self.batch_size, self.workers, self.mirror = batch_size, workers, mirror
        self.scored = None if scored is None else [nfc(str(name)) for name in scored]
        self.feature_cache, self.limit, self.mask_limit, self.seed = feature_cache, limit, mask_limit, seed
        self.mask_values = as_mask_values(mask_values)
        self.localization: str | None = None  # the option of make_cues that fits the training, for messages
        self.warnings: list[str] = []
        self.masked: tuple[str, ...] | None = None

    def prepare(self) -> None:
        """Prepare the data before a split is opened: draw images, read labels. Does nothing by default."""

    def open_train_split(self, masks: bool, folder: Path | None) -> ImageSet:
        """Return the training split.

        Args:
            masks: whether each image must have a mask.
            folder: folder of masks ``<name>.png`` that replace the masks of the data set; None for these.
        """
        raise NotImplementedError

    def open_val_split(self) -> ImageSet:
        """Return the validation split. Images whose mask is missing are not scored."""
        raise NotImplementedError

    def image_labels(self) -> Labels:
        """Return the foreground class numbers (1 and up, sorted) of each image of ``train_images``."""
        raise NotImplementedError

    def label_warnings(self) -> list[str]:
        """Return a line for each thing that the labels of ``train_images`` lack. Public data sets have none."""
        return []

    def val_classes(self) -> set[int] | None:
        """Return the numbers of the classes in the labels of ``val_images``; None if only masks show them."""
        return None

    def label_source(self) -> str:
        """Return the source of ``image_labels``, for messages and results."""
        raise NotImplementedError

    def own_labels(self) -> Labels | None:
        """Return ``image_labels`` if *expand* uses them in place of the labels of the cue file; else None."""
        return None

    def trained_classes(self) -> set[int] | None:
        """Return the numbers of the classes in the training images; None if the masks would have to be read."""
        cues, names = self.cues, self.train_images.names
        return None if cues is None else set(np.flatnonzero(cues.labelled(names).any(0)).tolist())

    def open(self, *, cues: bool, masks: bool) -> None:
        """Find and check all data of a training, before anything is computed.

        Args:
            cues, masks: whether the loss needs cues, and training masks.

        Raises:
            UserError: for data that is missing or does not fit; lists everything that is wrong.
        """
        folder, some = mask_folder(self.training_masks, cues, masks), self.training_masks == SOME
        self._prepare()
        self.train_images = self._limited(self.open_train_split(masks and not some, folder))
        if folder is not None:
            self.train_images = self.train_images.for_predictions()
        self.val_images = self._limited(self.open_val_split())
        for images in (self.train_images, self.val_images) if masks and not some else (self.val_images,):
            self.check_shown_classes(images)
        if cues:
            self.warn(self.label_warnings())
        self.cues = self.open_cue_store() if cues else None
        self.masked = self._choose_masks(self.cues) if some and self.cues is not None else None
        self.warn(split_warnings(self.train_images, self.val_images, self.trained_classes(), self.scored))

    def open_train(self) -> None:
        """Find and check only the training images, without masks, and set ``train_images``; errors as ``open``."""
        self._prepare()
        self.train_images = self._limited(self.open_train_split(False, None))
        self.check_shown_classes(self.train_images)
        self.warn(self.label_warnings())

    def open_scored(self) -> None:
        """Find and check only the validation images that have a mask, and set ``val_images``; errors as ``open``."""
        self._prepare()
        images = self._limited(self.open_val_split())
        self.val_images = images.with_masks()
        self.check_shown_classes(self.val_images)
        if len(self.val_images.names) < len(images.names):
            log.info("%d of %d images have a mask and are scored.", len(self.val_images.names), len(images.names))

    def open_cue_store(self) -> CueStore:
        """Open the cues of the training images, with ``own_labels`` if there are any. Errors as ``with_labels`` and
        ``open_training_cues``."""
        where = (self.cue_file, self.root, self.title)
        store = open_training_cues(*where, self.train_images, self.localization)
        if (labels := self.own_labels()) is not None:
            images = self.train_images.names
            self._expand_labels = self.label_source()
            store, lines = with_labels(store, labels, images, self.class_names, self._expand_labels)
            self.warn(lines)
        return store

    def check_shown_classes(self, images: ImageSet) -> None:
        """Refuse masks that show no class, in which 255, void, seems to be a class."""
        self.warn(check_shown_classes(images))

    def warn(self, warnings: Iterable[str]) -> None:
        """Log warnings about the data or its use, and add them to ``warnings``; each one once."""
        for warning in warnings:
            if warning not in self.warnings:
                log.warning("%s", warning)
                self.warnings.append(warning)

    def check_training_masks(self, images: ImageSet) -> None:
        """Check the masks of the images that train on their mask; errors as ``check_masks``."""
        self.warn(check_masks(images))

    def _choose_masks(self, cues: CueStore) -> tuple[str, ...]:
        images, labels = self.train_images, cues.labelled(self.train_images.names)
        chosen = choose_masks(images, labels, self.val_images.names, self.mask_limit, self.seed)
        self.warn(masks_warnings(chosen))
        trained = images.take(np.flatnonzero(chosen).tolist())
        if trained.names:
            self.check_training_masks(trained)
        return trained.names

    def _prepare(self) -> None:
        self.prepare()
        fit_classes(self.mask_values, self.class_names)

    def _limited(self, images: ImageSet) -> ImageSet:
        chosen = images.names if self.limit is None else choose_some(images.names, self.limit)
        at = {name: number for number, name in enumerate(images.names)}
        return replace(images.take([at[name] for name in chosen]), mask_values=self.mask_values)

    def build_samples(
        self,
        input_size: int,
        mask_size: tuple[int, int],
        train_features: FeatureSource | None = None,
        val_features: FeatureSource | None = None,
    ) -> None:
        """Build the samples of both splits, after ``open``.

        Args:
            input_size, mask_size: as for ``TrainingImages``.
            train_features, val_features: features of each split from a frozen trunk; they replace the images.
        """
        self.train_data = TrainingImages(
            *(self.train_images, self.cues, input_size, mask_size, train_features),
            masks=self.training_masks is not None,
            masked=self.masked,
        )
        self.val_data = EvaluationImages(self.val_images, input_size, val_features)
        self._gallery_data = EvaluationImages(self.train_images, input_size, train_features, self.cues)

    def gallery_samples(self, count: int) -> list[dict[str, Any]]:
        """Return ``count`` training images as evaluation samples, with their cues, for the pictures. The classes take
        turns, if there are cues."""
        names = self.train_images.names
        labels = None if self.cues is None else {name: self.cues[name].labels for name in names}
        chosen = set(choose_some(names, count, labels))
        return [self._gallery_data[number] for number, name in enumerate(names) if name in chosen]

    def train_dataloader(self) -> DataLoader[dict[str, Any]]:
        trainer = self.trainer
        assert trainer is not None
        place = (trainer.global_step, trainer.global_rank, trainer.world_size)
        size, steps = len(self.train_data), trainer.max_steps
        sampler = ShuffledSampler(size, self.batch_size, steps, self.seed, self.mirror, *place)
        check_shared_memory(lambda: self.train_data[0, False], self.batch_size, self.workers)
        return self._loader(self.train_data, batch_sampler=sampler)

    def val_dataloader(self) -> DataLoader[dict[str, Any]]:
        assert self.trainer is not None
        numbers = range(self.trainer.global_rank, len(self.val_data), self.trainer.world_size)
        check_shared_memory(lambda: self.val_data[0], VAL_BATCH, self.workers)
        return self._loader(self.val_data, batch_size=VAL_BATCH, sampler=numbers)

    def _loader(self, data: Any, **options: Any) -> DataLoader[dict[str, Any]]:
        on_gpu = self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"
        return loader(data, self.workers, pin_memory=on_gpu, **options)

    def protocol(self) -> dict[str, Any]:
        """Return what must be stated with each figure: data, splits, labels, cues, masks, scored classes."""
        return {
            "data": self.title,
            "train_split": self.train_split,
            "train_images": len(self.train_images.names),
            "val_split": self.val_split,
            "val_images": len(self.val_images.names),
            "val_masks": sum(mask.is_file() for mask in self.val_images.masks or ()),
            "scored_masks": self.val_images.mask_folders(),
            "labels": None if self.cues is None else self._expand_labels,
            "cues": None if self.cues is None else dict(self.cues.provenance),
            "training_masks": self.training_masks,
            **({} if self.masked is None else {"training_masks_used": len(self.masked)}),
            "scored": list(self.scored or self.class_names),
            **self.mask_protocol(),
        }

    def mask_protocol(self) -> dict[str, Any]:
        """Return how the masks of the data set are read, for the protocol."""
        return {} if self.mask_values == "auto" else {"mask_values": self.mask_values}
