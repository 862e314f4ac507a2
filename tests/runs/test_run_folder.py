from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
import torch

from secseg.runs.run_folder import RunFolder, open_run_folder
from secseg.utils.errors import UserError


def _checkpoint(run: Path, name: str = "last.ckpt", time: int = 1_000_000) -> Path:
    path = run / "checkpoints" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"state_dict": {"w": torch.rand(1000)}, "optimizer_states": [], "loops": {}}, path)
    os.utime(path, (time, time))
    return path


def _hydra_folder(run: Path) -> Path:
    (run / ".hydra").mkdir(parents=True)
    (run / ".hydra" / "config.yaml").touch()
    (run / "train.log").touch()
    return run


def test_a_new_run_gets_its_folder_even_if_hydra_has_created_it(tmp_path: Path) -> None:
    for run in (tmp_path / "runs" / "sec" / "1", _hydra_folder(tmp_path / "runs" / "sec" / "2")):
        folder = open_run_folder(run, "sec")
        assert folder.path == run
        assert run.is_dir()
        assert folder.resume_from is None


@pytest.mark.parametrize("resume", ["never", "auto"])
def test_a_run_folder_that_is_not_empty_is_refused_with_a_remedy(resume: str, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UserError, match=r"(?s)exists and is not empty.*notes\.txt.*resume=auto"):
        open_run_folder(tmp_path, "sec", resume)  # type: ignore[arg-type]


def test_resume_auto_starts_a_new_run_in_a_folder_that_has_no_checkpoint_yet(
    tmp_path: Path,
) -> None:
    (tmp_path / "config.yaml").touch()
    assert open_run_folder(tmp_path, "sec", "auto") == RunFolder(tmp_path)
    (tmp_path / "results.json").touch()
    with pytest.raises(UserError, match="not empty"):  # a finished run, whose checkpoints were removed
        open_run_folder(tmp_path, "sec", "auto")


def test_a_run_folder_with_checkpoints_is_refused_without_resume(tmp_path: Path) -> None:
    _checkpoint(tmp_path)
    with pytest.raises(UserError, match="not empty"):
        open_run_folder(tmp_path, "sec")


def test_a_run_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").touch()
    with pytest.raises(UserError, match="is a file"):
        open_run_folder(tmp_path / "run", "sec")


def test_resume_auto_continues_the_newest_run_of_the_name_and_removes_the_fresh_folder(tmp_path: Path) -> None:
    runs = tmp_path / "runs" / "sec"
    _checkpoint(runs / "a", time=100)
    newest = _checkpoint(runs / "b", time=300)
    _checkpoint(runs / "c", time=200)
    (runs / "d").mkdir()  # a run that ended before its first checkpoint
    _checkpoint(tmp_path / "runs" / "other" / "a", time=400)
    fresh = _hydra_folder(runs / "e")
    folder = open_run_folder(fresh, "sec", "auto")
    assert folder.path == runs / "b"
    assert folder.resume_from == newest
    assert not fresh.exists()


def test_resume_auto_continues_the_given_folder_before_its_neighbours(tmp_path: Path) -> None:
    runs = tmp_path / "runs" / "sec"
    mine = _checkpoint(runs / "a", time=100)
    _checkpoint(runs / "b", time=300)
    assert open_run_folder(runs / "a", "sec", "auto").resume_from == mine


def test_resume_auto_ignores_the_neighbours_of_a_folder_without_the_name_of_the_run(tmp_path: Path) -> None:
    _checkpoint(tmp_path / "jobs" / "1")
    assert open_run_folder(tmp_path / "jobs" / "2", "sec", "auto").resume_from is None


def test_resume_auto_logs_that_a_new_run_starts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "secseg"):
        folder = open_run_folder(tmp_path / "runs" / "sec" / "1", "sec", "auto")
    assert folder.path.is_dir()
    assert folder.resume_from is None
    assert "A new run starts." in caplog.text


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def _flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _lengthen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"more")


@pytest.mark.parametrize("damage", [_truncate, _flip_a_byte, _lengthen, lambda path: path.write_bytes(b"")])
def test_the_checkpoint_before_a_damaged_one_is_used(damage, tmp_path, caplog) -> None:  # type: ignore[no-untyped-def]
    run = tmp_path / "runs" / "sec" / "a"
    damage(_checkpoint(run))
    best = _checkpoint(run, "best.ckpt")
    assert open_run_folder(tmp_path / "runs" / "sec" / "b", "sec", "auto").resume_from == best
    assert "last.ckpt" in caplog.text
    damage(best)
    with pytest.raises(UserError, match=r"(?s)last\.ckpt.*best\.ckpt.*start a new run with resume=never"):
        open_run_folder(tmp_path / "runs" / "sec" / "b", "sec", "auto")


def test_the_last_good_checkpoint_is_preferred_to_that_of_a_crash(tmp_path: Path) -> None:
    crash = _checkpoint(tmp_path, "exception.ckpt", time=300)
    assert open_run_folder(tmp_path, "sec", "auto").resume_from == crash
    last = _checkpoint(tmp_path, "last.ckpt", time=200)
    assert open_run_folder(tmp_path, "sec", "auto").resume_from == last
