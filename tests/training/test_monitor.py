"""A step does not synchronise with a GPU, and a loss that is not finite is found before weights are saved."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from pytorch_lightning.loops.training_epoch_loop import _TrainingEpochLoop
from torch.utils._python_dispatch import TorchDispatchMode

import secseg.training.monitor
from secseg import losses
from secseg.training.module import SECModule
from secseg.training.monitor import LossMonitor, StepClock
from secseg.utils.errors import UserError
from tests.training.tiny_run import Run

READS = {"_local_scalar_dense", "is_nonzero", "nonzero", "masked_select", "equal", "unique_dim", "_unique2"}
NAMES = ["a", "b"]


@pytest.fixture
def asynchronous(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat the CPU as an asynchronous device."""
    monkeypatch.setattr(secseg.training.monitor, "is_asynchronous", lambda device: True)


class NoSynchronisation(TorchDispatchMode):
    """Raises an error for an operation that would synchronise with a GPU.

    Args:
        copies: raise for tensors made of Python numbers, too: copying them to a GPU synchronises.
    """

    def __init__(self, copies: bool = False) -> None:
        super().__init__()
        self.refused = READS | ({"lift_fresh"} if copies else set())

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        picked = args[1] if name in ("index", "index_put", "index_put_") else ()
        if name in self.refused or any(at is not None and at.dtype == torch.bool for at in picked):
            raise AssertionError(f"{name} synchronises")
        return func(*args, **(kwargs or {}))


def guarded(function: Callable[..., Any], calls: list[int], copies: bool) -> Callable[..., Any]:
    """Guard the second to fourth call of ``function``. The first one may create tensors that are kept."""

    def refuse(*_: Any) -> Any:
        raise AssertionError("a copy to the host synchronises")

    def call(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if not 2 <= len(calls) <= 4:
            return function(*args, **kwargs)
        with (
            NoSynchronisation(copies),
            patch.object(torch.Tensor, "cpu", refuse),
            patch.object(torch.Tensor, "numpy", refuse),
        ):
            return function(*args, **kwargs)

    return call


@pytest.mark.usefixtures("asynchronous")
def test_no_step_synchronises(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[int] = []
    monkeypatch.setattr(_TrainingEpochLoop, "advance", guarded(_TrainingEpochLoop.advance, steps, copies=False))
    monkeypatch.setattr(SECModule, "training_step", guarded(SECModule.training_step, [], copies=True))
    # As on a GPU, the scores of all classes are sorted, and the optimizer is fused.
    monkeypatch.setattr(losses.expand, "_pool_chosen", lambda scores, _, decay, pooling: pooling(scores, decay))
    crf = ("crf.train.backend=exact", "crf.train.gradient=exact")  # which a CPU computes as a GPU does
    own = (
        *crf,
        "optim.optimizer.fused=true",
        "+callbacks.bar={_target_: secseg.training.progress.Progress}",
        "data.workers=1",
    )
    run(*own, "trainer.max_steps=5", "trainer.val_check_interval=5", "trainer.log_every_n_steps=5")
    assert len(steps) == 5


@pytest.mark.parametrize("spoil", ["float", "item", "bool", "mask"])
def test_the_guard_detects_a_value_that_is_read(spoil: str) -> None:
    value = torch.ones(2)
    reads: dict[str, Callable[[], Any]] = {
        "float": lambda: float(value[0]),
        "item": lambda: value[0].item(),
        "bool": lambda: bool((value > 0).all()),
        "mask": lambda: value[value > 0],
    }
    with NoSynchronisation(), pytest.raises(AssertionError, match="synchronises"):
        reads[spoil]()


@pytest.mark.usefixtures("asynchronous")
@pytest.mark.parametrize("bad", [2, 3])
def test_a_loss_that_is_checked_a_step_later_keeps_the_last_good_checkpoint(
    run: Run,
    bad: int,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    calls: list[int] = []

    def spoilt(*inputs: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return losses.seed_loss(*inputs) * (float("nan") if len(calls) == bad + 1 else 1)

    monkeypatch.setattr(losses.seed, "seed_loss", spoilt)
    with pytest.raises(UserError, match=rf"step {bad} \(term: seed\)") as error:
        run()
    assert str(error.value).count("\n  ") == 2, "two images a batch"
    folder = tmp_path / "run" / "checkpoints"
    assert {path.name for path in folder.iterdir()} == {"best.ckpt", "last.ckpt"}
    for path in folder.iterdir():
        state = torch.load(path, weights_only=True)
        assert state["global_step"] == 2
        assert all(torch.isfinite(value).all() for value in state["state_dict"].values())


def terms(seed: float, expand: float) -> dict[str, torch.Tensor]:
    return {"seed": torch.tensor(seed), "expand": torch.tensor(expand), "loss": torch.tensor(seed + expand)}


def test_on_a_cpu_the_step_itself_raises_and_the_weights_before_it_can_be_saved() -> None:
    monitor = LossMonitor("The loss", "Advice.")
    monitor.check(terms(1, 2), NAMES, step=0)
    with pytest.raises(UserError, match=r"(?s)loss is not finite at step 1 \(term: expand\).*  a\n  b\nAdvice"):
        monitor.check(terms(1, float("inf")), NAMES, step=1)
    monitor.raise_if_not_finite()


@pytest.mark.usefixtures("asynchronous")
def test_on_a_gpu_each_later_call_raises() -> None:
    monitor = LossMonitor("The loss", "Advice.")
    monitor.check(terms(float("nan"), 2), NAMES, step=4)
    for _ in range(2):
        with pytest.raises(UserError, match=r"step 4 \(term: seed\)"):
            monitor.raise_if_not_finite()
    with pytest.raises(UserError, match="step 4"):
        monitor.check(terms(1, 2), NAMES, step=5)


@pytest.mark.parametrize("own", [1.0, float("nan")])
def test_all_processes_raise_in_the_same_step_for_a_loss_of_any_process_that_is_not_finite(own: float) -> None:
    monitor = LossMonitor("The loss", "Advice.")
    monitor.check(terms(1, 2), NAMES, step=0, everywhere=torch.tensor(3.0))
    with pytest.raises(UserError, match="step 1 in another process" if own == 1 else r"step 1 \(term: seed\)"):
        monitor.check(terms(own, 2), NAMES, step=1, everywhere=torch.tensor(float("nan")))


def test_a_clock_sums_the_time_between_start_and_stop() -> None:
    clock, device = StepClock(), torch.device("cpu")
    for _ in range(2):
        clock.start(device)
        time.sleep(0.02)
        clock.stop(device)
        time.sleep(0.02)
    assert clock.count == 2
    assert 0.04 <= clock.seconds < 0.08
    assert clock.seconds == clock.seconds
