"""The time of a training step with each option of the methods after SEC, as a ratio to the step of SEC.

    python -m benchmarks.options --root <VOC2012>     without --root: on the built-in shapes

The step is that of ``benchmarks.step``. The options take turns in one process. Growing depends on the network's scores,
so each option first trains ``--warm`` steps.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import torch
from pytorch_lightning import Callback
from pytorch_lightning.utilities import move_data_to_device

from benchmarks.compare import alternate, digits, report
from benchmarks.step import Step, load_batches
from secseg.data.classes import VOC_CLASSES
from secseg.models import SegmentationNet, build_network
from secseg.utils.config import build, compose, to_plain
from secseg.utils.device import keep_freed_memory, resolve_precision

SEC = "loss=sec"
OPTIONS: dict[str, list[str]] = {
    SEC: [],
    "balanced seeds": ["loss.seed=0", "loss.balanced_seed=1"],
    "seeds=grow": ["seeds=grow"],
    "decay=adaptive": ["decay=adaptive"],
    "loss=sec_plus seeds=grow decay=adaptive": ["loss=sec_plus", "seeds=grow", "decay=adaptive"],
    "loss=dsrg seeds=grow": ["loss=dsrg", "seeds=grow"],
    "loss.crf_energy=1": ["loss.crf_energy=1"],
    "loss.normalized_cut=1": ["loss.normalized_cut=1"],
    "crf=par": ["crf=par"],
    "callbacks=ema": ["callbacks=ema"],
}


class OptionStep(Step):
    """A step of ``config``, with the update of the average of the weights, if the config has one."""

    def __init__(self, network: SegmentationNet, config: dict[str, Any], batches: list[dict[str, Any]]) -> None:
        super().__init__(network, config["crf"]["train"]["backend"], config, batches)
        node = config["callbacks"].get("ema")
        self.average = None if node is None else build(node, Callback)
        self.trainer: Any = SimpleNamespace(global_step=0)
        if self.average is not None:
            self.average.setup(self.trainer, self.module, "fit")

    def __call__(self) -> None:
        super().__call__()
        if self.average is not None:
            self.trainer.global_step += 1
            self.average.on_train_batch_end(self.trainer, self.module, None, None, 0)


def ratio_table(seconds: Mapping[str, Sequence[float]], against: str) -> str:
    """Return a Markdown table of the medians and of the quotients with ``against``: their median and quartiles."""
    rows = ["| option | median, ms | times the step of SEC | quartiles |", "| --- | ---: | ---: | ---: |"]
    for name, values in seconds.items():
        quotients = [own / base for own, base in zip(values, seconds[against], strict=True)]
        low, middle, high = statistics.quantiles(quotients, n=4, method="inclusive")
        rows.append(f"| {name} | {digits(1000 * statistics.median(values))} | {middle:.2f} | {low:.2f} - {high:.2f} |")
    return "\n".join(rows)


def main() -> None:
    keep_freed_memory()  # as the commands do
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, help="VOC2012, with cues next to it; without it, the built-in shapes")
    parser.add_argument("--rounds", type=int, default=15, help="counted steps of each option, at least 2")
    parser.add_argument("--warm", type=int, default=5, help="steps of each option before these, at least 1")
    parser.add_argument("--threads", type=int, help="number of torch's threads")
    parser.add_argument("--cpu", action="store_true", help="count the CPU time of the process, on a busy machine")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    warnings.filterwarnings("ignore", message=r"You are trying to `self.log\(\)`")  # there is no trainer
    base = ["experiment=voc_animals", "data.root=.", "run_dir=."]
    configs = {name: to_plain(compose("train", *base, *words)) for name, words in OPTIONS.items()}
    trainer = configs[SEC]["trainer"]
    precision = resolve_precision(trainer["precision"], trainer["accelerator"])
    for config in configs.values():
        config["trainer"]["precision"] = precision
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = build_network(configs[SEC]["backbone"], VOC_CLASSES).to(device).train()
    with TemporaryDirectory() as folder:
        batches = load_batches(configs[SEC], network, options.root, folder)
    batches = move_data_to_device(batches, torch.device(device))
    steps = {name: OptionStep(network, config, batches) for name, config in configs.items()}
    load = os.getloadavg()[0]
    clock = time.process_time if options.cpu else time.perf_counter
    seconds = alternate(steps, options.rounds, options.warm, clock)
    what = "images of VOC 2012" if options.root else "the built-in shapes"
    title = f"The options of the methods after SEC: a step of 15 images, 21 classes, 41 x 41, {precision}, on {what}"
    measure = "CPU time of the process" if options.cpu else "wall time"
    before = f"The load of the machine before them was {load:.1f} on {os.cpu_count()} cores."
    table = ratio_table(seconds, SEC)
    report("options", title, {"Steps": f"{options.rounds} rounds in turn, {measure}. {before}\n\n{table}"})


if __name__ == "__main__":
    main()
