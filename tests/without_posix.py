"""Run commands in one process, without what Windows does not have: python -m tests.without_posix train <words> ; ...

Modules, signals and functions of POSIX are hidden, and loader processes are spawned, as they are on Windows and macOS.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from typing import Any

from tests import one_process

MODULES = ("fcntl", "grp", "pwd", "resource", "termios")
FUNCTIONS = ("fork", "getloadavg", "geteuid", "nice", "register_at_fork", "sched_getaffinity", "uname")
POSIX_SIGNALS = ("SIGHUP", "SIGKILL", "SIGQUIT", "SIGSTOP", "SIGUSR1", "SIGUSR2")


class Missing:
    """Finds no module of ``MODULES``."""

    def find_spec(self, name: str, *_: Any) -> None:
        if name in MODULES:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def hide() -> None:
    """Hide what Windows does not have."""
    sys.meta_path.insert(0, Missing())  # type: ignore[arg-type]
    for name in MODULES:
        sys.modules.pop(name, None)
    for name in FUNCTIONS:
        delattr(os, name)
    for name in POSIX_SIGNALS:
        delattr(signal, name)
    signal.valid_signals = lambda: {signal.SIGABRT, signal.SIGFPE, signal.SIGILL, signal.SIGINT, signal.SIGTERM}  # type: ignore[attr-defined]


def main(words: list[str]) -> None:
    """Run the commands, which are separated by ``;``, with loader processes that are spawned."""
    multiprocessing.set_start_method("spawn")
    if "--help" not in words:
        import pytorch_lightning.trainer.connectors.signal_connector as connector

        connector._IS_WINDOWS = True  # Lightning asks for the name of the system, not for the signals
    hide()
    one_process.main(words)


if __name__ == "__main__":
    main(sys.argv[1:])
