"""Runs with read-only data, and without a home folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.faults.jobs import JOBS, Job, draw_world

OWN = {"make_cues": ("out=my_cues",), "train": ("data.cues=my_cues/cues.safetensors",)}


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of change of a folder and of all in it: nothing can be written there without changing one."""
    paths = [folder, *folder.rglob("*")]
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in paths}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    world = tmp_path_factory.mktemp("surroundings")
    draw_world(world)
    return world


def start(job: Job, world: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    mine = ("SECSEG_", "XDG_", "MPL", "NUMBA_", "TORCH_HOME", "HF_")
    usual = {key: value for key, value in os.environ.items() if not key.startswith(mine)}
    command = [sys.executable, str(REPOSITORY / "src" / f"{job.name}.py"), *job.words, *OWN.get(job.name, ())]
    return subprocess.run(
        command, cwd=world, env={**usual, "HOME": "/dev/null/home", **environment}, capture_output=True, text=True
    )


def test_a_feature_cache_that_cannot_be_written_is_reported_before_features_are_computed(world: Path) -> None:
    ended = start(JOBS[0], world)
    assert ended.returncode == 1
    assert "The features cannot be written to /dev/null/home/.cache" in ended.stderr
    assert "SECSEG_CACHE" in ended.stderr
    assert "features: image" not in ended.stdout


def test_every_command_works_without_a_home_and_writes_nothing_into_the_data(world: Path) -> None:
    before = snapshot(world / "my_data")
    for job in JOBS:
        compiled = {name: os.environ[name] for name in ("SECSEG_CACHE", "NUMBA_CACHE_DIR")}  # in this session
        ended = start(job, world, **compiled)
        assert ended.returncode == 0, ended.stdout[-2000:] + ended.stderr[-2000:]
        assert snapshot(world / "my_data") == before, job.name
