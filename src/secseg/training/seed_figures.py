"""How good the seeds are, from step to step: a callback that compares them with masks of training images."""

from __future__ import annotations

from typing import Any

import torch
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.utilities import move_data_to_device
from torch import Tensor

from secseg.data.classes import VOID
from secseg.data.samples import TrainingImages, gather
from secseg.data.splits import choose_some
from secseg.losses.growing import Growing
from secseg.losses.probabilities import at_least_float32
from secseg.utils.checks import check_whole, refuse
from secseg.utils.errors import UserError


class SeedFigures(Callback):
    """Logs precision and recall of the cues, and of what they grow to, at each validation.

    The keys are ``seeds/<cues or grown>/<precision or recall>_<foreground or background>``, in [0, 1], or NaN without
    a pixel to count. A loss without CRF has no grown seeds. If the loss does not grow its seeds, the figures are those
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
        for start in range(0, len(self._samples), size):
            numbers = range(start, min(start + size, len(self._samples)))
            batch = gather([self._samples[number, False] for number in numbers])
            for kind, seeds in _seeds(pl_module, move_data_to_device(batch, pl_module.device)).items():
                totals[kind] = totals.get(kind, 0) + seed_counts(seeds, batch["mask"])
        values = {f"seeds/{kind}/{name}": value for kind, counts in totals.items() for name, value in rates(counts)}
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
