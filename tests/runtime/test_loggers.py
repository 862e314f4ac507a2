from __future__ import annotations

import csv
import json
import subprocess
import sys
from importlib import util
from pathlib import Path

import pytest
from tiny_training import TinyModule, fit

from secseg.callbacks import Pictures
from secseg.errors import UserError
from secseg.runtime import build_loggers, finish_loggers
from secseg.runtime.loggers import MetricsFile


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


def test_metrics_lie_in_the_run_folder_and_a_resumed_run_keeps_the_earlier_rows(tmp_path: Path) -> None:
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


def test_rows_of_steps_that_are_run_again_are_replaced(tmp_path: Path) -> None:
    _log(tmp_path, (1, {"train/loss": 2.0}), (1, {"val/miou": 0.1}), (2, {"train/loss": 9.0}))
    _log(tmp_path, (1, {"val/miou": 0.2}), (2, {"train/loss": 1.0}))
    assert [(row["step"], row["train/loss"], row["val/miou"]) for row in _rows(tmp_path)] == [
        ("1", "2.0", ""),
        ("1", "", "0.2"),
        ("2", "1.0", ""),
    ]


def test_a_resumed_run_that_logs_nothing_leaves_the_file_alone(tmp_path: Path) -> None:
    _log(tmp_path, (0, {"train/loss": 3.0}))
    before = (tmp_path / "metrics.csv").read_bytes()
    logger = MetricsFile(tmp_path)
    logger.log_hyperparams({"lr": 1})
    logger.finalize("success")
    assert (tmp_path / "metrics.csv").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.csv"]


def test_an_unknown_logger_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"Unknown logger 'wandbb'. Did you mean 'wandb'"):
        build_loggers({"wandbb": {}}, tmp_path, {}, "run")


def test_tensorboard_that_is_not_installed_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = util.find_spec
    monkeypatch.setattr("secseg.runtime.loggers.find_spec", lambda name: None if name == "tensorboard" else find(name))
    with pytest.raises(UserError, match=r"pip install 'secseg\[tensorboard\]'"):
        build_loggers({"csv": {}, "tensorboard": {}}, tmp_path, {}, "run")


def test_tensorboard_writes_below_the_run_folder_and_gets_the_picture(tmp_path: Path) -> None:
    loggers = build_loggers({"csv": {}, "tensorboard": {}}, tmp_path, {}, "run")
    fit(TinyModule(), tmp_path, loggers=loggers, callbacks=[Pictures(tmp_path)], max_steps=4)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert "pictures/val" in events.Tags()["images"]
    assert "train/seed" in events.Tags()["scalars"]


def test_wandb_online_without_a_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="needs a W&B key"):
        build_loggers({"wandb": {"mode": "online"}}, tmp_path, {}, "run")


def test_a_key_in_netrc_is_seen(tmp_path: Path) -> None:
    (tmp_path / ".netrc").write_text("machine api.wandb.ai login user password not-a-key\n")
    _, logger = build_loggers({"wandb": {"project": "p"}}, tmp_path, {}, "run")
    assert logger._wandb_init["mode"] is None  # type: ignore[attr-defined]


WANDB_RUN = """
import sys
from pathlib import Path
from tiny_training import TinyModule, fit
from secseg.callbacks import Pictures
from secseg.runtime import build_loggers, finish_loggers
import wandb
logged = {}
folder = Path(sys.argv[1])
ids = []
for run in ("a", "a", "b"):
    path = folder / run
    path.mkdir(exist_ok=True)
    options = {"project": "secseg", "tags": ["t"], "group": "g", "name": None}
    loggers = build_loggers({"csv": {}, "wandb": options}, path, {"decay": {"pos": 0.996}}, f"run {run}")
    experiment = loggers[1].experiment
    log = experiment.log
    experiment.log = lambda values, **kw: (logged.update(values), log(values, **kw))
    try:
        fit(TinyModule(), path, loggers=loggers, callbacks=[Pictures(path)], max_steps=4)
        ids.append((experiment.id, experiment.name, experiment.config["decay"]["pos"], experiment.offline))
    finally:
        finish_loggers()
    assert wandb.run is None
picture = logged["pictures/val"][0]
masks = picture._masks
print("RESULT", [ids, sorted(logged), sorted(masks), logged["tables/iou"].columns, logged["tables/iou"].data[1],
    sorted(masks["prediction"]._val["class_labels"].items())[:3]])
"""


def test_wandb_works_offline_without_a_key_and_each_run_folder_has_its_own_id(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WANDB_RUN, str(tmp_path)],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=120,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PYTHONPATH": ":".join(sys.path)},
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    result = next(line for line in done.stdout.splitlines() if line.startswith("RESULT "))
    ids, names, masks, columns, row, labels = eval(result.removeprefix("RESULT "))
    first, second, other = ids
    assert first == second
    assert first[0] == (tmp_path / "a" / "wandb_id.txt").read_text().strip()
    assert first[1:] == ("run a", 0.996, True)
    assert other[0] != first[0]
    assert {"pictures/val", "tables/iou", "train/seed", "val/miou"} <= set(names)
    assert masks == ["cues", "ground truth", "prediction", "prediction with CRF"]
    assert columns == ["class", "IoU", "IoU with CRF"]
    assert row == ["cat", 0.123, 0.456]
    assert labels == [(0, "background"), (1, "cat"), (2, "dog")]
    assert len(list((tmp_path / "a" / "wandb").glob("offline-run-*"))) == 2


def test_finish_loggers_marks_a_run_that_an_exception_ends_as_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    codes = []

    class Wandb:
        run = object()

        @staticmethod
        def finish(exit_code: int) -> None:
            codes.append(exit_code)

    monkeypatch.setitem(sys.modules, "wandb", Wandb)
    finish_loggers()
    try:
        try:
            raise ValueError
        finally:
            finish_loggers()
    except ValueError:
        pass
    assert json.dumps(codes) == "[0, 1]"
