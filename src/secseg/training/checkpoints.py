"""Checkpoints: complete files of plain values, each after a whole number of steps."""

from __future__ import annotations

import logging
import os
import random
import signal
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.trainer.states import TrainerFn

from secseg.utils.errors import Pruned
from secseg.utils.files import atomic_write
from secseg.utils.signals import Stopped, StopSignals
from secseg.utils.torch_file import find_damage, read_saved

log = logging.getLogger(__name__)

STOP_CHECK_INTERVAL = 10  # steps of a distributed run, whose processes synchronise to agree on stopping


class CheckpointFiles(TorchCheckpointIO):
    """Writes checkpoints atomically, and reads them without running code from them.

    Lightning's own class writes to the system's temporary folder, so that moving the file to another disk is not
    atomic. Use: ``Trainer(plugins=[CheckpointFiles()])``.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        with atomic_write(path) as temporary, temporary.open("wb") as file:
            try:
                torch.save(checkpoint, file)
            except RuntimeError as error:  # torch raises it for a full disk
                if isinstance(error.__context__, OSError):
                    raise error.__context__ from None
                raise

    def load_checkpoint(
        self, path: str | Path, map_location: Any = "cpu", weights_only: bool | None = True
    ) -> dict[str, Any]:
        return read_saved(Path(path), map_location)


class RandomStates(Callback):
    """Keeps the random states of Python, NumPy and torch in the checkpoint, so that a resumed run equals an
    uninterrupted one.

    The states are those at the end of the last whole step, also in a checkpoint of an interrupted step. They are
    restored when training starts, since Lightning's loaders have drawn random numbers before, and after each
    validation, whose loader draws some at its first use only.

    A distributed run keeps the states of its first process. The other processes seed each step with seed, step and
    rank; otherwise dropout would drop the same elements in all processes.
    """

    def __init__(self) -> None:
        self._states: dict[str, Any] = {}
        self._restore = False

    def state_dict(self) -> dict[str, Any]:
        return self._states

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._states, self._restore = state_dict, True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._restore:
            _set_random_states(self._states)
            self._restore = False
        self._states = _random_states()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if trainer.global_rank:
            part = batch_idx % trainer.accumulate_grad_batches
            entropy = (int(os.environ["PL_GLOBAL_SEED"]), trainer.global_step, part, trainer.global_rank)
            torch.manual_seed(int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0]))

    def on_train_batch_end(self, *_: Any, **__: Any) -> None:
        self._states = _random_states()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking:
            _set_random_states(self._states)


def _random_states() -> dict[str, Any]:
    version, numbers, gauss = random.getstate()
    name, keys, *rest = np.random.get_state()  # noqa: NPY002 (other packages use the global generator)
    return {
        "python": [version, list(numbers), gauss],
        "numpy": [name, torch.from_numpy(np.asarray(keys, np.int64)), *rest],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def _set_random_states(states: dict[str, Any]) -> None:
    version, numbers, gauss = states["python"]
    random.setstate((version, tuple(numbers), gauss))
    name, keys, *rest = states["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(states["torch"])
    if len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states["cuda"])


class Checkpoints(Checkpoint):
    """Writes ``best.ckpt``, ``last.ckpt`` and, after a crash, ``exception.ckpt`` into ``folder``.

    - After each validation: ``last.ckpt``, and ``best.ckpt`` if ``monitor`` increased. Without a validation image that
      has a mask, there is no ``best.ckpt``.
    - After Ctrl-C, SIGTERM, SIGUSR1 or SIGUSR2: the step is finished, ``last.ckpt`` is written, and the run ends with
      ``Stopped``. A second Ctrl-C interrupts the step.
    - After ``Pruned``: none, since the validation has written ``last.ckpt``.
    - After any other exception: ``exception.ckpt``, if all weights are finite. ``last.ckpt`` is kept, since the cause
      of the exception may have damaged the state.

    Args:
        folder: of the checkpoints.
        monitor: the logged value that is highest at the best checkpoint.
        resume: how the user continues an interrupted training, for a message.
    """

    def __init__(
        self, folder: Path, monitor: str = "val/miou", resume: str = "The same command with resume=auto continues."
    ) -> None:
        self.folder, self.monitor, self.resume = folder, monitor, resume
        self.best_score = float("-inf")
        self._validated_at = -1  # global step of the last whole validation
        self._signals = StopSignals()

    @property
    def best_model_path(self) -> str:
        """The path for Lightning's ``ckpt_path="best"``; empty if the file does not exist."""
        path = self.folder / "best.ckpt"
        return str(path) if path.is_file() else ""

    def state_dict(self) -> dict[str, Any]:
        return {"best_score": self.best_score, "validated_at": self._validated_at}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._validated_at = state_dict["validated_at"]
        best = self.folder / "best.ckpt"
        if not best.is_file():
            return  # the run continues in another folder, or had no score
        if (problem := find_damage(best)) is None:
            self.best_score = state_dict["best_score"]
        else:
            log.warning("%s is damaged (%s). The best checkpoint from now on replaces it.", best, problem)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking:
            return
        self._validated_at = trainer.global_step
        # Only one process has the score, and all of them take part in writing a checkpoint.
        value = trainer.strategy.broadcast(trainer.callback_metrics.get(self.monitor))
        if value is not None and float(value) > self.best_score:
            self.best_score = float(value)
            self._save(trainer, "best.ckpt")
        self._save(trainer, "last.ckpt")

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        try:
            if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking or trainer.global_step == 0:
                return
            if isinstance(exception, Pruned):  # last.ckpt is that of the validation before
                return
            if isinstance(exception, KeyboardInterrupt | Stopped):
                self._save(trainer, "last.ckpt")
                log.warning("Stopped after step %d. %s", trainer.global_step, self.resume)
            # If one of several processes fails, the others do not reach the barrier in save_checkpoint.
            elif trainer.world_size == 1 and all(bool(x.isfinite().all()) for x in pl_module.state_dict().values()):
                self._save(trainer, "exception.ckpt")
        except Exception as error:  # for example a full disk; the user sees the first exception
            log.warning("No checkpoint could be written after the exception: %s", error)
        finally:
            self._signals.restore()

    def _save(self, trainer: Trainer, name: str) -> None:
        trainer.save_checkpoint(self.folder / name, weights_only=False)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        _correct_progress(checkpoint["loops"]["fit_loop"], trainer, validated=self._validated_at == trainer.global_step)

    # Without handlers, a signal could interrupt an optimiser step, when only some weights are updated.
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit":  # before the workers of the data loaders are forked, which inherit the handlers
            self._signals = StopSignals()
            self._signals.install()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Lightning has replaced the handler of SIGTERM: one process would end, and the others would wait for it.
        self._signals.install()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if trainer.world_size == 1 or trainer.global_step % STOP_CHECK_INTERVAL == 0:
            self._stop_on_signal(trainer, log_step=True)
        # After the last step, if no validation follows it.
        if trainer.global_step == trainer.max_steps and not _validation_is_due(trainer):
            self._save(trainer, "last.ckpt")

    def on_validation_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        # In a distributed run, processes may have different numbers of batches.
        if trainer.state.fn == TrainerFn.FITTING and trainer.world_size == 1:
            self._stop_on_signal(trainer)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._signals.restore()

    def _stop_on_signal(self, trainer: Trainer, log_step: bool = False) -> None:
        received = self._signals.received
        # All processes of a distributed run stop after the same step.
        if not trainer.strategy.reduce_boolean_decision(received is not None, all=False):
            return
        if log_step:  # Lightning would log the step after this hook, which the exception ends
            trainer._logger_connector.on_batch_end()
            trainer._logger_connector.update_train_step_metrics()
        raise Stopped(received or signal.SIGTERM)


