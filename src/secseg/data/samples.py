"""Images, cues and masks as the network takes them: one sample of training, one of evaluation."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from secseg.data.cues import CueStore
from secseg.data.cues.store import resample
from secseg.data.images import read_image, read_mask
from secseg.data.splits import ImageSet
from secseg.data.transforms import crf_image, evaluation_input, mirror, training_input


class FeatureSource(Protocol):
    """A frozen trunk's features of images; ``training.feature_cache.FeatureCache`` is one."""

    def read(self, image: Path, mirrored: bool = False) -> list[Tensor]:
        """Return the feature levels, a list of (c, h, w) float16."""

    def read_input(self, image: Path) -> Tensor:
        """Return the resized image (3, S, S) uint8 RGB, never mirrored."""


class TrainingImages(Dataset[dict[str, Any]]):
    """Samples of training, addressed by (image number, mirrored or not).

    ``image`` (3, S, S) uint8 RGB or, where there are features, ``features``, a list of (c, h, w), in its place;
    ``crf_image`` (3, h, w) uint8 RGB; ``labels`` (C,) float, column 0 unused; ``cues`` (C, h, w) bool; ``mask`` (h, w)
    uint8 where masks are asked for; ``name``.

    Args:
        images: the split.
        cues: cues of its images; None where no term of the loss needs them.
        input_size: side S of the network's square input, pixels.
        mask_size: (h, w) of the network's mask; cues on another grid are resampled to it.
        features: a frozen trunk's features of the images; None to serve the images.
        masks: serve masks; only for training with masks.
    """

    def __init__(
        self,
        images: ImageSet,
        cues: CueStore | None,
        input_size: int,
        mask_size: tuple[int, int],
        features: FeatureSource | None = None,
        masks: bool = False,
    ) -> None:
        self.images, self.cues = images, cues
        self.input_size, self.mask_size = input_size, mask_size
        self.features, self.masks = features, masks

    def __len__(self) -> int:
        return len(self.images.names)

    def __getitem__(self, at: tuple[int, bool]) -> dict[str, Any]:
        number, mirrored = at
        name = self.images.names[number]
        sample: dict[str, Any] = {"name": name}
        if self.features is not None:
            image = self.features.read_input(self.images.images[number])
            sample["features"] = self.features.read(self.images.images[number], mirrored)
        else:
            image = training_input(read_image(self.images.images[number]), self.input_size)
            sample["image"] = mirror(image, mirrored)
        sample["crf_image"] = mirror(crf_image(image[None], self.mask_size)[0], mirrored)
        classes = len(self.images.class_names)
        if self.cues is not None:
            cues = self.cues[name]
            grid = torch.from_numpy(np.array(resample(cues.map, self.mask_size)))
            sample["cues"] = mirror(grid, mirrored)[None] == torch.arange(classes)[:, None, None]
            sample["labels"] = torch.zeros(classes)
            sample["labels"][list(cues.labels)] = 1
        if self.masks:
            assert self.images.masks is not None
            mask = read_mask(self.images.masks[number], classes)
            sample["mask"] = mirror(torch.from_numpy(np.array(resample(mask, self.mask_size))), mirrored)
        return sample


class EvaluationImages(Dataset[dict[str, Any]]):
    """Samples of evaluation: ``image`` (3, S, S) uint8 or, where there are features, ``features`` in its place;
    ``photo`` (H, W, 3) uint8, ``mask`` (H, W) uint8 or None, ``cues`` (h, w) uint8 or None, ``name``.
    """

    def __init__(
        self, images: ImageSet, input_size: int, features: FeatureSource | None = None, cues: CueStore | None = None
    ) -> None:
        self.images, self.input_size, self.features, self.cues = images, input_size, features, cues

    def __len__(self) -> int:
        return len(self.images.names)

    def __getitem__(self, number: int) -> dict[str, Any]:
        name = self.images.names[number]
        photo = read_image(self.images.images[number])
        mask = None
        if self.images.masks is not None and self.images.masks[number].is_file():
            height, width = photo.shape[:2]
            mask = read_mask(self.images.masks[number], len(self.images.class_names), (height, width))
        cues = self.cues[name].map if self.cues is not None and name in self.cues else None
        sample: dict[str, Any] = {"name": name, "photo": photo, "mask": mask, "cues": cues}
        if self.features is not None:
            sample["features"] = self.features.read(self.images.images[number])
        else:
            sample["image"] = evaluation_input(photo, self.input_size)
        return sample


def gather(samples: list[dict[str, Any]]) -> dict[str, Any]:
    """Join samples to a batch: tensors are stacked (also inside lists), everything else is listed."""
    batch: dict[str, Any] = {}
    for key in samples[0]:
        values = [sample[key] for sample in samples]
        if isinstance(values[0], Tensor):
            batch[key] = torch.stack(values)
        elif isinstance(values[0], list):
            batch[key] = [torch.stack(level) for level in zip(*values, strict=True)]
        else:
            batch[key] = values
    return batch


def loader(data: Dataset[Any], workers: int, **options: Any) -> DataLoader[dict[str, Any]]:
    """Return a loader of batches.

    Args:
        data: samples, as dictionaries.
        workers: processes that read beside the training; 0 reads within it.
        options: others of ``torch.utils.data.DataLoader``.
    """
    ways = multiprocessing.get_all_start_methods()  # joblib's jobs have set a way of their own, which starts no loader
    ours = multiprocessing.get_start_method() in ways
    return DataLoader(
        data,
        num_workers=workers,
        persistent_workers=workers > 0,
        multiprocessing_context=None if ours or not workers else ways[0],
        collate_fn=gather,
        **options,
    )
