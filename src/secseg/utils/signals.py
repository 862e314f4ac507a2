"""Signals that stop a run after its current step: Ctrl-C, SIGTERM, and those of a cluster before a time limit."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from types import FrameType
from typing import Any

log = logging.getLogger(__name__)

#: Windows does not have the last two.
STOP_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2") if hasattr(signal, name)
)


def handled_signals() -> list[signal.Signals]:
    """Return the stop signals for which this process has a handler of its own."""
    without = (None, signal.SIG_DFL, signal.default_int_handler)
    return [signum for signum in STOP_SIGNALS if signal.getsignal(signum) not in without]


def ignore_signals(signals: Sequence[int], *_: object) -> None:
    """Ignore what the main process handles, in a loader process: a terminal sends Ctrl-C to all of them.

    A forked process inherits the handlers of ``StopSignals``, which ignore signals there. A spawned one has none.
    """
    for signum in signals:
        signal.signal(signum, signal.SIG_IGN)


class Stopped(SystemExit):
    """Raised to end a run that received a stop signal, after its step is finished.

    Args:
        signum: the signal.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(128 + signum)  # the exit code of a shell for a process that the signal ended
        self.signum = signum

    def raise_again(self) -> None:
        """Raise the signal again, for the handler that was installed before the run: that of a launcher, which queues
        its job again, or the default handler, which ends the process.
        """
        sys.stdout.flush()
        sys.stderr.flush()
        signal.raise_signal(self.signum)


class StopSignals:
    """Handlers that record a stop signal, so that the current step can be finished first.

    Attributes:
        received: the signal; None as long as there is none.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._process = os.getpid()
        self._installed = False
        self._before: dict[int, Any] = {}

    def install(self) -> None:
        """Install the handlers, except for signals that are ignored, as under nohup."""
        if threading.current_thread() is not threading.main_thread():
            return
        self._process, self._installed = os.getpid(), True
        for signum in STOP_SIGNALS:
            if (before := signal.getsignal(signum)) not in (signal.SIG_IGN, self._record):
                signal.signal(signum, self._record)
                self._before.setdefault(signum, before)

    def restore(self) -> None:
        """Restore the handlers from before the first ``install``. May be called at any time."""
        if self._installed:
            self._installed = False
            for signum, before in self._before.items():
                signal.signal(signum, before)

    def _record(self, signum: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            return  # workers of the data loaders have to continue to the end of the step
        if not self._installed:  # Lightning restores this handler when it ends
            signal.signal(signum, self._before[signum])
            signal.raise_signal(signum)
            return
        if signum == signal.SIGINT and self.received == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = signum
        again = "; press it again to stop at once" if signum == signal.SIGINT else ""
        name = "Ctrl-C" if signum == signal.SIGINT else signal.Signals(signum).name
        log.warning("%s: the run stops after this step%s.", name, again)
