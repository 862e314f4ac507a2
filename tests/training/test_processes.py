"""Processes that Slurm or torchrun has started have one run folder, and none waits for processes that nobody starts."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from pytorch_lightning.plugins.environments import LightningEnvironment

from secseg.data.shapes import draw_shapes
from secseg.runs.run_folder import RunFolder
from secseg.training import processes
from secseg.training.processes import SlurmTasks, cluster_environment, leave_own_folder, shared_run_folder
from secseg.utils.errors import UserError
from tests.cli.test_cli import TRAIN
from tests.training.tiny_run import QUICK, TINY

ONE: dict[str, Any] = {"accelerator": "cpu", "devices": 1, "num_nodes": 1}
TWO = {**ONE, "devices": 2}
# As Slurm 22.05 sets them.
SHELL = {"SLURM_JOB_ID": "4711", "SLURM_JOB_NAME": "interactive", "SLURM_NTASKS": "2", "SLURM_NNODES": "1"}
BATCH = {**SHELL, "SLURM_JOB_NAME": "job.sh", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"}
TASK = {**BATCH, "SLURM_JOB_NAME": "interactive", "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "2"}


@pytest.fixture(autouse=True)
def _no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*os.environ]:
        if name.startswith(("SLURM_", "TORCHELASTIC_", "MASTER_")) or name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):
            monkeypatch.delenv(name)


def environment(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], trainer: dict[str, Any]) -> Any:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return cluster_environment(trainer)


@pytest.mark.parametrize(
    ("variables", "trainer", "kind"),
    [
        ({}, ONE, LightningEnvironment),
        ({}, TWO, LightningEnvironment),
        (SHELL, ONE, LightningEnvironment),
        (SHELL, TWO, LightningEnvironment),
        (SHELL, {**ONE, "devices": "auto"}, LightningEnvironment),
        (BATCH, ONE, LightningEnvironment),
        (BATCH, TWO, SlurmTasks),
        (TASK, TWO, SlurmTasks),
        (TASK, {**ONE, "devices": [0, 1]}, SlurmTasks),
        ({**TASK, "SLURM_PROCID": "1"}, TWO, SlurmTasks),
        ({**TASK, "SLURM_NTASKS": "1"}, ONE, LightningEnvironment),
        ({**TASK, "SLURM_NTASKS": "1"}, TWO, LightningEnvironment),
        ({**BATCH, "LOCAL_RANK": "1"}, TWO, LightningEnvironment),
        ({**TASK, "TORCHELASTIC_RUN_ID": "x"}, TWO, type(None)),
    ],
)
def test_only_tasks_of_srun_are_processes_of_slurm(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], trainer: dict[str, Any], kind: type
) -> None:
    assert type(environment(monkeypatch, variables, trainer)) is kind


def test_a_shell_of_srun_with_a_terminal_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = {**TASK, "SLURM_PTY_PORT": "36983"}
    assert isinstance(environment(monkeypatch, terminal, TWO), SlurmTasks), "srun inside that shell"
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    for trainer in (ONE, TWO):
        assert isinstance(cluster_environment(trainer), LightningEnvironment)


@pytest.mark.parametrize("trainer", [ONE, {**TWO, "devices": 3}, {**TWO, "num_nodes": 2}])
def test_settings_for_another_number_of_processes_are_refused(
    monkeypatch: pytest.MonkeyPatch, trainer: dict[str, Any]
) -> None:
    with pytest.raises(UserError, match=r"SLURM_NTASKS=2.*trainer=ddp trainer\.devices=2.*srun --ntasks=1"):
        environment(monkeypatch, TASK, trainer)


def test_several_machines_without_srun_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"SLURM_STEP_ID is not set.*srun --nodes=2 --ntasks-per-node=2"):
        environment(monkeypatch, SHELL, {**TWO, "num_nodes": 2})


def group(rank: int, port: int, size: int = 2, seconds: float = 20.0, job: str = "1.0") -> processes.Group:
    return processes.Group(rank, size, "127.0.0.1", port, job, seconds, "SLURM_NTASKS")


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_the_folder_of_the_first_process_is_that_of_all(port: int) -> None:
    choice = {"path": "/runs/a b", "resume_from": "/runs/a b/last.ckpt"}
    found: list[RunFolder] = []

    def ask(rank: int) -> None:
        found.append(processes._ask(group(rank, port, 3)))

    others = [threading.Thread(target=ask, args=(rank,)) for rank in (1, 2)]
    for thread in others:
        thread.start()
    time.sleep(0.3)  # they ask before the first process listens
    first = threading.Thread(target=processes._answer, args=(group(0, port, 3), choice))
    first.start()
    for thread in (*others, first):
        thread.join(20)
    assert found == [RunFolder(Path("/runs/a b"), Path("/runs/a b/last.ckpt"))] * 2


def test_an_error_of_the_first_process_is_raised_in_all(port: int) -> None:
    answer = threading.Thread(target=processes._answer, args=(group(0, port), {"error": "The folder is not empty."}))
    answer.start()
    with pytest.raises(UserError, match="The folder is not empty"):
        processes._ask(group(1, port))
    answer.join()


def test_a_process_does_not_take_the_folder_of_another_job(port: int) -> None:
    def serve() -> None:
        with pytest.raises(UserError):
            processes._answer(group(0, port, 2, 2.0, "2.0"), {"path": "/other"})

    answer = threading.Thread(target=serve)
    answer.start()
    with pytest.raises(UserError, match=r"did not answer at 127\.0\.0\.1"):
        processes._ask(group(1, port, 2, 1.0))
    answer.join()


def test_strangers_who_connect_are_ignored(port: int) -> None:
    first = threading.Thread(target=processes._answer, args=(group(0, port), {"path": "/a", "resume_from": None}))
    first.start()
    for words in (b"GET / HTTP/1.1", b"[]", b"{}", b""):
        with socket.socket() as stranger:
            while stranger.connect_ex(("127.0.0.1", port)):
                time.sleep(0.1)
            stranger.sendall(words)
    assert processes._ask(group(1, port)) == RunFolder(Path("/a"))
    first.join()


def test_a_process_that_waits_in_vain_says_what_to_type(port: int) -> None:
    with pytest.raises(UserError, match=r"SLURM_NTASKS=2, but only 1 of 2.*srun before python.*unset SLURM_NTASKS"):
        processes._answer(group(0, port, 2, 0.1), {"path": "/runs/a"})


def test_only_an_empty_folder_of_another_run_is_removed(tmp_path: Path) -> None:
    for name in ("own", "full", "run"):
        (tmp_path / name).mkdir()
    (tmp_path / "full" / "results.json").touch()
    for name in ("own", "full", "run"):
        leave_own_folder(tmp_path / name, RunFolder(tmp_path / "run"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full", "run"]


def test_one_process_opens_its_folder_itself(tmp_path: Path) -> None:
    assert shared_run_folder(ONE, lambda: RunFolder(tmp_path)) == RunFolder(tmp_path)


def test_two_tasks_of_srun_train_in_one_folder(tmp_path: Path, port: int) -> None:
    draw_shapes(tmp_path / "shapes", train=4, val=2, seed=0)
    words = [*TINY, *QUICK, "data.draw_train=4", "data.draw_val=2", "trainer.max_steps=2", "trainer=ddp"]
    words += [f"data.root={tmp_path}/shapes", "trainer.devices=2", "name=both"]
    tasks = []
    for rank in ("0", "1"):
        variables = {**TASK, "SLURM_PROCID": rank, "SLURM_LOCALID": rank, "SLURM_NODELIST": "localhost"}
        own = {**os.environ, **variables, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        command = [sys.executable, str(TRAIN), *words]
        tasks.append(subprocess.Popen(command, env=own, cwd=tmp_path, text=True, stdout=-1, stderr=-2))
        time.sleep(1.1)  # the names of their own folders differ
    printed = [task.communicate(timeout=120)[0] for task in tasks]
    assert [task.returncode for task in tasks] == [0, 0], printed
    (folder,) = (tmp_path / "runs" / "both").iterdir()
    assert (folder / "results.json").is_file()
    assert f"run: {folder}" in printed[0]
    assert "run: " not in printed[1]
