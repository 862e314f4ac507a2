"""The LightningModule: connects network, loss, optimizer and scores. Formulas are in other modules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities import move_data_to_device
from torch import Tensor

from secseg.crf import CRF
from secseg.data.samples import gather
from secseg.drawing.overlays import GalleryItem
from secseg.evaluation import SegmentationScore
from secseg.inference.full_size import predict_masks
from secseg.inference.mask_warnings import count_pixels
from secseg.losses import SECLoss
from secseg.models import SegmentationNet
from secseg.training.monitor import LossMonitor, StepClock
from secseg.training.optimizers import build_optimizer, describe_groups


class SECModule(pl.LightningModule):
    """Trains ``network`` with ``loss`` and evaluates it at the full size of the images.

    Args:
        network: maps images to scores on the grid of the mask.
        loss: maps scores and a batch to the loss and its terms.
        optim: the ``optim`` node, plain (see ``build_optimizer``).
        palette: (256, 3) uint8, colours for pictures.
        scored: names of the classes in the mean IoU; None for all.
        test_crf: the CRF at full resolution, or None.
        crf_when: the validations with the test-time CRF: ``final`` (after the last step), ``always`` or ``never``.
        pictures: number of validation images in ``gallery``.
        gallery_samples: training samples for ``gallery``, as ``EvaluationImages`` returns them.
        record: plain description of the run (its config), for checkpoints.

    Attributes:
        val_scores, val_scores_crf: ``SegmentationScore.compute()`` of the last validation, without and with CRF; None
            if no image had a mask or no CRF was run.
        val_confusion: pixels (C, C) by (truth, prediction), under ``without_crf`` and ``with_crf``.
        val_pixels: predicted pixels of each class in all validation images, as ``count_pixels``: (2, C) int64.
        gallery: ``GalleryItem`` for the pictures of the last validation.
        scored_at: global step of the last validation; -1 before the first one.
        losses: the loss and its terms in the last step, also after a resume.
        crf_clock, step_clock: time in the training CRF and in training steps so far.
    """

    def __init__(
        self,
        network: SegmentationNet,
        loss: SECLoss,
        optim: Mapping[str, Any],
        palette: np.ndarray,
        scored: Sequence[str] | None = None,
        test_crf: CRF | None = None,
        crf_when: str = "final",
        pictures: int = 8,
        gallery_samples: Sequence[dict[str, Any]] = (),
        record: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.network, self.loss = network, loss
        self.optim, self.palette, self.scored = optim, palette, scored
        self.class_names = network.class_names
        self.test_crf, self.crf_when = test_crf, crf_when
        self.pictures, self.gallery_samples = pictures, gallery_samples
        self.record = dict(record or {})
        self.val_scores: dict[str, Any] | None = None
        self.val_scores_crf: dict[str, Any] | None = None
        self.val_confusion: dict[str, np.ndarray] = {}
        self.val_pixels = np.zeros((2, len(self.class_names)), dtype=np.int64)
        self.gallery: list[GalleryItem] = []
        self.scored_at = -1
        self.losses: dict[str, Tensor | float] = {}
        self.crf_clock, self.step_clock = StepClock(), StepClock()
        self.loss_monitor = LossMonitor(
            "The loss",
            "The last good checkpoint is in the run folder. A lower optim.optimizer.lr, "
            "trainer.gradient_clip_val=10 or trainer.precision=32-true may help.",
        )
        if loss.crf is not None:
            loss.crf = _Timed(loss.crf, self.crf_clock)

    @property
    def training_crf(self) -> CRF | None:
        """The CRF of the loss, without the clock; None if no term needs one."""
        return self.loss.crf.crf if isinstance(self.loss.crf, _Timed) else None

    def forward(self, batch: Mapping[str, Any]) -> Tensor:
        """Return the scores (B, C, h, w) of a batch, from its cached features if it has them."""
        if "features" in batch:
            return self.network.classify(batch["features"])
        return self.network(batch["image"])

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        self.step_clock.start(self.device)
        logits = self(batch)
        terms = self.loss(logits, batch, self.global_step)
        means = self._over_processes({term: value.detach() for term, value in terms.items()})
        self.loss_monitor.check(terms, batch["name"], self.global_step, everywhere=means["loss"])
        self.losses = dict(means)
        self.log_dict({f"train/{term}": mean for term, mean in means.items()}, batch_size=len(logits))
        return terms["loss"]

    def on_train_batch_end(self, *_: Any) -> None:
        self.step_clock.stop(self.device)
        trainer: Any = self.trainer
        if self.global_step % max(trainer.log_every_n_steps, 1) == 0:  # reading the clocks synchronises
            share = self.crf_clock.seconds / self.step_clock.seconds
            if self.loss.crf is not None:
                self.log("train/crf_share", share)

    def on_validation_epoch_start(self) -> None:
        self.loss_monitor.raise_if_not_finite()
        self._score = SegmentationScore(self.class_names, scored=self.scored)
        self._score_crf = SegmentationScore(self.class_names, scored=self.scored)
        self.val_pixels = np.zeros_like(self.val_pixels)
        self.gallery = []
        for sample in self.gallery_samples if self.trainer.is_global_zero else ():
            seen: dict[str, Any] = {key: sample[key] for key in ("image", "features") if key in sample}
            logits = self(move_data_to_device(gather([seen]), self.device))
            self._show(sample, *predict_masks(logits, [sample["photo"]], self._crf_now())[0])

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Any]:
        predictions = predict_masks(self(batch), batch["photo"], self._crf_now())
        for number, (plain, refined) in enumerate(predictions):
            mask = batch["mask"][number]
            self.val_pixels += count_pixels({"without_crf": plain, "with_crf": refined}, len(self.class_names))
            if mask is not None:
                self._score.update(plain, mask)
                if refined is not None:
                    self._score_crf.update(refined, mask)
            if len(self.gallery) < self.pictures + len(self.gallery_samples):
                self._show({key: batch[key][number] for key in ("name", "photo", "cues", "mask")}, plain, refined)
        return {"predictions": predictions}

    def on_validation_epoch_end(self) -> None:
        self.scored_at = self.global_step
        self.val_pixels = self._summed(self.val_pixels)
        self.val_scores, self.val_scores_crf = self._computed(self._score), self._computed(self._score_crf)
        counts = {"without_crf": self._score.confusion, "with_crf": self._score_crf.confusion}
        self.val_confusion = {variant: confusion for variant, confusion in counts.items() if confusion.any()}
        if self.val_scores is None:
            return
        # The scores are those of all processes already. Without sync_dist, Lightning warns.
        values = {"val/miou": self.val_scores["miou"]}
        values |= {f"val/iou/{name}": iou for name, iou in self.val_scores["iou"].items()}
        if self.val_scores_crf is not None:
            values["val/miou_crf"] = self.val_scores_crf["miou"]
        self.log_dict(values, sync_dist=True)

    def _over_processes(self, terms: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the mean of each term over all processes, which is the mean over the global batch.

        All terms are reduced together and without synchronisation. Lightning's ``sync_dist`` has a barrier for each.
        """
        if not torch.distributed.is_initialized():
            return terms
        means = torch.stack(list(terms.values())) / torch.distributed.get_world_size()
        torch.distributed.all_reduce(means)
        return dict(zip(terms, means.unbind(), strict=True))

    def _crf_now(self) -> CRF | None:
        final = self.global_step >= self.trainer.max_steps and not self.trainer.sanity_checking
        return self.test_crf if self.crf_when == "always" or (self.crf_when == "final" and final) else None

    def _show(self, sample: Mapping[str, Any], plain: np.ndarray, refined: np.ndarray | None) -> None:
        item = GalleryItem(sample["name"], sample["photo"], sample["cues"], plain, refined, sample["mask"])
        self.gallery.append(item)

    def _computed(self, score: SegmentationScore) -> dict[str, Any] | None:
        """Return the scores over all processes; None if no image had a mask."""
        score.confusion = self._summed(score.confusion)
        return score.compute() if score.confusion.any() else None

    def _summed(self, counts: np.ndarray) -> np.ndarray:
        """Return the sum of ``counts`` over all processes."""
        summed = self.trainer.strategy.reduce(torch.from_numpy(counts).to(self.device), reduce_op="sum")
        return np.asarray(summed.cpu())

    def configure_optimizers(self) -> Any:
        optimizer, schedule = build_optimizer(
            self.network, self.network.head.classifier, self.optim, self.trainer.max_steps
        )
        self.print(describe_groups(optimizer.param_groups))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.loss_monitor.raise_if_not_finite()
        checkpoint["secseg"] = self.record
        checkpoint["losses"] = {term: float(value) for term, value in self.losses.items()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        kept = checkpoint.get("losses")
        terms = kept.items() if isinstance(kept, dict) else ()
        self.losses = {term: value for term, value in terms if isinstance(term, str) and isinstance(value, float)}


class _Timed:
    """A CRF with a clock that measures its time."""

    def __init__(self, crf: CRF, clock: StepClock) -> None:
        self.crf, self.clock = crf, clock

    def __call__(self, logits: Tensor, images: Tensor) -> Tensor:
        self.clock.start(logits.device)
        probs = self.crf(logits, images)
        self.clock.stop(logits.device)
        return probs
