"""Loader processes live until a training has finished its step, also where they inherit no handlers of signals."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.utils.data import Dataset

from secseg.data.samples import loader
from secseg.utils.signals import STOP_SIGNALS, StopSignals


class Ignored(Dataset[dict[str, Any]]):
    """Whether the process that reads a sample ignores each signal that stops a run."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, number: int) -> dict[str, Any]:
        return {"ignored": torch.tensor([signal.getsignal(signum) == signal.SIG_IGN for signum in STOP_SIGNALS])}


@pytest.fixture(autouse=True)
def _default_handlers() -> Iterator[None]:
    """Let each test start like a new process: a training that ran in this one may have left its handlers."""
    before = {signum: signal.getsignal(signum) for signum in STOP_SIGNALS}
    for signum in STOP_SIGNALS:
        signal.signal(signum, signal.default_int_handler if signum == signal.SIGINT else signal.SIG_DFL)
    yield
    for signum, handler in before.items():
        signal.signal(signum, handler)


@pytest.fixture
def _training() -> Iterator[None]:
    signals = StopSignals()
    signals.install()
    yield
    signals.restore()


def ignored_by_a_spawned_process(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    monkeypatch.setattr(multiprocessing, "get_start_method", lambda: "spawn")
    (batch,) = loader(Ignored(), workers=1)
    return batch["ignored"][0].tolist()


@pytest.mark.usefixtures("_training")
def test_a_spawned_loader_process_of_a_training_ignores_its_signals(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert all(ignored_by_a_spawned_process(monkeypatch))


def test_any_other_spawned_loader_process_ends_with_its_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not any(ignored_by_a_spawned_process(monkeypatch))


def test_signals_that_the_system_does_not_have_are_left_out() -> None:
    assert {signal.SIGINT, signal.SIGTERM} <= set(STOP_SIGNALS)
