"""On Slurm, one run is the same however its processes are started: by srun, by torchrun or by Lightning."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from secseg.data.shapes import draw_shapes
from tests.cli.test_cli import TRAIN
from tests.cluster.conftest import Cluster
from tests.training.test_ddp import SETTINGS, logged

QUICK = ["evaluation.crf=never", "callbacks.pictures=null", "data.draw_val=4", "name=run"]
ONE = [*SETTINGS, *QUICK, "data.batch_size=4"]
TWO = [*SETTINGS, *QUICK, "data.batch_size=2", "trainer=ddp", "trainer.devices=2"]
PYTHON = [sys.executable, str(TRAIN)]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone", str(TRAIN)]


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("shapes")
    draw_shapes(root, train=6, val=4, seed=0)
    return root


@pytest.fixture(scope="module")
def alone(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run of one process outside of Slurm, with batches of 4."""
    folder = tmp_path_factory.mktemp("alone")
    words = [*PYTHON, *ONE, f"data.root={shapes}", f"run_dir={folder}/run"]
    result = subprocess.run(words, cwd=folder, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "srun" not in result.stderr, "no advice of Lightning on a machine that has srun"
    return folder / "run"


def furthest(one: Path, two: Path) -> float:
    """Return the largest difference of a weight between two runs."""
    first, second = (torch.load(folder / "checkpoints" / "last.ckpt")["state_dict"] for folder in (one, two))
    assert first.keys() == second.keys()
    return max(float((second[name] - tensor).abs().max()) for name, tensor in first.items())


def train(cluster: Cluster, folder: Path, words: list[str], **variables: str) -> Path:
    """Run a training on the cluster, and return its run folder, which is the only one."""
    result = cluster.run(*words, cwd=folder, **variables)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    assert "srun" not in result.stderr
    (run,) = (folder / "runs" / "run").iterdir()
    assert (run / "results.json").is_file()
    return run


@pytest.mark.parametrize(
    "start", [[], ["salloc", "--ntasks=2"], ["srun", "--ntasks=1"]], ids=["shell", "salloc", "srun"]
)
def test_one_process_trains_as_outside_of_slurm(
    cluster: Cluster, alone: Path, shapes: Path, tmp_path: Path, start: list[str]
) -> None:
    run = train(cluster, tmp_path, [*start, *PYTHON, *ONE, f"data.root={shapes}"])
    assert furthest(alone, run) == 0


@pytest.mark.skipif(shutil.which("script") is None, reason="needs script, which gives a command a terminal")
def test_a_terminal_on_a_node_is_a_shell_like_any_other(
    cluster: Cluster, alone: Path, shapes: Path, tmp_path: Path
) -> None:
    line = shlex.join([*PYTHON, *ONE, f"data.root={shapes}"])
    first = f"if [ $SLURM_PROCID = 0 ]; then {line}; fi"  # a shell without a terminal ends at once
    terminal = shlex.join(["srun", "--pty", "--ntasks=2", "bash", "-c", first])
    run = train(cluster, tmp_path, ["script", "--quiet", "--return", "--command", terminal, "/dev/null"])
    assert furthest(alone, run) == 0


@pytest.mark.parametrize(
    "start",
    [
        ["srun", "--ntasks=2", *PYTHON],
        ["salloc", "--ntasks=2", "srun", *PYTHON],
        ["salloc", "--ntasks=2", *PYTHON],
        TORCHRUN,
        ["salloc", "--ntasks=2", *TORCHRUN],
    ],
    ids=["srun", "srun below salloc", "salloc", "torchrun", "torchrun below salloc"],
)
def test_two_processes_train_as_one(
    cluster: Cluster, alone: Path, shapes: Path, tmp_path: Path, start: list[str]
) -> None:
    run = train(cluster, tmp_path, [*start, *TWO, f"data.root={shapes}"])
    difference = furthest(alone, run)
    print(f"{shlex.join(start[:3])}: the weights differ by {difference:.1e} at most")
    assert difference < 1e-4, "AdamW magnifies rounding errors of tiny gradients: a hundredth of one step's 0.01"
    for term in ("loss", "seed", "expand", "constrain"):
        assert logged(run, f"train/{term}") == pytest.approx(logged(alone, f"train/{term}"), rel=1e-4)
