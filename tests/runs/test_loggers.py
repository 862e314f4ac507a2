from __future__ import annotations

import csv
import logging
import os
import sys
from importlib import util
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest
import wandb

from secseg.drawing.wandb import iou_table
from secseg.runs import wandb_logger
from secseg.runs.loggers import MetricsFile, build_loggers
from secseg.runs.wandb_logger import WandbRunLogger, finish_wandb
from secseg.training.callbacks import Pictures
from secseg.utils.errors import UserError
from tests.runs.wandb_file import read_wandb_run
from tests.tiny_training import TinyModule, fit


@pytest.fixture(autouse=True)
def _no_wandb_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_BASE_URL", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("W&B asked something"))
    monkeypatch.setattr("getpass.getpass", lambda *_: pytest.fail("W&B asked for a key"))


def _rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def _log(folder: Path, *rows: tuple[int, dict[str, float]]) -> None:
    logger = MetricsFile(folder)
    for step, values in rows:
        logger.log_metrics(values, step)
        logger.save()


def test_metrics_are_in_the_run_folder_and_a_resumed_run_keeps_the_earlier_rows(tmp_path: Path) -> None:
    _log(tmp_path, (0, {"train/loss": 3.0}), (1, {"train/loss": 2.0}), (1, {"val/miou": 0.1}))
    _log(tmp_path, (2, {"train/loss": 1.0}), (3, {"val/miou": 0.2, "val/iou/cat": 0.3}))
    rows = _rows(tmp_path)
    assert [(row["step"], row["train/loss"], row["val/miou"], row["val/iou/cat"]) for row in rows] == [
        ("0", "3.0", "", ""),
        ("1", "2.0", "", ""),
        ("1", "", "0.1", ""),
        ("2", "1.0", "", ""),
        ("3", "", "0.2", "0.3"),
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.csv"]


def test_rows_of_repeated_steps_are_replaced(tmp_path: Path) -> None:
    _log(tmp_path, (1, {"train/loss": 2.0}), (1, {"val/miou": 0.1}), (2, {"train/loss": 9.0}))
    _log(tmp_path, (1, {"val/miou": 0.2}), (2, {"train/loss": 1.0}))
    assert [(row["step"], row["train/loss"], row["val/miou"]) for row in _rows(tmp_path)] == [
        ("1", "2.0", ""),
        ("1", "", "0.2"),
        ("2", "1.0", ""),
    ]


def test_a_resumed_run_that_logs_nothing_does_not_change_the_file(tmp_path: Path) -> None:
    _log(tmp_path, (0, {"train/loss": 3.0}))
    before = (tmp_path / "metrics.csv").read_bytes()
    logger = MetricsFile(tmp_path)
    logger.log_hyperparams({"lr": 1})
    logger.finalize("success")
    assert (tmp_path / "metrics.csv").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.csv"]


def test_an_unknown_logger_is_reported_with_the_nearest_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"Unknown logger 'wandbb'. Did you mean 'wandb'"):
        build_loggers({"wandbb": {}}, tmp_path, {}, "run")


def test_without_tensorboard_the_error_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = util.find_spec
    monkeypatch.setattr("secseg.utils.errors.find_spec", lambda name: None if name == "tensorboard" else find(name))
    with pytest.raises(UserError, match=r"pip install 'secseg\[tensorboard\]'"):
        build_loggers({"csv": {}, "tensorboard": {}}, tmp_path, {}, "run")


def test_tensorboard_writes_below_the_run_folder_and_gets_the_picture(tmp_path: Path) -> None:
    loggers = build_loggers({"csv": {}, "tensorboard": {}}, tmp_path, {}, "run")
    fit(TinyModule(), tmp_path, loggers=loggers, callbacks=[Pictures()], max_steps=4)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert "pictures/val" in events.Tags()["images"]
    assert "train/seed" in events.Tags()["scalars"]


def test_wandb_online_without_a_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="needs a W&B key"):
        build_loggers({"wandb": {"mode": "online"}}, tmp_path, {}, "run")


@pytest.mark.parametrize("host", ["api.wandb.ai", urlsplit(wandb.Settings().base_url).netloc])
def test_a_key_in_netrc_is_found(tmp_path: Path, host: str) -> None:
    (tmp_path / ".netrc").write_text(f"machine {host} login user password not-a-key\n")
    _, logger = build_loggers({"wandb": {"project": "p"}}, tmp_path, {}, "run")
    assert logger._wandb_init["mode"] is None  # type: ignore[attr-defined]


