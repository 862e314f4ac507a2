"""How good the seeds are, from step to step: a callback that compares them with masks of training images.

The size of a class in the seeds is what ``decay.adaptive.source=seeds`` takes for its size in the image.
"""

from __future__ import annotations

from typing import Any

import torch
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.utilities import move_data_to_device
from torch import Tensor

from secseg.data.classes import VOID
from secseg.data.samples import TrainingImages, gather
from secseg.data.splits import choose_some
from secseg.losses.growing import Growing, own_classes
from secseg.losses.probabilities import at_least_float32
from secseg.utils.checks import check_whole, refuse
from secseg.utils.errors import UserError


class SeedFigures(Callback):
    """Logs precision, recall and sizes of the cues, and of what they grow to, at each validation.

    The keys are ``seeds/<cues or grown>/<figure>_<foreground or background>``. ``precision`` and ``recall`` are in
    [0, 1]. ``size_ratio`` is the median, over the classes of the images, of the size in the seeds over the size in the
    mask, and ``size_factor`` the median of the factor, at least 1, by which it is wrong. A figure is NaN without a
    pixel to count. A loss without CRF has no grown seeds. If the loss does not grow its seeds, the figures are those
    that growing with the default thresholds would have. Only these figures read the masks, never the loss.

    Args:
        images: number of training images with a mask to compare, at least 1. The classes take turns.
    """

    def __init__(self, images: int = 100) -> None:
        refuse(check_whole("callbacks.seeds.images", images, 1))
        self.images = images
        self._samples: TrainingImages | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: Any) -> None:
        data: TrainingImages = trainer.datamodule.train_data  # type: ignore[attr-defined]
        if data.cues is None:
            raise UserError("callbacks.seeds compares the cues with masks, but no term of the loss uses cues.")
        images = data.images.with_masks()
        labels = {name: data.cues[name].labels for name in images.names}
        chosen = set(choose_some(images.names, self.images, labels))
        images = images.take([at for at, name in enumerate(images.names) if name in chosen])
        sizes = data.input_size, data.mask_size
        self._samples = TrainingImages(images, data.cues, *sizes, data.features, masks=True)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        if trainer.sanity_checking or not trainer.is_global_zero or self._samples is None:
            return
        size = trainer.datamodule.batch_size  # type: ignore[attr-defined]
        totals: dict[str, Tensor] = {}
        sizes: dict[str, list[Tensor]] = {}
        for start in range(0, len(self._samples), size):
            numbers = range(start, min(start + size, len(self._samples)))
            batch = gather([self._samples[number, False] for number in numbers])
            for kind, seeds in _seeds(pl_module, move_data_to_device(batch, pl_module.device)).items():
                totals[kind] = totals.get(kind, 0) + seed_counts(seeds, batch["mask"])
                sizes.setdefault(kind, []).append(size_ratios(seeds, batch["mask"], batch["labels"]))
        values = {
            f"seeds/{kind}/{name}": value
            for kind, counts in totals.items()
            for name, value in [*rates(counts), *size_errors(torch.cat(sizes[kind]))]
        }
        pl_module.log_dict(values, rank_zero_only=True)


def _seeds(module: Any, batch: dict[str, Any]) -> dict[str, Tensor]:
    """Return the seeds (B, C, H, W) bool of a batch, on the CPU: ``cues`` and, if the loss has a CRF, ``grown``."""
    seeds = {"cues": batch["cues"]}
    if module.training_crf is not None:
        with torch.no_grad():
            probs = module.training_crf(at_least_float32(module(batch)), batch["crf_image"])
        seeds["grown"] = (module.loss.growing or Growing())(batch["cues"], probs, batch["labels"])
    return {kind: found.cpu() for kind, found in seeds.items()}


def seed_counts(seeds: Tensor, mask: Tensor) -> Tensor:
    """Count the seeds that are right, all seeds, and the pixels to find.

    Args:
        seeds: (B, C, H, W) bool.
        mask: (B, H, W), class numbers; void pixels are not counted.

    Returns:
        (3, 2) int64: for the background, and for all other classes together.
    """
    classes = torch.arange(seeds.shape[1])[:, None, None]
    true = mask[:, None] == classes
    given = seeds & (mask != VOID)[:, None]
    counts = torch.stack([one.sum((0, 2, 3)) for one in (given & true, given, true)])
    return torch.stack([counts[:, 0], counts[:, 1:].sum(1)], 1)


def rates(counts: Tensor) -> list[tuple[str, float]]:
    """Return precision and recall by name, from ``seed_counts``; NaN without a pixel to count."""
    right, given, true = counts.tolist()
    return [
        (f"{name}_{part}", right[at] / whole[at] if whole[at] else float("nan"))
        for at, part in enumerate(("background", "foreground"))
        for name, whole in (("precision", given), ("recall", true))
    ]


def size_ratios(seeds: Tensor, mask: Tensor, labels: Tensor) -> Tensor:
    """Return the size of a class in the seeds over its size in the mask, as shares of the image: (B, C).

    Sizes below a pixel count as one. Void pixels of the mask do not count. NaN where the class is not among the labels
    (column 0, the background, always is) or not in the mask.
    """
    classes = torch.arange(seeds.shape[1])[:, None, None]
    known = (mask != VOID).flatten(1).sum(1, keepdim=True).clamp(min=1)
    true = (mask[:, None] == classes).flatten(2).sum(2) / known
    found = seeds.flatten(2).sum(2).clamp(min=1) / mask[0].numel()
    return torch.where(own_classes(labels) & (true > 0), found / true, torch.nan)


def size_errors(ratios: Tensor) -> list[tuple[str, float]]:
    """Return the medians by name, from ``size_ratios`` (N, C); NaN without a class to compare."""
    figures = []
    for part, columns in (("background", ratios[:, :1]), ("foreground", ratios[:, 1:])):
        logs = columns[~columns.isnan()].log()
        for name, values in (("size_ratio", logs), ("size_factor", logs.abs())):
            figures.append((f"{name}_{part}", float(values.quantile(0.5).exp()) if len(values) else float("nan")))
    return figures
