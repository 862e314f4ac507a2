"""Run a command in a fork of this process, which has imported and compiled everything. So a try takes seconds."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.faults.jobs import Job

LONGEST = 120.0  # seconds


@dataclass(frozen=True)
class Ended:
    """The end of a process: exit code (negative: the signal that ended it), seconds, and printed output."""

    code: int
    seconds: float
    output: str

    @property
    def clear(self) -> bool:
        """Whether the process ended with an error message and without a traceback."""
        return self.code == 1 and "Traceback" not in self.output and bool(self.output.strip())


def run(job: Job, world: Path, kill_after: float | None = None) -> Ended:
    """Run ``job`` in the folder ``world``, and kill it after ``kill_after`` seconds, or after ``LONGEST``."""
    log = world.with_suffix(".output")
    begun = time.monotonic()
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        _become(job, world, log)
    limit = begun + (LONGEST if kill_after is None else kill_after)
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        if time.monotonic() >= limit:
            with suppress(ProcessLookupError):  # it does not have its own process group yet
                os.killpg(child, signal.SIGKILL)
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            break
        time.sleep(0.002)
    return Ended(os.waitstatus_to_exitcode(status), time.monotonic() - begun, log.read_text("utf-8", "replace"))


def _become(job: Job, world: Path, log: Path) -> None:
    """Run the command in this forked process, and exit."""
    code = 70
    try:
        os.setpgid(0, 0)
        os.chdir(world)
        os.environ["SECSEG_CACHE"] = str(world / "cache")
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.stdout, sys.stderr = (open(number, "w", closefd=False) for number in (1, 2))  # noqa: SIM115
        sys.argv = [f"{job.name}.py", *job.words]
        job.main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
