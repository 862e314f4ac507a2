"""What a training step is watched for, a loss that is not finite and time, without waiting for an accelerator.

A GPU works through a queue. To read a value from it is to wait until the queue is empty, and to leave it idle while the
next step is prepared: so values are copied in the queue and read a step later.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from secseg.utils.errors import UserError, listing


def works_in_a_queue(device: torch.device) -> bool:
    """Whether reading a value waits for work that was only queued."""
    return device.type == "cuda"


@dataclass(frozen=True)
class _Seen:
    """What is known of one step's loss, or will be when ``copied`` has happened: its values end with the loss of all
    processes."""

    step: int
    images: Sequence[str]
    terms: tuple[str, ...]
    values: Tensor
    copied: Any


class LossWatch:
    """Refuses a loss that is not finite before anything of it is kept.

    On a CPU it is refused at once, before the weights change. On a GPU it is refused by the next step, or before that
    by whoever is about to keep or to show the weights and calls ``refuse``; and again by everyone after, since the
    weights may be spoilt.

    Args:
        what: whose loss, for the message.
        advice: what may help.
    """

    def __init__(self, what: str, advice: str) -> None:
        self.what, self.advice = what, advice
        self._seen: _Seen | None = None

    def watch(
        self, terms: Mapping[str, Tensor], images: Sequence[str], step: int, everywhere: Tensor | None = None
    ) -> None:
        """Look at the loss of one step.

        Args:
            terms: scalars; ``loss`` is the one that is looked at, the others are named where they are not finite.
            images: names of the batch's images.
            step: its number.
            everywhere: the mean loss of all processes, so that each refuses it in the same step; None: one process.

        Raises:
            UserError: where the loss is not finite: this step's on a CPU, the last one's on a GPU.
        """
        self.refuse()
        device = terms["loss"].device
        later = works_in_a_queue(device)
        seen = [*terms.values(), terms["loss"] if everywhere is None else everywhere]
        values = torch.stack([value.detach() for value in seen]).to("cpu", non_blocking=later)
        copied = None
        if device.type == "cuda":
            copied = torch.cuda.Event()
            copied.record()
        self._seen = _Seen(step, images, tuple(terms), values, copied)
        if not later:
            try:
                self.refuse()
            finally:
                self._seen = None  # the weights are as they were before this step

    def refuse(self) -> None:
        """Refuse the last loss that was looked at, unless it is finite in all processes.

        Raises:
            UserError: naming step, terms and images; or that it is another process that says more.
        """
        seen = self._seen
        if seen is None:
            return
        if seen.copied is not None:
            seen.copied.synchronize()
        *own, everywhere = seen.values.isfinite().tolist()
        finite = dict(zip(seen.terms, own, strict=True))
        if finite["loss"] and everywhere:
            self._seen = None
            return
        if finite["loss"]:
            raise UserError(f"{self.what} is not finite at step {seen.step} in another process, which says more.")
        broken = [term for term, good in finite.items() if term != "loss" and not good]
        blamed = f" (term: {', '.join(broken) or 'their sum'})" if len(finite) > 1 else ""
        raise UserError(
            f"{self.what} is not finite at step {seen.step}{blamed}. The batch's images:\n"
            f"{listing(seen.images, 30)}\n{self.advice}"
        )


class StepClock:
    """Adds up how long one part of each step takes, on the device that does it: ``start``, ``stop``, ``seconds``."""

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
        """All of it so far; on a GPU this waits for the last part."""
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
