"""Loggers: CSV in the run folder always, W&B and TensorBoard where asked for."""

from __future__ import annotations

import csv
import logging
import os
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger
from pytorch_lightning.loggers.csv_logs import ExperimentWriter
from pytorch_lightning.loggers.logger import rank_zero_experiment

from secseg.errors import UserError, nearest, require_package
from secseg.files import atomic_write, write_text
from secseg.runtime.stored import read_metrics
from secseg.runtime.wandb_key import has_wandb_key

log = logging.getLogger(__name__)

KINDS = ("csv", "wandb", "tensorboard")
BEST_AND_LAST = ("val/miou", "val/miou_crf")
INIT_TIMEOUT, FINISH_TIMEOUT = 120.0, 300.0
"""How long W&B may be out of reach when a run begins, and when it ends, in seconds. In between, no run waits for it."""


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
        loggers.append(_wandb(config["wandb"], folder, run_config, run_name))
    if config.get("tensorboard") is not None:
        require_package("logger=tensorboard", "tensorboard", install="'secseg[tensorboard]'")
        loggers.append(_TensorBoard(folder, name="", version="tensorboard", **config["tensorboard"]))
    return loggers


def finish_loggers() -> None:
    """Close the W&B run, so that the next run of this process gets its own. For a ``finally`` block.

    Called while an exception is on its way, it marks the run as failed. What could not be sent in time is on disk, and
    a warning tells how to send it.
    """
    wandb = sys.modules.get("wandb")
    if wandb is None or wandb.run is None:
        return
    folder = Path(wandb.run.dir).parent
    try:
        wandb.finish(exit_code=0 if sys.exc_info()[0] is None else 1)
    except TimeoutError:
        log.warning(
            "W&B did not take all of this run within %g seconds of its end. Nothing is lost; send it later with: "
            "wandb sync %s",
            FINISH_TIMEOUT,
            folder,
        )


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


class _Wandb(WandbLogger):
    """Lightning's W&B logger, whose summary has the best and the last mean IoU: ``val/miou.max``, ``.last``."""

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        opens = self._experiment is None
        run = self._open() if opens else super().experiment
        if opens:
            for key in BEST_AND_LAST:
                run.define_metric(key, step_metric="trainer/global_step", step_sync=True, summary="max,last")
        return run

    def _open(self) -> Any:
        import wandb

        try:
            return super().experiment
        except wandb.errors.CommError as error:
            if self._wandb_init["mode"] == "online":
                raise UserError(
                    f"W&B does not take this run: {error}\nMend that, or keep the run here with "
                    "logger.wandb.mode=offline; `wandb sync` sends it later."
                ) from None
            log.warning("W&B does not take this run (%s), so it is kept offline.", error)
            wandb.teardown()  # its process holds the id of the run that it did not open
            self._wandb_init |= {"mode": "offline", "resume": None}
            run = super().experiment
            log.warning("Send it later with: wandb sync %s", Path(run.dir).parent)
            return run

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        return None  # the whole config is sent when the run opens


def _wandb(options: Mapping[str, Any], folder: Path, run_config: Mapping[str, Any], run_name: str) -> WandbLogger:
    require_package("logger=wandb", "wandb", install="wandb")
    import wandb

    mode = options.get("mode") or os.environ.get("WANDB_MODE") or None
    if mode is None and not has_wandb_key():
        mode = "offline"
        log.info(
            "W&B: no key found, so the run is kept offline; send it later with: wandb sync %s",
            folder / "wandb" / "offline-run-*",
        )
    elif mode == "online" and not has_wandb_key():
        raise UserError(
            "logger.wandb.mode=online needs a W&B key. Log in with `wandb login`, set WANDB_API_KEY, "
            "or choose logger.wandb.mode=offline."
        )
    finish_loggers()  # a run left open by other code would swallow this one
    offline = mode in ("offline", "dryrun", "disabled")
    return _Wandb(
        name=options.get("name") or run_name,
        project=options.get("project"),
        save_dir=folder,
        id=_wandb_id(folder),
        entity=options.get("entity"),
        group=options.get("group"),
        job_type="train",
        tags=list(options.get("tags") or []),
        mode=mode,
        resume=None if offline else "allow",  # offline, the same id suffices
        config=dict(run_config),
        settings=wandb.Settings(
            console="off",
            silent=offline,
            init_timeout=INIT_TIMEOUT,
            finish_timeout=FINISH_TIMEOUT,
            finish_timeout_raises=True,
        ),
    )


def _wandb_id(folder: Path) -> str:
    path = folder / "wandb_id.txt"
    if path.is_file():
        return path.read_text().strip()
    run_id = secrets.token_hex(4)
    write_text(path, run_id + "\n")
    return run_id
