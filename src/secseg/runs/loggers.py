"""Loggers: CSV in each run folder; W&B (``wandb_logger``) and TensorBoard if the config has them."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger
from pytorch_lightning.loggers.csv_logs import ExperimentWriter
from pytorch_lightning.loggers.logger import rank_zero_experiment

from secseg.runs.run_reader import read_metrics
from secseg.runs.wandb_logger import build_wandb
from secseg.utils.errors import UserError, nearest, require_package
from secseg.utils.files import atomic_write

KINDS = ("csv", "wandb", "tensorboard")


def build_loggers(
    config: Mapping[str, Any], folder: Path, run_config: Mapping[str, Any], run_name: str
) -> list[Logger]:
    """Return the loggers of a run: a CSV logger, since every run folder has ``metrics.csv``, and those of the config.

    Args:
        config: the ``logger`` node, plain: ``csv``, ``wandb`` and ``tensorboard``, each None or its options. Options of
            ``wandb``: ``project``, ``entity``, ``group``, ``tags``, ``name`` and ``mode`` (``online``, ``offline``,
            ``disabled``, or None: online if there is a key, else offline).
        folder: the run folder.
        run_config, run_name: config and name of the run, for W&B.

    Raises:
        UserError: if a logger is unknown, a package is missing, or ``mode=online`` has no key.
    """
    for kind in config:
        if kind not in KINDS:
            raise UserError(f"Unknown logger '{kind}'.{nearest(kind, KINDS)} The loggers are {', '.join(KINDS)}.")
    loggers: list[Logger] = [MetricsFile(folder)]
    if config.get("wandb") is not None:
        loggers.append(build_wandb(config["wandb"], folder, run_config, run_name))
    if config.get("tensorboard") is not None:
        require_package("logger=tensorboard", "tensorboard", install="'secseg[tensorboard]'")
        loggers.append(_TensorBoard(folder, name="", version="tensorboard", **config["tensorboard"]))
    return loggers


class MetricsFile(CSVLogger):
    """Lightning's CSV logger with ``metrics.csv`` in the run folder, to which a resumed run appends.

    It does not log hyper-parameters, which are in ``config.yaml``.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, name="", version="")

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        if self._experiment is None:
            self._experiment = _MetricsWriter(str(self._save_dir))
        return self._experiment

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        return None


class _MetricsWriter(ExperimentWriter):
    """Writes UTF-8 in every locale, and keeps the rows from before a resume, except those of steps that are repeated.

    Lightning's methods write in the encoding of the locale.
    """

    def _check_log_dir_exists(self) -> None:  # Lightning's method deletes the file
        self._path = Path(self.metrics_file_path)
        self._earlier: list[dict[str, str]] | None = None
        if self._path.is_file():
            self._earlier = [row for row in read_metrics(self._path) if row.get("step")]
            self.metrics_keys = sorted({key for row in self._earlier for key in row})

    def save(self) -> None:
        if not self.metrics:
            return
        new_keys = self._record_new_keys()
        if self._earlier is not None:
            first = self.metrics[0]
            self._rewrite([row for row in self._earlier if not _is_repeated(row, first)])
            self._earlier = None
        elif new_keys or not self._path.is_file():
            self._rewrite(read_metrics(self._path) if self._path.is_file() else [])
        with self._path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, fieldnames=self.metrics_keys).writerows(self.metrics)
        self.metrics = []

    def _rewrite(self, rows: list[dict[str, str]]) -> None:
        with atomic_write(self._path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=self.metrics_keys)
            writer.writeheader()
            writer.writerows(rows)


def _is_repeated(row: Mapping[str, str], first: Mapping[str, Any]) -> bool:
    """Return whether ``row`` is repeated by ``first``, the first row after the resume, or by a later row."""
    step = int(row["step"])
    same = {key for key, value in row.items() if value} & set(first) - {"step", "epoch"}
    return step > first["step"] or (step == first["step"] and bool(same))


class _TensorBoard(TensorBoardLogger):
    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        return None  # they are in config.yaml
