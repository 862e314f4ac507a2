"""Two processes on one GPU, compared with one process with twice the batch.

    python -m benchmarks.gpu.processes <words of train.py>     one of the two processes

NCCL refuses two processes on one GPU, so they use gloo. Lightning gives the processes of one machine different GPUs, so
each process counts as a machine with one device. The environment variables are those of ``torchrun``.
"""

from __future__ import annotations

import csv
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from pytorch_lightning.strategies import DDPStrategy, StrategyRegistry

from benchmarks.compare import RESULTS
from benchmarks.gpu.setup import TINY, Setup, without_tf32
from benchmarks.gpu.table import NotMeasured, Row, at_most
from benchmarks.gpu.trainings import train, words
from secseg.training.run import train as run_training
from secseg.utils.config import compose

# Without batch normalisation, whose statistics are those of one process, and without dropout, which differs by process.
SAME = ["backbone.trunk.model=test_convnext", "backbone.head.dropout=0", "backbone.input_size=65"]
DISTRIBUTED = ["trainer.num_nodes=2", "trainer.strategy=ddp_gloo"]
LIMIT = 1e-3
SECONDS = 300
"""Time after which two processes are ended."""


def two_processes(setup: Setup) -> Iterator[Row]:
    """Yield the losses of two processes on one device, relative to one process with the whole batch."""
    if not torch.distributed.is_available() or not torch.distributed.is_gloo_available():
        raise NotMeasured("this torch has no gloo")
    with without_tf32():
        train(setup, "one", *TINY, *SAME, "data.batch_size=4")
    start_two(words(setup, "two", *TINY, *SAME, *DISTRIBUTED, "data.batch_size=2"), setup.folder)
    one, two = (logged(setup.folder / name) for name in ("one", "two"))
    apart = [abs(ours - other) / abs(other) for ours, other in zip(two, one, strict=True)]
    yield at_most(f"loss of {len(apart)} steps, tiny network", max(apart), LIMIT)


def start_two(command: list[str], folder: Path) -> None:
    """Run a training over two processes, whose output goes into ``folder``.

    Raises:
        NotMeasured: if the GPU accepts one process only.
        RuntimeError: if a process fails, with the end of its output, or if the training takes too long.
    """
    torchrun = {"WORLD_SIZE": "2", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1", "TORCHELASTIC_RUN_ID": "gpu"}
    torchrun |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    started: dict[Path, subprocess.Popen[bytes]] = {}
    for rank in "01":
        path = folder / f"process_{rank}.txt"
        with path.open("wb") as output:
            started[path] = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.gpu.processes", *command],
                cwd=RESULTS.parents[1],
                env={**os.environ, **torchrun, "RANK": rank, "GROUP_RANK": rank},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
    deadline = time.monotonic() + SECONDS
    codes: list[int | None] = [None]
    while None in codes and not any(codes) and time.monotonic() < deadline:
        time.sleep(0.1)
        codes = [process.poll() for process in started.values()]
    for process in started.values():
        process.kill()  # does nothing to one that has ended
        process.wait()
    outputs = [path.read_text("utf-8", errors="replace") for path in started]
    if any("busy or unavailable" in output for output in outputs):
        raise NotMeasured("the GPU accepts one process only (its compute mode)")
    for code, output in zip(codes, outputs, strict=True):
        if code:
            raise RuntimeError(f"a process ended with exit code {code}: ... {output[-150:]}")
    if None in codes:
        raise RuntimeError(f"not ready after {SECONDS} s: ... {outputs[0][-150:]}")


def free_port() -> int:
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        return int(place.getsockname()[1])


def logged(folder: Path) -> list[float]:
    """Return the loss of each step of a run."""
    with (folder / "metrics.csv").open(newline="", encoding="utf-8") as file:
        return [float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]]


def main() -> None:
    StrategyRegistry.register("ddp_gloo", DDPStrategy, process_group_backend="gloo")
    with without_tf32():
        run_training(compose("train", *sys.argv[1:]))


if __name__ == "__main__":
    main()
