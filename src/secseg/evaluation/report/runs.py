"""Read finished runs from their folders."""

from __future__ import annotations

import glob
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from secseg.evaluation.predictions import COUNTS, Counts, read_counts
from secseg.runs.run_reader import read_config, read_metrics, read_training_results
from secseg.utils.errors import UserError, listing
from secseg.utils.files import CONFIG, FAILURE, OPTIONS, PRUNED, RESULTS, read_json

VARIANTS = ("without_crf", "with_crf")
DEPTH = 3
"""Most levels between a given folder and the run folders in it."""


@dataclass(frozen=True)
class Run:
    """A finished training run: its folder, its settings (plain and nested), and its ``results.json``.

    Attributes:
        options: the option of each group (``loss: sec``), from ``options.yaml``; empty if the run did not record them.
    """

    folder: Path
    config: Mapping[str, Any]
    results: Mapping[str, Any]
    options: Mapping[str, Any]

    @property
    def seed(self) -> int:
        return int(self.config["seed"])

    def scores(self, variant: str) -> Mapping[str, Any] | None:
        """Return ``miou`` and ``iou`` by class, in [0, 1], of ``without_crf`` or ``with_crf``; None if not scored."""
        return self.results["figures"].get(variant)

    @cached_property
    def counts(self) -> Counts:
        """Pixel counts of each validation image by truth and prediction."""
        counts = read_counts(self.folder)
        unknown = set(self.results["protocol"]["scored"]) - set(counts.class_names)
        if counts.names and unknown:
            raise UserError(
                f"{self.folder}: {COUNTS} has no class {', '.join(sorted(unknown))}. It is of another run: remove it."
            )
        return counts

    @cached_property
    def metrics(self) -> list[dict[str, str]]:
        """Rows of ``metrics.csv``, without empty cells."""
        path = self.folder / "metrics.csv"
        return read_metrics(path) if path.is_file() else []


def find_runs(patterns: str | Sequence[str]) -> tuple[list[Run], dict[Path, str]]:
    """Return the finished training runs, and the reason for each run that is not finished.

    Args:
        patterns: run folders, folders of runs (of a sweep, or ``runs`` itself) or globs.

    Raises:
        UserError: if a pattern matches nothing, or no run is finished.
    """
    patterns = [patterns] if isinstance(patterns, str) else list(patterns)
    folders: dict[Path, Path] = {}
    for pattern in patterns:
        matches = sorted(glob.glob(str(Path(pattern).expanduser())))
        if not matches:
            raise UserError(f"runs={pattern}: there is nothing. Give run folders, folders of runs, or a glob.")
        for match in matches:
            for folder in _run_folders(Path(match), DEPTH):
                folders.setdefault(folder.resolve(), folder)
    runs, unfinished = [], {}
    for folder in folders.values():
        if not (folder / RESULTS).is_file():
            unfinished[folder] = _reason(folder)
        elif (run := _read(folder)) is not None:
            runs.append(run)
    if not runs:
        lines = listing([f"{path}: {reason}" for path, reason in unfinished.items()])
        more = f" These are not finished:\n{lines}" if unfinished else ""
        raise UserError(f"runs={', '.join(patterns)}: no finished training run.{more}")
    return runs, unfinished


def _run_folders(folder: Path, depth: int) -> list[Path]:
    if any((folder / name).is_file() for name in (RESULTS, CONFIG, FAILURE)):
        return [folder]
    if depth == 0 or not folder.is_dir():
        return []
    below = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    return [run for path in below for run in _run_folders(path, depth - 1)]


def _read(folder: Path) -> Run | None:
    """Return the run in ``folder``; None if it is a run of another command."""
    results, config = read_training_results(folder / RESULTS), read_config(folder / CONFIG)
    if results is None or "seed" not in config:
        return None
    kinds = {"seed": int, "name": str, "data": dict, "loss": dict}
    if wrong := [key for key, kind in kinds.items() if type(config.get(key)) is not kind]:
        raise UserError(f"{folder / CONFIG} has no valid {', '.join(wrong)}: fix it, or leave its run out of runs=.")
    options = read_config(folder / OPTIONS) if (folder / OPTIONS).is_file() else {}
    return Run(folder, config, results, options)


def _reason(folder: Path) -> str:
    name = PRUNED if (folder / PRUNED).is_file() else FAILURE
    try:
        return str(read_json(folder / name)["reason"])
    except FileNotFoundError:
        return "not finished"
    except (OSError, ValueError, KeyError, TypeError):
        return f"{name} cannot be read"
