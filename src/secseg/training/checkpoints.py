"""Checkpoints that appear whole, hold plain values only, and always describe a whole number of steps."""

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
from torch import Tensor

from secseg.training.signals import Stopped, StopSignals
from secseg.utils.files import atomic_write
from secseg.utils.torch_file import find_damage, read_saved

log = logging.getLogger(__name__)

STEPS_BETWEEN_QUESTIONS = 10  # of a distributed run, whose processes wait for each other to agree on stopping


class CheckpointFiles(TorchCheckpointIO):
    """Checkpoint files that appear whole or not at all, and are read without running code from them.

    Lightning's own writes to the system's temporary folder and moves the file from there, which is a copy
    where that is another disk. Pass it to the trainer: ``Trainer(plugins=[CheckpointFiles()])``.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        with atomic_write(path) as temporary, temporary.open("wb") as file:
            try:
                torch.save(checkpoint, file)
            except RuntimeError as error:  # what torch makes of a full disk
                if isinstance(error.__context__, OSError):
                    raise error.__context__ from None
                raise

    def load_checkpoint(
        self, path: str | Path, map_location: Any = "cpu", weights_only: bool | None = True
    ) -> dict[str, Any]:
        return read_saved(Path(path), map_location)


class RandomStates(Callback):
    """Carries the random states of Python, NumPy and torch through a checkpoint, so that a resumed run is
    the same run.

    The states are those at the end of the last whole step, also in a checkpoint that is written when a step
    is broken off. They are set again when training starts, after Lightning has made its loaders, which draw
    random numbers, and after each validation, whose loader draws some at its first use only.

    They are those of the first of several processes. The others begin each step with states of their own, made from
    seed, step and process: else all would drop the same elements of their different images.
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
    name, keys, *rest = np.random.get_state()  # noqa: NPY002 (third-party code draws from the global one)
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

    After each validation: ``best.ckpt`` where ``monitor`` rose (never, where no validation image has a mask to score),
    and ``last.ckpt``. Ctrl-C, SIGTERM, SIGUSR1, SIGUSR2: the step is finished, ``last.ckpt`` is written, and the run
    ends with ``Stopped`` (a second Ctrl-C breaks the step off). Any other exception: ``exception.ckpt``, unless a
    weight is not finite; ``last.ckpt`` stays as it was, since what led to the crash may have spoilt the state already.
    """

    def __init__(self, folder: Path, monitor: str = "val/miou") -> None:
        self.folder = folder
        self.monitor = monitor
        self.best_score = float("-inf")
        self._validated_at = -1  # global step of the last whole validation
        self._signals = StopSignals()

    @property
    def best_model_path(self) -> str:
        """The path behind Lightning's ``ckpt_path="best"``; empty before there is one."""
        path = self.folder / "best.ckpt"
        return str(path) if path.is_file() else ""

    def state_dict(self) -> dict[str, Any]:
        return {"best_score": self.best_score, "validated_at": self._validated_at}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._validated_at = state_dict["validated_at"]
        best = self.folder / "best.ckpt"
        if not best.is_file():
            return  # the run goes on in another folder, or never scored
        if (problem := find_damage(best)) is None:
            self.best_score = state_dict["best_score"]
        else:
            log.warning("%s is damaged (%s): the best from now on takes its place.", best, problem)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking:
            return
        self._validated_at = trainer.global_step
        # One process knows the score, and all of them have to take part in writing a checkpoint.
        value = trainer.strategy.broadcast(trainer.callback_metrics.get(self.monitor))
        if value is not None and float(value) > self.best_score:
            self.best_score = float(value)
            self._save(trainer, "best.ckpt")
        self._save(trainer, "last.ckpt")

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        try:
            if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking or trainer.global_step == 0:
                return
            if isinstance(exception, KeyboardInterrupt | Stopped):
                self._save(trainer, "last.ckpt")
                log.warning("Stopped after step %d. Continue with resume=auto.", trainer.global_step)
            # Where one process of several fails, the others never come to the barrier inside save_checkpoint.
            elif trainer.world_size == 1 and _all_finite(pl_module):
                self._save(trainer, "exception.ckpt")
        except Exception as error:  # a full disk, a lost device; the first exception is the one to show
            log.warning("No checkpoint could be written after the exception: %s", error)
        finally:
            self._signals.give_back()

    def _save(self, trainer: Trainer, name: str) -> None:
        trainer.save_checkpoint(self.folder / name, weights_only=False)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        _settle(checkpoint["loops"]["fit_loop"], trainer, validated=self._validated_at == trainer.global_step)

    # A signal can come in the middle of an optimiser step, when some weights are new and others are not.
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit":  # before the loaders' workers are forked, which share them
            self._signals = StopSignals()
            self._signals.take()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._signals.take()  # Lightning has taken SIGTERM, and where one process gets it, the others wait for ever

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if trainer.world_size == 1 or trainer.global_step % STEPS_BETWEEN_QUESTIONS == 0:
            self._stop_if_asked(trainer, log_step=True)
        # The last steps, where the run does not end with a validation.
        if trainer.global_step == trainer.max_steps and not _due(trainer):
            self._save(trainer, "last.ckpt")

    def on_validation_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if trainer.state.fn == TrainerFn.FITTING and trainer.world_size == 1:  # processes may have unlike numbers
            self._stop_if_asked(trainer)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._signals.give_back()

    def _stop_if_asked(self, trainer: Trainer, log_step: bool = False) -> None:
        asked = self._signals.asked
        # Every process of a distributed run has to stop after the same step.
        if not trainer.strategy.reduce_boolean_decision(asked is not None, all=False):
            return
        if log_step:  # Lightning does so after the hook that this interrupts
            trainer._logger_connector.on_batch_end()
            trainer._logger_connector.update_train_step_metrics()
        raise Stopped(asked or signal.SIGTERM)


