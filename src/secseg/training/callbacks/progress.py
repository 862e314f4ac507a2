"""One bar over all steps, with the terms of the loss; plain lines where the output is no terminal."""

from __future__ import annotations

import sys
import time
from datetime import timedelta
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import ProgressBar
from pytorch_lightning.trainer.states import TrainerFn
from tqdm import tqdm

BAR = "{desc} {percentage:3.0f}%|{bar:20}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"
TERMS = ("loss", "seed", "expand", "constrain", "supervised")


class SpeedMonitor(Callback):
    """Logs ``train/images_per_second`` with the other training values, over the steps since it was logged
    last.

    Time spent in validation does not count.
    """

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
    """A bar over ``max_steps`` with loss, its terms, learning rate, images a second and the CRF's share.

    Args:
        every_seconds: where the output is no terminal, a line is printed about so often instead of a moving
        bar.
    """

    def __init__(self, every_seconds: float = 10.0) -> None:
        super().__init__()
        self.every_seconds = every_seconds
        self.is_enabled = True  # LightningModule.print asks
        self._bar: tqdm | None = None
        self._validation_bar: tqdm | None = None
        self._started = self._shown = self._rate = 0.0
        self._first_step = 0

    def enable(self) -> None:
        self.is_enabled = True

    def disable(self) -> None:
        self.is_enabled = False

    def print(self, *args: Any, **_: Any) -> None:
        """Print without tearing the bar apart."""
        if self.is_enabled:
            tqdm.write(" ".join(str(a) for a in args), file=sys.stdout)
            sys.stdout.flush()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._started = self._shown = time.monotonic()
        self._first_step = trainer.global_step
        if self.is_enabled and sys.stdout.isatty():
            self._bar = tqdm(
                desc="train",
                total=_total(trainer),
                initial=trainer.global_step,
                bar_format=BAR,
                smoothing=0,  # over the whole run, validations included: the honest ETA
                dynamic_ncols=True,
                file=sys.stdout,
            )

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        self._rate = trainer.optimizers[0].param_groups[0]["lr"]  # at the end of the step it is the next one's

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        now, step = time.monotonic(), trainer.global_step
        # Reading a value waits for the accelerator, so it is not done at each step.
        last = step == _total(trainer)
        if self._bar is not None:
            if now - self._shown > 0.5 or last:
                self._bar.set_postfix_str(_values(trainer, self._rate), refresh=False)
                self._bar.n = step
                self._bar.refresh()
                self._shown = now
        elif self.is_enabled and (now - self._shown >= self.every_seconds or step == self._first_step + 1 or last):
            self._shown = now
            done = step - self._first_step
            left = (now - self._started) / max(done, 1) * (_total(trainer) - step)
            share = f"{100 * step / _total(trainer):.0f} %"
            eta = timedelta(seconds=round(left))
            self.print(f"step {step}/{_total(trainer)} ({share})  {_values(trainer, self._rate)}  ETA {eta}")

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.is_enabled and sys.stdout.isatty() and not trainer.sanity_checking:
            total = sum(trainer.num_val_batches)
            self._validation_bar = tqdm(
                desc="validation",
                total=total,
                leave=False,
                bar_format=BAR,
                file=sys.stdout,
                dynamic_ncols=True,
            )

    def on_validation_batch_end(self, *_: Any, **__: Any) -> None:
        if self._validation_bar is not None:
            self._validation_bar.update()

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


def _total(trainer: Trainer) -> int:
    return int(trainer.estimated_stepping_batches)


def _values(trainer: Trainer, rate: float) -> str:
    """``loss 2.41  seed 1.20  ...  lr 1.0e-03  mAP 81.3  23.1 images/s  CRF 31 %``; without what is not there."""
    metrics = trainer.callback_metrics
    parts = [f"{term} {float(metrics[f'train/{term}']):.3f}" for term in TERMS if f"train/{term}" in metrics]
    parts.append(f"lr {rate:.1e}")
    if "val/map" in metrics:
        parts.append(f"mAP {100 * float(metrics['val/map']):.1f}")
    if "train/images_per_second" in metrics:
        parts.append(f"{float(metrics['train/images_per_second']):.1f} images/s")
    if "train/crf_share" in metrics:
        parts.append(f"CRF {100 * float(metrics['train/crf_share']):.0f} %")
    return "  ".join(parts)
