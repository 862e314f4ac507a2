"""Measure this project on a GPU: equality with the CPU, times, memory and reproducibility, in one table.

    make gpu                                          or, with an installed torch: python -m benchmarks.gpu
    python -m benchmarks.gpu --root <VOC2012>         real images, with cues next to them; else the built-in shapes
    python -m benchmarks.gpu --small                  tiny sizes, to check that the program works; on any machine

It needs no network and no weights. The table is written to benchmarks/results/gpu.md. Send this file.
"""

from __future__ import annotations

import argparse
import gc
import io
import logging
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from benchmarks.compare import RESULTS
from benchmarks.gpu import equality, processes, scoring, speed, trainings
from benchmarks.gpu.setup import Setup
from benchmarks.gpu.table import NotMeasured, Row, describe, failed, render
from secseg.utils.device import keep_freed_memory, pick_device
from secseg.utils.errors import UserError, listing
from secseg.utils.files import write_text

Part = Callable[[Setup], Iterator[Row]]

PARTS: dict[str, Part] = {
    "losses": equality.losses,
    "network": equality.network,
    "CRF labels": equality.crf,
    "training CRF": speed.training_crf,
    "step": speed.step,
    "deterministic": trainings.deterministic,
    "resume": trainings.resume,
    "precision": trainings.precision,
    "two processes": processes.two_processes,
    "evaluation": scoring.evaluation,
}


def measure(parts: Mapping[str, Part], setup: Setup, deadline: float) -> Iterator[tuple[str, Row]]:
    """Yield the rows of each part. After an error, the next part follows; after ``deadline``, none is measured."""
    for name, part in parts.items():
        rows = part(setup)
        try:
            while time.monotonic() <= deadline:
                if (row := _next(rows)) is None:
                    break
                yield name, row
            else:
                yield name, Row("the rest of this part", "not measured: time (--minutes)")
        except NotMeasured as reason:
            yield name, Row("all", f"not measured: {reason}")
        except Exception as error:
            yield name, failed(error)
        gc.collect()
        torch.cuda.empty_cache()


def _next(rows: Iterator[Row]) -> Row | None:
    """Return the next row, without what the measured commands print and warn of."""
    logging.disable(logging.WARNING)
    try:
        with redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return next(rows, None)
    finally:
        logging.disable(logging.NOTSET)


def choose_device(name: str, small: bool) -> tuple[torch.device, bool]:
    """Return the device, and whether the form is small: ``auto`` is the small form where there is no GPU."""
    if name == "auto" and not torch.cuda.is_available():
        print("No GPU found: the small form runs on the CPU. Its figures show only that the program works.", flush=True)
        return torch.device("cpu"), True
    return pick_device("cuda" if name == "auto" else name), small


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto", help="auto (cuda, else the small form on the CPU), cuda, cpu, mps")
    parser.add_argument("--small", action="store_true", help="tiny sizes, which only show that the program works")
    parser.add_argument("--root", type=Path, help="VOC2012, with cues next to it; without it, the built-in shapes")
    parser.add_argument("--out", type=Path, help="file of the table (benchmarks/results/gpu.md on a GPU, else none)")
    parser.add_argument("--minutes", type=float, default=8, help="parts that are left after this time are left out (8)")
    options = parser.parse_args()
    keep_freed_memory()  # as the commands do
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # for trainer.deterministic, before CUDA starts
    started = time.monotonic()
    try:
        device, small = choose_device(options.device, options.small)
    except UserError as error:
        sys.exit(str(error))
    out = options.out or (None if small or device.type == "cpu" else RESULTS / "gpu.md")
    rows: list[tuple[str, Row]] = []
    with TemporaryDirectory() as folder:
        setup = Setup(device, small, options.root, Path(folder))
        form = "small: tiny sizes, which only show that the program works" if small else "full"
        head = {"form": form, **describe(device), "training": setup.title}
        head["images"] = "those of --root" if options.root else "the built-in shapes"
        for part, row in measure(PARTS, setup, started + 60 * options.minutes):
            rows.append((part, row))
            print(f"{time.monotonic() - started:5.0f} s  {part}: {row.what}: {row.figure}", flush=True)
            if out is not None:  # also if the program is ended
                write_text(out, render(head, rows))
    table = render({**head, "time": f"{time.monotonic() - started:.0f} s"}, rows)
    print(f"\n{table}", flush=True)
    if out is not None:
        write_text(out, table)
        print(f"The table is in {out}. Send this file.")
    wrong = [f"{part}: {row.what}" for part, row in rows if row.ok is False]
    if wrong:
        sys.exit(f"Not as expected:\n{listing(wrong)}")


if __name__ == "__main__":
    main()
