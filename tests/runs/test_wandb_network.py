"""Without a connection to W&B, a run continues, loses nothing, and logs how to send it later."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb

from secseg.runs import wandb_logger
from secseg.runs.loggers import build_loggers
from secseg.runs.wandb_logger import finish_wandb
from secseg.utils.errors import UserError
from tests.runs.wandb_file import read_wandb_run
from tests.runs.wandb_server import WandbServer, serve_wandb


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[WandbServer]:
    with serve_wandb() as server:
        monkeypatch.setenv("WANDB_API_KEY", "0123456789" * 4)
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setattr(wandb_logger, "FINISH_TIMEOUT", 3.0)
        wandb.teardown()  # W&B's process keeps its first address
        yield server
        finish_wandb()
        wandb.teardown()


def open_logger(folder: Path, **options: Any) -> Any:
    return build_loggers({"wandb": {"project": "p", **options}}, folder, {}, "run")[1]


def steps(folder: Path, kind: str = "run") -> list[float]:
    (file,) = folder.glob(f"wandb/{kind}-*/*.wandb")
    return [row["loss"] for row in read_wandb_run(file).history if "loss" in row]


def test_a_run_is_sent_completely(server: WandbServer, tmp_path: Path) -> None:
    logger = open_logger(tmp_path)
    for step in range(3):
        logger.log_metrics({"loss": float(step)}, step)
    finish_wandb()
    assert [row["loss"] for row in server.rows if "loss" in row] == steps(tmp_path) == [0, 1, 2]


def test_a_run_continues_when_the_connection_is_lost_and_logs_the_folder_to_send(
    server: WandbServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    logger = open_logger(tmp_path)
    logger.log_metrics({"loss": 0.0}, 0)
    server.stop()
    before = time.monotonic()
    for step in range(1, 100):
        logger.log_metrics({"loss": float(step)}, step)
    assert time.monotonic() - before < 3, "no step waits for W&B"
    with caplog.at_level(logging.WARNING):
        finish_wandb()
    (folder,) = tmp_path.glob("wandb/run-*")
    assert f"wandb sync {folder}" in caplog.text
    assert steps(tmp_path) == list(range(100))


def test_a_run_that_starts_without_a_connection_is_offline_unless_the_mode_is_online(
    server: WandbServer, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wandb_logger, "INIT_TIMEOUT", 2.0)
    server.stop()
    with pytest.raises(UserError, match=r"(?s)W&B does not accept this run.*logger\.wandb\.mode=offline"):
        open_logger(tmp_path / "online", mode="online").log_metrics({"loss": 1.0}, 0)
    with caplog.at_level(logging.WARNING):
        open_logger(tmp_path / "either").log_metrics({"loss": 1.0}, 0)
    finish_wandb()
    (folder,) = tmp_path.glob("either/wandb/offline-run-*")
    assert f"wandb sync {folder}" in caplog.text
    assert steps(tmp_path / "either", "offline-run") == [1]


@pytest.mark.skipif(shutil.which("pgrep") is None, reason="needs pgrep (on Debian, the package procps)")
def test_a_run_continues_when_the_process_of_wandb_is_killed_and_the_next_run_is_complete(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    logger = open_logger(tmp_path / "first", mode="offline")
    logger.log_metrics({"loss": 0.0}, 0)
    (process,) = subprocess.run(["pgrep", "-P", str(os.getpid()), "wandb-core"], capture_output=True).stdout.split()
    os.kill(int(process), signal.SIGKILL)
    with caplog.at_level(logging.WARNING):
        for step in range(1, 20):
            logger.log_metrics({"loss": float(step)}, step)
            logger.send(lambda step=step: {"table": step})
            time.sleep(0.05)
        finish_wandb()
    assert caplog.text.count("The run continues without W&B.") == 1
    (folder,) = tmp_path.glob("first/wandb/offline-run-*")
    assert f"wandb sync {folder}" in caplog.text
    open_logger(tmp_path / "second", mode="offline").log_metrics({"loss": 1.0}, 0)
    finish_wandb()
    assert steps(tmp_path / "second", "offline-run") == [1]