def _validation_is_due(trainer: Trainer) -> bool:
    """Return whether a validation follows the last finished step."""
    every = trainer.val_check_batch
    return trainer.enable_validation and isinstance(every, int) and _batches_done(trainer) % every == 0


def _batches_done(trainer: Trainer) -> int:
    progress = trainer.fit_loop.epoch_loop.batch_progress.state_dict()
    return int(progress["total"]["processed"])


def _correct_progress(fit_loop: dict[str, Any], trainer: Trainer, validated: bool) -> None:
    """Set the progress counters in a checkpoint to the end of a whole step, before or after its validation.

    Lightning counts an interrupted step as started, also after a resume, so that each later validation would be one
    step early. It would resume an interrupted validation in its middle, without the scores of the first images. If
    the counters agree and a validation is due at that step, Lightning assumes a checkpoint at the end of the
    validation, and adds the 1 to ``_batches_that_stepped`` that is missing there. There is only one epoch: the
    training loader makes one pass for the whole run (``secseg.data.sampler``).
    """
    batches = fit_loop["epoch_loop.batch_progress"]
    for counters in (batches["total"], batches["current"]):
        done = counters["processed"]
        counters.update(ready=done, started=done, completed=done)
    due = _validation_is_due(trainer)
    fit_loop["epoch_loop.state_dict"]["_batches_that_stepped"] = trainer.global_step - int(due)
    validation = fit_loop["epoch_loop.val_loop.batch_progress"]
    started = int(due and not validated)  # one batch started, none finished: the whole validation is repeated
    for counters in (validation["total"], validation["current"]):
        counters.update(ready=started, started=started, processed=0, completed=0)
