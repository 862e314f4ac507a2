"""Loggers: CSV in the run folder always, W&B (``wandb_logger``) and TensorBoard where asked for."""

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
    """Return the loggers of ``config``: ``csv``, ``wandb``, ``tensorboard``, each ``None`` or a dict of
    options.

    ``metrics.csv`` belongs to every run folder, so the CSV logger is there whether named or not. Options of
    ``wandb``: ``project``, ``entity``, ``group``, ``tags``, ``name`` and ``mode`` (``None``: online with a
    key, offline without; or ``online``, ``offline``, ``disabled``).

    Raises:
        UserError: for an unknown logger, a missing package, or ``mode=online`` without a key.
    """
    for kind in config:
        if kind not in KINDS:
            raise UserError(f"Unknown logger '{kind}'.{nearest(kind, KINDS)} There are {', '.join(KINDS)}.")
    loggers: list[Logger] = [MetricsFile(folder)]
    if config.get("wandb") is not None:
        loggers.append(build_wandb(config["wandb"], folder, run_config, run_name))
    if config.get("tensorboard") is not None:
        require_package("logger=tensorboard", "tensorboard", install="'secseg[tensorboard]'")
        loggers.append(_TensorBoard(folder, name="", version="tensorboard", **config["tensorboard"]))
    return loggers


class MetricsFile(CSVLogger):
    """Lightning's CSV logger, with ``metrics.csv`` directly in the run folder, where a resumed run goes on
    with it.

    Hyper-parameters are not logged: ``config.yaml`` lies beside it.
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
    """Keeps the rows of an earlier part of the run, except those of steps that are run again."""

    def _check_log_dir_exists(self) -> None:  # Lightning's deletes the file
        self._earlier: list[dict[str, str]] | None = None
        path = Path(self.metrics_file_path)
        if path.is_file():
            self._earlier = [row for row in read_metrics(path) if row.get("step")]
            self.metrics_keys = sorted({key for row in self._earlier for key in row})

    def save(self) -> None:
        if self._earlier is not None and self.metrics:
            first = self.metrics[0]
            self._earlier = [row for row in self._earlier if not _runs_again(row, first)]
            self._record_new_keys()
            self._write(self._earlier)
            self._earlier = None
        super().save()

    def _rewrite_with_new_header(self, fieldnames: list[str]) -> None:
        self._write(read_metrics(Path(self.metrics_file_path)))

    def _write(self, rows: list[dict[str, str]]) -> None:
        with (
            atomic_write(self.metrics_file_path) as temporary,
            temporary.open("w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.DictWriter(file, fieldnames=self.metrics_keys)
            writer.writeheader()
            writer.writerows(rows)


def _runs_again(row: Mapping[str, str], first: Mapping[str, Any]) -> bool:
    """Whether ``row`` was logged at, or after, what ``first``, the first row of the resumed run, logs."""
    step = int(row["step"])
    same = {key for key, value in row.items() if value} & set(first) - {"step", "epoch"}
    return step > first["step"] or (step == first["step"] and bool(same))


class _TensorBoard(TensorBoardLogger):
    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        return None  # config.yaml lies in the run folder
