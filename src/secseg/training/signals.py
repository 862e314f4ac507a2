"""Signals that ask a run to stop: Ctrl-C, SIGTERM, and the warning that a cluster sends before a job's time is up."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from types import FrameType
from typing import Any

log = logging.getLogger(__name__)

ASKING = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


class Stopped(SystemExit):
    """Ends a run that was asked to stop, once its checkpoint is written.

    Args:
        signum: what asked.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(128 + signum)  # as a shell tells of a process that the signal ended
        self.signum = signum

    def pass_on(self) -> None:
        """Give the signal to whom it was for before the run took it: a launcher, which queues its job again, or the
        system, which ends the process.
        """
        sys.stdout.flush()
        sys.stderr.flush()
        signal.raise_signal(self.signum)


class StopSignals:
    """Notes a signal of ``ASKING`` instead of obeying it, so that a step can be finished first.

    Attributes:
        asked: the signal that came; None before.
    """

    def __init__(self) -> None:
        self.asked: int | None = None
        self._process = os.getpid()
        self._taken = False
        self._before: dict[int, Any] = {}

    def take(self) -> None:
        """Take the signals from those who have them now."""
        if threading.current_thread() is not threading.main_thread():
            return
        self._process, self._taken = os.getpid(), True
        for signum in ASKING:
            if (before := signal.getsignal(signum)) not in (signal.SIG_IGN, self._note):  # nohup's ignoring is a wish
                signal.signal(signum, self._note)
                self._before.setdefault(signum, before)

    def give_back(self) -> None:
        """Give the signals back to those who had them before the first ``take``; may be called at any time."""
        if self._taken:
            self._taken = False
            for signum, before in self._before.items():
                signal.signal(signum, before)

    def _note(self, signum: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            return  # the loaders' workers are needed to the end of the step
        if not self._taken:  # at its end, Lightning puts back what it found
            signal.signal(signum, self._before[signum])
            signal.raise_signal(signum)
            return
        if signum == signal.SIGINT and self.asked == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked = signum
        again = "; press it again to stop at once" if signum == signal.SIGINT else ""
        name = "Ctrl-C" if signum == signal.SIGINT else signal.Signals(signum).name
        log.warning("%s: stopping after this step%s.", name, again)
