"""Monitors of training steps that do not synchronise with a GPU: for losses that are not finite, and for time.

A GPU executes operations from a queue. Reading a value would wait until the queue is empty, and the GPU would be idle
until the next step is queued. So values are copied asynchronously and read one step later.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from secseg.utils.errors import UserError, listing


def is_asynchronous(device: torch.device) -> bool:
    """Return whether the device queues operations, so that reading a value synchronises."""
    return device.type == "cuda"


@dataclass(frozen=True)
class _Losses:
    """The loss and terms of one step. ``values``, valid after the event ``copied``, ends with the mean loss of all
    processes."""

    step: int
    images: Sequence[str]
    terms: tuple[str, ...]
    values: Tensor
    copied: Any


class LossMonitor:
    """Raises an error for a loss that is not finite, before the weights are saved or shown.

    On a CPU, ``check`` raises it before the weights change. On a GPU, the next ``check`` raises it, or an earlier
    ``raise_if_not_finite``. From then on each call raises it, since the weights may not be finite.

    Args:
        what: name of the loss, for the message.
        advice: a possible remedy, for the message.
    """

    def __init__(self, what: str, advice: str) -> None:
        self.what, self.advice = what, advice
        self._last: _Losses | None = None

    def check(
        self, terms: Mapping[str, Tensor], images: Sequence[str], step: int, everywhere: Tensor | None = None
    ) -> None:
        """Check the loss of one step.

        Args:
            terms: scalars. ``loss`` is checked; other terms that are not finite are listed in the message.
            images: names of the batch's images.
            step: number of the step.
            everywhere: the mean loss of all processes, so that all raise in the same step; None for one process.

        Raises:
            UserError: if the loss is not finite: of this step on a CPU, of the step before on a GPU.
        """
        self.raise_if_not_finite()
        device = terms["loss"].device
        later = is_asynchronous(device)
        checked = [*terms.values(), terms["loss"] if everywhere is None else everywhere]
        values = torch.stack([value.detach() for value in checked]).to("cpu", non_blocking=later)
        copied = None
        if device.type == "cuda":
            copied = torch.cuda.Event()
            copied.record()
        self._last = _Losses(step, images, tuple(terms), values, copied)
        if not later:
            try:
                self.raise_if_not_finite()
            finally:
                self._last = None  # the weights are those before this step

    def raise_if_not_finite(self) -> None:
        """Check the last loss again, in all processes.

        Raises:
            UserError: if it is not finite, with step, terms and images; or with a reference to another process.
        """
        last = self._last
        if last is None:
            return
        if last.copied is not None:
            last.copied.synchronize()
        *own, everywhere = last.values.isfinite().tolist()
        finite = dict(zip(last.terms, own, strict=True))
        if finite["loss"] and everywhere:
            self._last = None
            return
        if finite["loss"]:
            raise UserError(f"{self.what} is not finite at step {last.step} in another process. See its message.")
        wrong = [term for term, good in finite.items() if term != "loss" and not good]
        cause = f" (term: {', '.join(wrong) or 'the sum'})" if len(finite) > 1 else ""
        raise UserError(
            f"{self.what} is not finite at step {last.step}{cause}. The batch's images:\n"
            f"{listing(last.images, 30)}\n{self.advice}"
        )


class StepClock:
    """Sums the time of one part of each step, measured on its device, between ``start`` and ``stop``."""

    def __init__(self) -> None:
        self.count = 0
        self._seconds = 0.0
        self._started: Any = None
        self._unread: list[tuple[Any, Any]] = []

    def start(self, device: torch.device) -> None:
        self._started = self._now(device)

    def stop(self, device: torch.device) -> None:
        self._unread.append((self._started, self._now(device)))
        self.count += 1

    @property
    def seconds(self) -> float:
        """The time so far. On a GPU, reading it synchronises with the end of the last part."""
        for start, end in self._unread:
            if isinstance(end, float):
                self._seconds += end - start
            else:
                end.synchronize()
                self._seconds += start.elapsed_time(end) / 1000
        self._unread.clear()
        return self._seconds

    @staticmethod
    def _now(device: torch.device) -> Any:
        if device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event