def test_wandb_works_offline_without_a_key_and_a_resumed_run_keeps_its_id(tmp_path: Path) -> None:
    config = {"wandb": {"project": "secseg", "tags": ["t"], "group": "g", "name": None}}
    runs, logged = [], {}
    for max_steps in (4, 8):
        loggers = build_loggers(config, tmp_path, {"decay": {"pos": 0.996}}, "run a")
        run = loggers[1].experiment  # type: ignore[attr-defined]
        log = run.log
        run.log = lambda values, log=log: (logged.update(values), log(values))
        try:
            last = tmp_path / "checkpoints" / "last.ckpt"
            resume_from = last if last.exists() else None
            pictures = Pictures()
            fit(TinyModule(), tmp_path, resume_from, [pictures], loggers, max_steps=max_steps)
            runs.append((run.id, run.name, run.group, run.tags, run.config["decay"]["pos"], run.offline))
        finally:
            finish_wandb()
        assert wandb.run is None
    assert runs[0] == runs[1] == (runs[0][0], "run a", "g", ("t",), 0.996, True)
    assert runs[0][0] == (tmp_path / "wandb_id.txt").read_text().strip()
    assert len(list((tmp_path / "wandb").glob("offline-run-*"))) == 2

    assert {"pictures/val", "tables/iou", "train/seed", "val/miou"} <= set(logged)
    picture, table = logged["pictures/val"][0], logged["tables/iou"]
    assert sorted(picture._masks) == ["cues", "ground truth", "prediction", "prediction with CRF"]
    assert picture._masks["prediction"]._val["class_labels"] == {0: "background", 1: "cat", 2: "dog", 255: "none"}
    assert table.columns == ["class", "IoU", "IoU with CRF"]
    assert table.data[1] == ["cat", 0.123, 0.456]
    confusion = logged["tables/confusion"]
    assert confusion.columns == ["truth", "prediction", "share", "share with CRF"]
    assert confusion.data[:2] == [["background", "background", 0.75, 0.875], ["background", "cat", 0.25, 0.125]]
    assert len(confusion.data) == 6  # no pixel is a dog


def test_the_wandb_summary_has_the_best_and_last_miou_and_the_last_value_of_other_keys(tmp_path: Path) -> None:
    _, logger = build_loggers({"wandb": {"mode": "offline"}}, tmp_path, {}, "run")
    for step, value in enumerate((0.25, 0.75, 0.5)):
        logger.log_metrics({"val/miou": value, "val/miou_crf": -value, "val/iou/cat": value}, step)
    finish_wandb()
    (file,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    summary = read_wandb_run(file).summary
    assert summary["val/miou"] == {"max": 0.75, "last": 0.5}
    assert summary["val/miou_crf"] == {"max": -0.25, "last": -0.5}
    assert (summary["val/iou/cat"], summary["trainer/global_step"]) == (0.5, 2)


def test_each_run_folder_has_its_own_wandb_id(tmp_path: Path) -> None:
    ids = [build_loggers({"wandb": {}}, tmp_path / name, {}, name)[1].version for name in ("a", "b", "a")]
    assert ids[0] == ids[2] != ids[1]


def test_finish_wandb_marks_a_run_that_an_exception_ends_as_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    codes = []

    class Wandb:
        run = SimpleNamespace(dir="wandb/run/files")

        @staticmethod
        def finish(exit_code: int) -> None:
            codes.append(exit_code)

    monkeypatch.setitem(sys.modules, "wandb", Wandb)
    finish_wandb()
    try:
        try:
            raise ValueError
        finally:
            finish_wandb()
    except ValueError:
        pass
    assert codes == [0, 1]


def _table() -> dict[str, Any]:
    return {"tables/iou": iou_table({"without_crf": {"cat": 0.5}})}


def _warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.fixture
def no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "XDG_DATA_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(wandb_logger, "_own_folders", {})
    monkeypatch.setenv("HOME", "/dev/null")


def test_wandb_keeps_its_files_in_each_run_folder_and_needs_no_home(
    tmp_path: Path, no_home: None, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a", "b"):
        _, logger = build_loggers({"wandb": {"mode": "offline"}}, tmp_path / name, {}, name)
        assert isinstance(logger, WandbRunLogger)
        logger.send(_table)
        finish_wandb()
        assert list((tmp_path / name / "wandb" / "data").rglob("*")), name
        (file,) = tmp_path.glob(f"{name}/wandb/offline-run-*/*.wandb")
        assert "tables/iou" in read_wandb_run(file).summary
    assert not _warnings(caplog)


def test_folders_of_wandb_that_the_user_chose_are_kept(
    tmp_path: Path, no_home: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_DATA_DIR", "/scratch")
    build_loggers({"wandb": {"mode": "offline"}}, tmp_path, {}, "run")
    assert os.environ["WANDB_DATA_DIR"] == "/scratch"
    assert os.environ["WANDB_CACHE_DIR"] == str(tmp_path / "wandb" / "cache")


def test_an_exception_of_wandb_is_a_warning_and_the_next_values_are_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> dict[str, Any]:
        raise PermissionError("Unable to write staging files")

    _, logger = build_loggers({"wandb": {"mode": "offline"}}, tmp_path, {}, "run")
    assert isinstance(logger, WandbRunLogger)
    for step in range(2):
        logger.send(fail)
        logger.log_metrics({"val/miou": 0.5}, step)
    finish_wandb()
    (warning,) = _warnings(caplog)
    assert "W&B could not log some values (PermissionError: Unable to write" in warning
    (file,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    assert len(read_wandb_run(file).history) == 2


@pytest.mark.parametrize("mode", ["offline", "online"])
def test_a_run_continues_if_wandb_cannot_start_unless_the_mode_is_online(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    _, logger = build_loggers({"wandb": {"mode": mode}}, tmp_path, {}, "run")
    monkeypatch.setattr(wandb, "init", lambda **_: (_ for _ in ()).throw(OSError("read-only file system")))
    if mode == "online":
        with pytest.raises(UserError, match="cannot start: OSError: read-only file system"):
            logger.log_metrics({"val/miou": 0.5}, 0)
        return
    logger.log_metrics({"val/miou": 0.5}, 0)
    logger.experiment.define_metric("a")  # type: ignore[attr-defined]
    logger.log_metrics({"val/miou": 0.5}, 1)
    (warning,) = _warnings(caplog)
    assert "The run continues without W&B" in warning
