"""A sweep on Slurm survives a kill, a time limit and a drained node; a refusal names the setting to change."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import pytest

from secseg.data.shapes import draw_shapes
from tests.cli.test_cli import TRAIN
from tests.cluster import slurm
from tests.cluster.conftest import Cluster, wait_for
from tests.conftest import REPOSITORY
from tests.training.tiny_run import QUICK, TINY

LAUNCHER = ["hydra/launcher=slurm", "hydra.launcher.gpus_per_node=0", "hydra.launcher.mem_gb=2"]
LAUNCHER += ["hydra.launcher.cpus_per_task=1", "hydra.launcher.array_parallelism=2"]
LIMIT = ["hydra.launcher.timeout_min=3", "hydra.launcher.signal_delay_s=60"]  # Slurm signals up to a minute early
LIMITED, KILLED, OTHERS = 300, 60, (4, 5, 6, 7)
"""Steps of each job: the first is signalled before its end, and the second can be killed."""
SETTINGS = [*(word for word in TINY if not word.startswith("trainer.max_steps")), *QUICK]
PACE = """
import time
from pathlib import Path
from pytorch_lightning import Callback

class Pace(Callback):
    def on_train_start(self, trainer, module):
        with Path("{folder}/begun").open("a") as file:
            file.write(f"{{trainer.max_steps}} {{trainer.global_step}}\\n")

    def on_train_batch_end(self, *unused):
        time.sleep(0.5)  # a job must last longer than its time limit
