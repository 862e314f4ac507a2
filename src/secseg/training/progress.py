"""Progress of a training: one bar over all steps in a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import time
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import ProgressBar
from pytorch_lightning.trainer.states import TrainerFn

from secseg.utils.progress import Bar, is_terminal

NOT_TERMS = ("train/images_per_second", "train/crf_share")  # all else under train/ is the loss and its terms


class SpeedMonitor(Callback):
    """Logs ``train/images_per_second`` over the steps since the last log. The time of validations does not count."""

    def __init__(self) -> None:
        self._images = 0
        self._seconds = 0.0
        self._since: float | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._images, self._seconds, self._since = 0, 0.0, time.perf_counter()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking:
            self._since = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Any, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        now = time.perf_counter()
        self._seconds += now - (self._since if self._since is not None else now)
        self._since = now
        self._images += len(batch["name"]) * trainer.world_size
        if trainer.global_step % max(trainer.log_every_n_steps, 1) == 0 and self._seconds > 0:
            pl_module.log("train/images_per_second", self._images / self._seconds)
            self._images, self._seconds = 0, 0.0


class Progress(ProgressBar):
    """Shows the step, the loss and its terms, the learning rate, images per second and the CRF's share of the time.

    Args:
        every_seconds: time between two lines where the output is no terminal.
    """

    def __init__(self, every_seconds: float = 10.0) -> None:
        super().__init__()
        self.every_seconds = every_seconds
        self.is_enabled = True  # LightningModule.print reads it
        self._bar: Bar | None = None
        self._validation_bar: Bar | None = None
        self._learning_rate = 0.0
        self._first_step = 0

    def enable(self) -> None:
        self.is_enabled = True

    def disable(self) -> None:
        self.is_enabled = False

    def print(self, *args: Any, **_: Any) -> None:
        """Print in the first process only."""
        if self.is_enabled:
            print(*args, flush=True)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._first_step = trainer.global_step
        if self.is_enabled:
            self._bar = Bar(
                "train", int(trainer.estimated_stepping_batches), "step", self._first_step, self.every_seconds
            )

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        self._learning_rate = trainer.optimizers[0].param_groups[0]["lr"]  # after the step, that of the next step
        if self._bar is not None:
            self._bar.resume()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._bar is not None:
            bar, step, images = self._bar, trainer.global_step, len(batch["name"]) * trainer.world_size
            # Reading a value synchronises, so not every step has a text.
            text = lambda: _values(trainer, self._learning_rate, images * bar.rate())  # noqa: E731
            bar.update(step, text, now=step == self._first_step + 1)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._bar is not None:
            self._bar.pause()  # until the next step, so that the pictures of the validation do not count, either
        if self.is_enabled and is_terminal() and not trainer.sanity_checking:
            self._validation_bar = Bar("validation", int(sum(trainer.num_val_batches)))

    def on_validation_batch_end(self, *_: Any, **__: Any) -> None:
        if self._validation_bar is not None:
            self._validation_bar.update(self._validation_bar.done + 1, str)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._close_validation_bar()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._close_validation_bar()
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _close_validation_bar(self) -> None:
        if self._validation_bar is not None:
            self._validation_bar.close()
            self._validation_bar = None


def _values(trainer: Trainer, learning_rate: float, images_per_second: float) -> str:
    """Return ``loss 2.41  seed 1.20  ...  lr 1.0e-03  mAP 81.3  23.1 images/s  CRF 31 %``, as far as logged."""
    metrics = trainer.callback_metrics
    terms = [key for key in metrics if key.startswith("train/") and key not in NOT_TERMS]
    parts = [f"{key.removeprefix('train/')} {float(metrics[key]):.3f}" for key in terms]
    parts.append(f"lr {learning_rate:.1e}")
    if "val/map" in metrics and not math.isnan(metrics["val/map"]):
        parts.append(f"mAP {100 * float(metrics['val/map']):.1f}")
    if images_per_second:
        parts.append(f"{images_per_second:.1f} images/s")
    if "train/crf_share" in metrics:
        parts.append(f"CRF {100 * float(metrics['train/crf_share']):.0f} %")
    return "  ".join(parts)
