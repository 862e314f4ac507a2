"""A forward pass with and without ``keep_freed_memory``: time, page faults and resident memory.

    python -m benchmarks.memory                    EfficientNet-lite0 at 641 x 641
    python -m benchmarks.memory --passes 200       and how the memory grows

Each way has separate processes, since settings of the allocator cannot be undone. They take turns, pass by pass.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from multiprocessing.connection import Connection
from resource import RUSAGE_SELF, getrusage
from typing import Any

import torch

from benchmarks.compare import alternate, digits, report, timing_table
from secseg.data.classes import VOC_CLASSES
from secseg.models import build_network
from secseg.utils.config import compose, to_plain
from secseg.utils.device import keep_freed_memory

WAYS = {"returned": False, "kept": True}
PLACES = ("one thread", "all threads", "two workers")


def serve(pipe: Connection, keep: bool, place: str, size: int) -> None:
    """Run in a process: one pass for each message, two side by side for two workers. Send the costs back."""
    if keep and not keep_freed_memory():
        raise SystemExit("The allocator is not glibc's, or an environment variable configures it.")
    config = to_plain(compose("train", "run_dir=."))
    network = build_network(config["backbone"], VOC_CLASSES, weights=False).eval()
    torch.set_num_threads((os.cpu_count() or 1) if place == "all threads" else 1)
    pool = ThreadPoolExecutor(2, initializer=torch.set_num_threads, initargs=(1,))
    images = torch.full((1, 3, size, size), 100.0)

    def one(_: int = 0) -> None:
        with torch.inference_mode():
            network(images)

    while pipe.recv() == "pass":
        before = getrusage(RUSAGE_SELF).ru_minflt
        if place == "two workers":
            list(pool.map(one, range(2)))
        else:
            one()
        usage = getrusage(RUSAGE_SELF)
        pipe.send((usage.ru_minflt - before, _resident(), usage.ru_maxrss * 1024))


def _resident() -> int:
    with open("/proc/self/statm", encoding="utf-8") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def compare(place: str, size: int, rounds: int) -> str:
    """Return tables of times, page faults and memory for both ways."""
    context = multiprocessing.get_context("spawn")  # a new allocator
    costs: dict[str, list[tuple[int, int, int]]] = {name: [] for name in WAYS}
    with ExitStack() as stack:
        ways: dict[str, Callable[[], Any]] = {}
        for name, keep in WAYS.items():
            ours, theirs = context.Pipe()
            process = context.Process(target=serve, args=(theirs, keep, place, size))
            process.start()
            theirs.close()
            stack.callback(process.join)
            stack.callback(ours.send, "end")

            def ask(pipe: Connection = ours, name: str = name) -> None:
                pipe.send("pass")
                costs[name].append(pipe.recv())

            ways[name] = ask
        seconds = alternate(ways, rounds, warm=3)
    images = 2 if place == "two workers" else 1
    rows = ["| way | page faults per image | resident, first - last, MB | peak, MB |", "| --- | ---: | ---: | ---: |"]
    for name, measured in costs.items():
        faults = sum(cost[0] for cost in measured[3:]) / rounds / images
        first, last, peak = (value / 1e6 for value in (measured[3][1], measured[-1][1], measured[-1][2]))
        rows.append(f"| {name} | {faults:,.0f} | {digits(first)} - {digits(last)} | {digits(peak)} |")
    return "\n".join([timing_table(seconds, against="returned", per=images), "", *rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=641, help="side of the images")
    parser.add_argument("--passes", type=int, default=20, help="counted passes of each way")
    options = parser.parse_args()
    sections = {place: compare(place, options.size, options.passes) for place in PLACES}
    what = f"EfficientNet-lite0 at {options.size} x {options.size}, freed memory returned to the kernel or kept"
    report("memory", f"A forward pass, {what}", sections)


if __name__ == "__main__":
    main()
