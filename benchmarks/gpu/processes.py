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
from benchmarks.gpu.trainings import apart_from, train, words
from secseg.training.run import train as run_training
from secseg.utils.config import compose

# Without batch normalisation, whose statistics are those of one process, and without dropout, which differs by process.
SAME = ["backbone.trunk.model=test_convnext", "backbone.head.dropout=0", "backbone.input_size=65"]
DISTRIBUTED = ["trainer.num_nodes=2", "trainer.strategy=ddp_gloo"]
LIMIT = 1e-3
SECONDS = 150
"""Time after which two processes are ended."""


def two_processes(setup: Setup) -> Iterator[Row]:
    """Yield the losses of two processes on one device, relative to one process with the whole batch."""
    if not torch.distributed.is_available() or not torch.distributed.is_gloo_available():
        raise NotMeasured("this torch has no gloo")
    with without_tf32():
        train(setup, "one", *TINY, *SAME, "data.batch_size=4")
    start_two(words(setup, "two", *TINY, *SAME, *DISTRIBUTED, "data.batch_size=2"))
    one, two = (logged(setup.folder / name) for name in ("one", "two"))
    yield at_most("loss of each step, tiny network", apart_from(one, two), LIMIT)


def start_two(command: list[str]) -> None:
    """Run a training over two processes.

    Raises:
        NotMeasured: if the GPU accepts one process only.
        RuntimeError: if a process fails, with the end of its output, or if the training takes too long.
    """
    torchrun = {"WORLD_SIZE": "2", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1", "TORCHELASTIC_RUN_ID": "gpu"}
    torchrun |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.gpu.processes", *command],
            cwd=RESULTS.parents[1],
            env={**os.environ, **torchrun, "RANK": rank, "GROUP_RANK": rank},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        for rank in "01"
    ]
    deadline = time.monotonic() + SECONDS
    codes: list[int | None] = [None, None]
    while None in codes and not any(codes) and time.monotonic() < deadline:
        time.sleep(0.1)
        codes = [process.poll() for process in started]
    for process in started:
        process.kill()  # does nothing to one that has ended
    outputs = [process.communicate()[0] for process in started]
    if any("busy or unavailable" in output for output in outputs):
        raise NotMeasured("the GPU accepts one process only (its compute mode)")
    for code, output in zip(codes, outputs, strict=True):
        if code:
            raise RuntimeError(f"a process ended with {code}: ... {output[-150:]}")
    if None in codes:
        raise RuntimeError(f"not ready after {SECONDS} s: ... {outputs[0][-150:]}")


def free_port() -> int:
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        return int(place.getsockname()[1])


def logged(folder: Path) -> dict[str, float]:
    """Return the loss of each step of a run, by name."""
    with (folder / "metrics.csv").open(newline="", encoding="utf-8") as file:
        values = [float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]]
    return {f"step {number}": value for number, value in enumerate(values, 1)}


def main() -> None:
    StrategyRegistry.register("ddp_gloo", DDPStrategy, process_group_backend="gloo")
    with without_tf32():
        run_training(compose("train", *sys.argv[1:]))


if __name__ == "__main__":
    main()
