"""Timing of several ways to do one thing. They take turns in one process, so that a busy machine slows all of them."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from secseg.utils.files import write_text

RESULTS = Path(__file__).parent / "results"


def alternate(
    ways: Mapping[str, Callable[[], Any]],
    rounds: int = 5,
    warm: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Call each way in turn, ``rounds`` times after ``warm`` calls that are not counted. Return the seconds by name.

    ``clock`` is the wall time, or ``time.process_time`` for the time of all cores that this process used.
    """
    for way in ways.values():
        for _ in range(warm):
            way()
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            started = clock()
            way()
            seconds[name].append(clock() - started)
    return seconds


def ratios(seconds: Mapping[str, Sequence[float]], against: str) -> dict[str, float]:
    """Return how many times faster each way is than ``against``, as the median over the rounds of their quotients."""
    return {
        name: statistics.median(base / own for base, own in zip(seconds[against], values, strict=True))
        for name, values in seconds.items()
    }


def timing_table(seconds: Mapping[str, Sequence[float]], against: str, per: int = 1, unit: str = "ms") -> str:
    """Return a Markdown table of the medians, their range, and how many times faster than ``against`` each way is.

    Args:
        seconds: those of each round, by the name of the way (see ``alternate``).
        against: the way that the others are compared with.
        per: a divisor of the figures, such as the number of images in a call.
        unit: ``ms`` or ``s``.
    """
    factor = (1000 if unit == "ms" else 1) / per
    faster = ratios(seconds, against)
    rows = [f"| way | median, {unit} | least - most | times faster |", "| --- | ---: | ---: | ---: |"]
    for name, values in seconds.items():
        low, middle, high = (factor * f(values) for f in (min, statistics.median, max))
        rows.append(f"| {name} | {digits(middle)} | {digits(low)} - {digits(high)} | {faster[name]:.2f} |")
    return "\n".join(rows)


def digits(number: float) -> str:
    """Return a number with three digits, or with all digits before the point."""
    return f"{number:.0f}" if abs(number) >= 100 else f"{number:.3g}"


def milliseconds(seconds: float) -> str:
    return f"{digits(1000 * seconds)} ms"


def machine() -> str:
    """Return the machine and the relevant versions in one line."""
    import numba
    import torch

    model = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").is_file():
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), model)
    gpu = f"{torch.cuda.get_device_name()}, " if torch.cuda.is_available() else "no GPU, "
    versions = f"Python {platform.python_version()}, torch {torch.__version__}, numba {numba.__version__}"
    return f"{model}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, {gpu}{versions}"


def report(name: str, title: str, sections: Mapping[str, str]) -> None:
    """Print the tables and write them, with the machine, to ``benchmarks/results/<name>.md``.

    Args:
        name: the name of the file.
        title: its first line.
        sections: the text of each table by its heading.
    """
    parts = [f"# {title}", machine(), *(f"## {heading}\n{text}" for heading, text in sections.items())]
    text = "\n\n".join(parts) + "\n"
    print(text, flush=True)
    RESULTS.mkdir(exist_ok=True)
    write_text(RESULTS / f"{name}.md", text)