"""


def begun(folder: Path) -> dict[int, list[int]]:
    """Return the steps from which each job of a sweep, named by its number of steps, has trained."""
    steps: dict[int, list[int]] = defaultdict(list)
    for line in (folder / "begun").read_text().splitlines():
        job, step = map(int, line.split())
        steps[job].append(step)
    return dict(steps)


def finished(folder: Path) -> dict[str, int]:
    """Return when each finished job has written its results."""
    return {path.parent.name: path.stat().st_mtime_ns for path in folder.glob("runs/sec/*/results.json")}


def test_each_job_of_a_sweep_is_finished_once(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "pace.py").write_text(PACE.format(folder=tmp_path))
    draw_shapes(tmp_path / "shapes", train=6, val=3, seed=0)
    steps = ",".join(map(str, (LIMITED, KILLED, *OTHERS)))
    command = [sys.executable, str(TRAIN), "-m", f"trainer.max_steps={steps}", *SETTINGS, *LAUNCHER, *LIMIT]
    command += [f"data.root={tmp_path}/shapes", "trainer.val_check_interval=20", "plugins=[pace]"]
    command += ["+callbacks.pace={_target_: pace.Pace}"]
    path = f"{REPOSITORY / 'src'}:{tmp_path}"
    environment = {**cluster.environment, "PYTHONPATH": path}
    with (tmp_path / "first.txt").open("w") as file:
        first = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=file, stderr=file)
    try:
        _disturb(cluster, tmp_path, first)
        wait_for(lambda: not cluster.ask("squeue", "--noheader"), "all jobs end", 3600)
        if not cluster.accounting:
            first.send_signal(signal.SIGINT)
        assert first.wait(900) == (1 if cluster.accounting else 130)
    finally:
        first.kill()
    printed = (tmp_path / "first.txt").read_text()
    assert ("was killed" if cluster.accounting else "sacct does not work here") in printed
    assert "Traceback" not in printed
    before = finished(tmp_path)
    assert len(before) == 5
    again = cluster.run(*command, cwd=tmp_path, PYTHONPATH=path)
    assert again.returncode == 0, again.stderr
    assert "runs/sec: 6 of 6 runs are finished." in again.stdout
    after = finished(tmp_path)
    assert {name: after[name] for name in before} == before, "a finished job is not run again"
    jobs = begun(tmp_path)
    print(f"steps from which each job has begun: {jobs}")
    print(cluster.ask("sacct", "--allocations", "--duplicates", "--format=JobID,State,ExitCode,Start,Elapsed"))
    assert [jobs[job] for job in OTHERS] == [[0]] * 4
    killed, limited = jobs[KILLED], jobs[LIMITED]
    assert len(killed) == 2
    assert killed[0] == 0 < killed[1], "it continues from its checkpoint"
    assert len(limited) >= 2, "it was signalled before its time limit, and queued again"
    assert limited == sorted(set(limited)), "each time, it continues from a later step"


def _disturb(cluster: Cluster, folder: Path, sweep: subprocess.Popen[bytes]) -> None:
    """Kill a job after its first checkpoint, while the node is drained: the other jobs wait until it is resumed."""

    def checkpoint() -> bool:
        assert sweep.poll() is None, (folder / "first.txt").read_text()
        return any(folder.glob(f"runs/sec/trainer.max_steps={KILLED}-*/checkpoints/last.ckpt"))

    wait_for(checkpoint, "a checkpoint of the job")
    array = cluster.ask("squeue", "--noheader", "--format=%F").split()[0]
    node = cluster.ask("sinfo", "--noheader", "--format=%n")
    cluster.ask("scontrol", "update", f"NodeName={node}", "State=DRAIN", "Reason=test")
    _kill(cluster, cluster.ask("squeue", "--noheader", "--format=%A", f"--job={array}_1"))
    wait_for(lambda: f"{array}_1\n" not in cluster.ask("squeue", "--noheader", "--format=%i") + "\n", "the job ends")
    time.sleep(10)
    assert set(begun(folder)) <= {LIMITED, KILLED}, "no job starts on a drained node"
    cluster.ask("scontrol", "update", f"NodeName={node}", "State=RESUME")


def _kill(cluster: Cluster, job: str) -> None:
    """Kill the Python process of a job, as a machine without memory does. ``scancel`` would send SIGTERM first."""
    pids = [int(line.split()[0]) for line in cluster.ask("scontrol", "listpids", job).splitlines()[1:]]
    (python,) = (pid for pid in pids if Path(f"/proc/{pid}/comm").read_text().startswith("python"))
    os.kill(python, signal.SIGKILL)


@pytest.mark.parametrize(
    ("words", "setting"),
    [
        ({}, "hydra.launcher.gpus_per_node=0"),
        ({"gpus_per_node": "0", "mem_gb": "900"}, "hydra.launcher.mem_gb"),
        ({"gpus_per_node": "0", "mem_gb": "1", "cpus_per_task": "900"}, "hydra.launcher.cpus_per_task"),
        ({"gpus_per_node": "0", "mem_gb": "1", "timeout_min": "900"}, "hydra.launcher.timeout_min"),
        ({"gpus_per_node": "0", "mem_gb": "1", "partition": "nowhere"}, "hydra.launcher.partition=<name>"),
        ({"gpus_per_node": "0", "mem_gb": "1", "account": "nobody"}, "hydra.launcher.account=<name>"),
    ],
    ids=["gpus", "memory", "cpus", "time", "partition", "account"],
)
def test_a_refusal_names_the_setting(cluster: Cluster, tmp_path: Path, words: dict[str, str], setting: str) -> None:
    if "account" in words and not cluster.accounting:
        pytest.skip(f"accounts need {', '.join(slurm.ACCOUNTING)}")
    given = [f"hydra.launcher.{key}={value}" for key, value in {"timeout_min": "10", **words}.items()]
    result = cluster.run(
        sys.executable,
        str(REPOSITORY / "src" / "train.py"),
        "-m",
        "seed=0,1",
        "hydra/launcher=slurm",
        *given,
        cwd=tmp_path,
    )
    assert result.returncode == 1
    last = result.stderr.splitlines()[-1]
    assert last.startswith("Slurm does not accept the jobs of this sweep.")
    assert setting in last
    assert "Traceback" not in result.stderr
