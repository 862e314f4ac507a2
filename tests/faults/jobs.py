"""The commands under test, with small settings: from a label table to cues, masks and a report. And their files."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from secseg.cli import evaluate, make_cues, predict, report, train
from secseg.utils.files import WORKING
from secseg.utils.torch_file import find_damage
from tests.test_guide import draw

NETWORK = (
    "backbone=timm",
    "backbone.trunk.model=test_efficientnet",
    "backbone.trunk.weights=null",
    "backbone.head.width=8",
    "backbone.head.dilation=2",
    "backbone.input_size=65",
)
DATA = ("data=folder", "data.root=my_data", "data.val_split=masks", "data.workers=0")
TRAINING = (
    "crf=paper",
    "data.batch_size=2",
    "evaluation.pictures=1",
    "callbacks.curves=null",
    "trainer.max_steps=6",
    "trainer.val_check_interval=3",
    "trainer.log_every_n_steps=1",
    "trainer.accelerator=cpu",
)
LOCALIZATION = tuple(
    f"localization.foreground.{word}"
    for word in ("network.trunk.weights=null", "network.input_size=65", "steps=4", "batch_size=2")
)
TIMES = {
    "time",
    "seconds",
    "step_seconds",
    "peak_bytes",
    "images_per_second",
    "sha256",
}  # keys of JSON whose values differ between runs
CLOCKED = {"train/images_per_second", "train/crf_share"}  # columns of metrics.csv whose values differ between runs
PASSED_OVER = {".lock", ".log", ".html", ".svg"}  # pages and figures show times; their tables are compared
HALF_WRITTEN = re.compile(r"\..+\.[a-z0-9_]{8}\.\w+")


@dataclass(frozen=True)
class Job:
    """One command.

    Attributes:
        name: name of the command.
        main: its entry point.
        words: its settings, which are the same when it is started again.
        leaves: folders and files that are compared.
        reads: globs of files that it reads and that we write or that have a checksum. Damage in them must be detected.
        takes: globs of user files, in which damage may give another valid file.
        resumes: whether it resumes from the interruption, and not only from earlier files.
    """

    name: str
    main: Callable[[], None]
    words: tuple[str, ...]
    leaves: tuple[str, ...]
    reads: tuple[str, ...]
    takes: tuple[str, ...] = ()
    resumes: bool = False

    def outcome(self, world: Path) -> dict[str, str]:
        """Return a hash of the reproducible content of each file that the command wrote."""
        files = [path for name in self.leaves for path in sorted((world / name).rglob("*")) if path.is_file()]
        files += [world / name for name in self.leaves if (world / name).is_file()]
        files += (path for path in world.rglob(".*.*") if HALF_WRITTEN.fullmatch(path.name) and not _cached(path))
        return {
            str(path.relative_to(world)): hashlib.sha256(content(path)).hexdigest()
            for path in files
            if path.suffix not in PASSED_OVER and path.name not in (WORKING, "curves.png", "versions.json")
        }


JOBS = (
    Job(
        "make_cues",
        make_cues.main,
        (*DATA, "out=my_data", "device=cpu", "cues.share=0.1", *LOCALIZATION, "hydra.run.dir=runs/cues"),
        leaves=("my_data/cues.safetensors", "my_data/maps"),
        reads=("my_data/**/*.safetensors", "my_data/**/*.json", "cache/features/**/*.safetensors"),
        takes=("my_data/images/*", "my_data/labels.csv"),
    ),
    Job(
        "train",
        train.main,
        (*DATA, *NETWORK, *TRAINING, "run_dir=runs/mine", "resume=auto"),
        leaves=("runs/mine",),
        reads=("my_data/cues.safetensors", "cache/features/**/*.safetensors", "runs/mine/checkpoints/*.ckpt"),
        takes=("my_data/images/*", "my_data/masks/*", "my_data/labels.csv", "runs/mine/metrics.csv"),
        resumes=True,
    ),
    Job(
        "evaluate",
        evaluate.main,
        ("ckpt=runs/mine", "split=masks", "device=cpu", "hydra.run.dir=runs/scores"),
        leaves=("runs/scores",),
        reads=("runs/mine/checkpoints/last.ckpt",),
        takes=("my_data/images/*", "my_data/masks/*", "my_data/labels.csv"),
    ),
    Job(
        "predict",
        predict.main,
        ("ckpt=runs/mine", "images=my_data/images", "out=my_masks", "device=cpu", "hydra.run.dir=runs/masks"),
        leaves=("my_masks",),
        reads=("runs/mine/checkpoints/last.ckpt", "my_masks/predict.json"),
        takes=("my_data/images/*",),
    ),
    Job(
        "report",
        report.main,
        ("runs=runs/mine", "out=my_report", "hydra.run.dir=runs/report"),
        leaves=("my_report/results.csv",),
        reads=("runs/mine/val_counts.npz", "runs/mine/val_masks.zip"),
        takes=("runs/mine/results.json", "runs/mine/config.yaml", "runs/mine/metrics.csv", "my_data/images/*"),
    ),
)


def draw_world(world: Path) -> None:
    """Draw the data of a user: images, a table, two masks."""
    draw(world / "my_data", ("cup", "scissors"))


def content(path: Path) -> bytes:
    """Return the reproducible content of a file: JSON and tables without times, and the tensors of checkpoints."""
    if path.suffix == ".ckpt" and find_damage(path) is None:
        state = torch.load(path, map_location="cpu", weights_only=True)
        moments = {
            f"{slot} {key}": value
            for number, optimizer in enumerate(state["optimizer_states"])
            for slot, entry in optimizer["state"].items()
            for key, value in entry.items()
        }
        tensors = {**state["state_dict"], **moments}
        return b"".join(f"{name}".encode() + tensors[name].numpy().tobytes() for name in sorted(tensors))
    if path.suffix == ".json":
        return json.dumps(_without_times(json.loads(path.read_text("utf-8"))), sort_keys=True).encode()
    if path.suffix == ".csv":
        rows = list(csv.DictReader(io.StringIO(path.read_text("utf-8"))))
        kept = [{key: value for key, value in row.items() if not _is_time(key)} for row in rows]
        return json.dumps(kept, sort_keys=True).encode()
    return path.read_bytes()


def _cached(path: Path) -> bool:
    return "cache" in path.parts  # several processes share it, so a temporary file may be in use


def _without_times(value: object) -> object:
    if isinstance(value, dict):
        return {key: _without_times(child) for key, child in value.items() if not _is_time(key)}
    return [_without_times(child) for child in value] if isinstance(value, list) else value


def _is_time(key: str | None) -> bool:
    return key in CLOCKED or any(word in TIMES for word in str(key).replace(".", " ").split())
