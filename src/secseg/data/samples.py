"""Samples of training and of evaluation: images, cues and masks in the form that the network takes."""

from __future__ import annotations

import multiprocessing
from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from secseg.data.classes import VOID
from secseg.data.cues import CueStore
from secseg.data.cues.store import resample
from secseg.data.images import read_image
from secseg.data.splits import ImageSet
from secseg.data.transforms import crf_image, evaluation_input, mirror, training_input
from secseg.utils.signals import handled_signals, ignore_signals


class FeatureSource(Protocol):
    """Features of images from a frozen trunk, such as ``training.feature_cache.FeatureCache``."""

    def read(self, image: Path, mirrored: bool = False) -> list[Tensor]:
        """Return the feature levels, a list of (c, h, w) float16."""

    def read_input(self, image: Path) -> Tensor:
        """Return the resized image (3, S, S) uint8 RGB, never mirrored."""


class TrainingImages(Dataset[dict[str, Any]]):
    """Samples of training. The index is (image number, mirrored).

    A sample holds ``name``; ``image`` (3, S, S) uint8 RGB or, if there are features, ``features``, a list of (c, h, w);
    ``crf_image`` (3, h, w) uint8 RGB; with cues ``cues`` (C, h, w) bool and ``labels`` (C,) float, column 0 unused;
    with masks ``mask`` (h, w) uint8. If only some images train on their mask, ``masked`` () bool is true for these, and
    ``mask`` is void for the others.

    Args:
        images: the split.
        cues: cues of its images; None if no term of the loss needs them.
        input_size: side S of the network's square input, in pixels.
        mask_size: (h, w) of the network's mask, to which cues and masks are resampled.
        features: features of the images from a frozen trunk; None to serve the images.
        masks: whether to serve masks.
        masked: names of the images that train on their mask; None if all do, or none.
    """

    def __init__(
        self,
        images: ImageSet,
        cues: CueStore | None,
        input_size: int,
        mask_size: tuple[int, int],
        features: FeatureSource | None = None,
        masks: bool = False,
        masked: Collection[str] | None = None,
    ) -> None:
        self.images, self.cues = images, cues
        self.input_size, self.mask_size = input_size, mask_size
        self.features, self.masks, self.masked = features, masks, None if masked is None else frozenset(masked)

    def __len__(self) -> int:
        return len(self.images.names)

    def __getitem__(self, at: tuple[int, bool]) -> dict[str, Any]:
        number, mirrored = at
        name, path = self.images.names[number], self.images.images[number]
        sample: dict[str, Any] = {"name": name}
        if self.features is not None:
            image = self.features.read_input(path)
            sample["features"] = self.features.read(path, mirrored)
        else:
            image = training_input(read_image(path), self.input_size)
            sample["image"] = mirror(image, mirrored)
        sample["crf_image"] = mirror(crf_image(image[None], self.mask_size)[0], mirrored)
        classes = len(self.images.class_names)
        if self.cues is not None:
            cues = self.cues[name]
            sample["cues"] = self._resampled(cues.map, mirrored)[None] == torch.arange(classes)[:, None, None]
            sample["labels"] = torch.zeros(classes)
            sample["labels"][list(cues.labels)] = 1
        if self.masks:
            sample["mask"] = self._mask(number, mirrored)
        if self.masked is not None:
            sample["masked"] = torch.tensor(name in self.masked)
        return sample

    def _mask(self, number: int, mirrored: bool) -> Tensor:
        if self.masked is not None and self.images.names[number] not in self.masked:
            return torch.full(self.mask_size, VOID, dtype=torch.uint8)
        assert self.images.masks is not None
        return self._resampled(self.images.read_mask(self.images.masks[number]), mirrored)

    def _resampled(self, numbers: np.ndarray, mirrored: bool) -> Tensor:
        return mirror(torch.from_numpy(np.array(resample(numbers, self.mask_size))), mirrored)


class EvaluationImages(Dataset[dict[str, Any]]):
    """Samples of evaluation.

    A sample holds ``name``; ``image`` (3, S, S) uint8 or, if there are features, ``features``; ``photo`` (H, W, 3)
    uint8, the image at its own size; ``mask`` (H, W) uint8 or None; ``cues`` (h, w) uint8 or None.

    Args:
        images, input_size, features: as for ``TrainingImages``.
        cues: cues to serve, if there are any of an image.
    """

    def __init__(
        self, images: ImageSet, input_size: int, features: FeatureSource | None = None, cues: CueStore | None = None
    ) -> None:
        self.images, self.input_size, self.features, self.cues = images, input_size, features, cues

    def __len__(self) -> int:
        return len(self.images.names)

    def __getitem__(self, number: int) -> dict[str, Any]:
        name, path = self.images.names[number], self.images.images[number]
        photo = read_image(path)
        mask = None
        if self.images.masks is not None and self.images.masks[number].is_file():
            mask = self.images.read_mask(self.images.masks[number], photo.shape[:2])
        cues = self.cues[name].map if self.cues is not None and name in self.cues else None
        sample: dict[str, Any] = {"name": name, "photo": photo, "mask": mask, "cues": cues}
        if self.features is not None:
            sample["features"] = self.features.read(path)
        else:
            sample["image"] = evaluation_input(photo, self.input_size)
        return sample


def gather(samples: list[dict[str, Any]]) -> dict[str, Any]:
    """Collate samples to a batch: stack tensors (also inside lists), and list everything else.

    In a loader process, the stacked tensors are in shared memory. If they do not fit, the error is raised here and ends
    the run. If torch moved them there later, in a thread of its own, the error would only be printed, and the main
    process would wait for the batch forever.
    """
    batch: dict[str, Any] = {}
    for key in samples[0]:
        values = [sample[key] for sample in samples]
        if isinstance(values[0], Tensor):
            batch[key] = default_collate(values)
        elif isinstance(values[0], list):
            batch[key] = [default_collate(list(level)) for level in zip(*values, strict=True)]
        else:
            batch[key] = values
    return batch


def loader(data: Dataset[Any], workers: int, **options: Any) -> DataLoader[dict[str, Any]]:
    """Return a DataLoader of samples, with so many loader processes and further options of torch's DataLoader."""
    # joblib sets a start method of its own for its jobs, which cannot start loader processes.
    methods = multiprocessing.get_all_start_methods()
    method = multiprocessing.get_start_method()
    method = method if method in methods else methods[0]
    return DataLoader(
        data,
        num_workers=workers,
        persistent_workers=workers > 0,
        multiprocessing_context=method if workers else None,
        worker_init_fn=None if method == "fork" else partial(ignore_signals, handled_signals()),
        collate_fn=gather,
        **options,
    )
