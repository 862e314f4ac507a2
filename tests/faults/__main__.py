"""Run the fault injection: ``python -m tests.faults kills=200 damages=1000 disks=50``, or ``make faults``."""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # a forked process does not have the threads of its parent

import contextlib
import multiprocessing
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

from tests.faults.campaign import FAULTS, LOST, VERDICTS, WRONG, Campaign, Try
from tests.faults.jobs import JOBS

Results: TypeAlias = "multiprocessing.Queue[Try | None]"

SETTINGS: dict[str, Any] = {
    **{"kills": 60, "damages": 200, "disks": 20, "seed": 0, "minutes": 30, "workers": os.cpu_count() or 1},
    "command": "all",
}
USAGE = "python -m tests.faults " + " ".join(f"{key}={value}" for key, value in SETTINGS.items())


def main(words: Sequence[str]) -> int:
    """Run the tries in parallel, print the failed ones and a table of all, and return the exit code."""
    try:
        given = {key: type(SETTINGS[key])(value) for key, _, value in (word.partition("=") for word in words)}
        wanted = SETTINGS | given
        jobs = [job.name for job in JOBS if wanted["command"] in ("all", job.name)]
        if not jobs:
            raise ValueError
    except (KeyError, ValueError):
        names = ", ".join(job.name for job in JOBS)
        print(f"Usage, with the defaults: {USAGE}\nCommands: all, {names}.", file=sys.stderr)
        return 2
    tries = [
        (fault, jobs[number % len(jobs)])
        for fault, key in zip(FAULTS, ("kills", "damages", "disks"), strict=True)
        for number in range(wanted[key])
    ]
    random.Random(wanted["seed"]).shuffle(tries)
    until = time.monotonic() + 60 * wanted["minutes"]
    results: multiprocessing.Queue[Try | None] = multiprocessing.Queue()
    workers = [
        multiprocessing.Process(
            target=_work, args=(tries[at :: wanted["workers"]], wanted["seed"] + at, until, results)
        )
        for at in range(wanted["workers"])
    ]
    for worker in workers:
        worker.start()
    done: list[Try] = []
    running = len(workers)
    while running:
        one = results.get()
        if one is None:
            running -= 1
            continue
        done.append(one)
        if one.verdict in (LOST, WRONG):
            print(f"\n{one.verdict.upper()}: {one.job}, {one.what}", flush=True)
        if len(done) % 50 == 0:
            print(f"{len(done)} of {len(tries)} tries", flush=True)
    print(table(done))
    if len(done) < len(tries):
        print(f"Time is up: {len(tries) - len(done)} tries were not made (minutes={wanted['minutes']}).")
    return int(any(one.verdict in (LOST, WRONG) for one in done) or not done)


def table(done: Sequence[Try]) -> str:
    """Return the verdicts by fault and command as a Markdown table."""
    counts = Counter((one.fault, one.job, one.verdict) for one in done)
    lines = [f"| fault | command | tried | {' | '.join(VERDICTS)} |", "| --- " * (3 + len(VERDICTS)) + "|"]
    for fault in FAULTS:
        for job in JOBS:
            row = [counts[fault, job.name, verdict] for verdict in VERDICTS]
            if sum(row):
                lines.append(f"| {fault} | {job.name} | {sum(row)} | {' | '.join(map(str, row))} |")
    total = [sum(one.verdict == verdict for one in done) for verdict in VERDICTS]
    return "\n".join([*lines, f"| **all** | | {sum(total)} | {' | '.join(map(str, total))} |"])


def _work(
    tries: Sequence[tuple[str, str]], seed: int, until: float, results: multiprocessing.Queue[Try | None]
) -> None:
    jobs = {job.name: job for job in JOBS}
    with tempfile.TemporaryDirectory(prefix="secseg-faults-") as folder:
        try:
            with open(os.devnull, "w") as null, contextlib.redirect_stdout(null):
                campaign = Campaign.prepare(Path(folder) / "run", random.Random(seed))
            for fault, name in tries:
                if time.monotonic() > until:
                    break
                results.put(FAULTS[fault](campaign, jobs[name]))
        finally:
            results.put(None)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