def _all_finite(module: torch.nn.Module) -> bool:
    tensors: list[Tensor] = [*module.parameters(), *module.buffers()]
    return all(bool(t.isfinite().all()) for t in tensors if t.is_floating_point())


def _due(trainer: Trainer) -> bool:
    """Whether a validation follows the step that was finished last."""
    every = trainer.val_check_batch
    return trainer.enable_validation and isinstance(every, int) and _batches_done(trainer) % every == 0


def _batches_done(trainer: Trainer) -> int:
    progress = trainer.fit_loop.epoch_loop.batch_progress.state_dict()
    return int(progress["total"]["processed"])


def _settle(fit_loop: dict[str, Any], trainer: Trainer, validated: bool) -> None:
    """Make the progress counters in a checkpoint say: after a whole step, before or after its validation.

    A step that was broken off stays in Lightning's totals as begun, also after a resume, and each later
    validation would come a step too early; a validation that was broken off would go on with its second
    half, without the scores of the first. Lightning takes a loop whose counters agree for one saved at the
    end of a validation, if one is due at that step, and adds the one to ``_batches_that_stepped`` that is
    still missing there. Epochs do not count: the training loader makes one pass for the whole run
    (:class:`secseg.data.sampler.ShuffledStream`).
    """
    batches = fit_loop["epoch_loop.batch_progress"]
    for counters in (batches["total"], batches["current"]):
        done = counters["processed"]
        counters.update(ready=done, started=done, completed=done)
    due = _due(trainer)
    fit_loop["epoch_loop.state_dict"]["_batches_that_stepped"] = trainer.global_step - int(due)
    validation = fit_loop["epoch_loop.val_loop.batch_progress"]
    begun = int(due and not validated)  # one batch begun, none finished: the whole validation is made anew
    for counters in (validation["total"], validation["current"]):
        counters.update(ready=begun, started=begun, processed=0, completed=0)
