"""A run over two processes equals the run of one process with twice the batch size."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch

from secseg.data.shapes import draw_shapes
from secseg.evaluation.predictions import read_counts, read_predicted
from secseg.utils.files import COMMAND
from tests.cli.test_cli import TRAIN, run
from tests.training.tiny_run import TINY

TERMS = ("loss", "seed", "expand", "constrain")
SETTINGS = [
    *TINY,
    "backbone.trunk.model=test_convnext",  # without batch normalisation, whose statistics are those of one process
    "backbone.head.dropout=0",
    "optim.optimizer.lr=0.01",
    "loss.expand=0.01",
    "loss.constrain=0.01",  # so that not every pixel is background
    "seed=4",
    "evaluation.crf=always",
    "evaluation.pictures=0",
    "callbacks.curves=null",
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return the folders of a run with one process and batches of 4, and one with two processes and batches of 2."""
    root = tmp_path_factory.mktemp("ddp")
    draw_shapes(root / "shapes", train=6, val=9, seed=0)  # 5 and 4 of these: two batches and one
    for name, words in {
        "one": ["data.draw_val=9", "data.batch_size=4"],
        "two": ["data.draw_val=9", "data.batch_size=2", "trainer=ddp", "trainer.devices=2"],
    }.items():
        result = run(TRAIN, root, *SETTINGS, *words, f"data.root={root}/shapes", f"hydra.run.dir={root}/{name}")
        assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return root / "one", root / "two"


def logged(folder: Path, key: str) -> list[float]:
    with (folder / "metrics.csv").open(newline="") as file:
        return [float(row[key]) for row in csv.DictReader(file) if row[key]]


@pytest.mark.parametrize("term", TERMS)
def test_each_step_has_the_loss_of_the_global_batch(runs: tuple[Path, Path], term: str) -> None:
    one, two = (logged(folder, f"train/{term}") for folder in runs)
    assert len(one) == 4
    assert two == pytest.approx(one, rel=1e-4)


def test_the_weights_are_the_same(runs: tuple[Path, Path]) -> None:
    one, two = (torch.load(folder / "checkpoints" / "last.ckpt")["state_dict"] for folder in runs)
    assert one.keys() == two.keys()
    furthest = max(float((two[name] - tensor).abs().max()) for name, tensor in one.items())
    assert furthest < 1e-4, "AdamW magnifies rounding errors of tiny gradients: a hundredth of one step's 0.01"


def test_each_validation_image_counts_once_if_processes_have_different_numbers_of_them(runs: tuple[Path, Path]) -> None:
    one, two = (read_counts(folder) for folder in runs)
    assert len(two.names) == 9
    assert two.names == one.names
    for variant in ("without_crf", "with_crf"):
        counts = (each.by_variant[variant].toarray() for each in (two, one))
        np.testing.assert_allclose(*counts, atol=9)  # pixels, of 9 images
    assert (one.total("without_crf").sum(0) > 0).sum() > 1, "more than one class is predicted"


def test_the_validations_have_the_same_scores(runs: tuple[Path, Path]) -> None:
    for key in ("val/miou", "val/miou_crf"):
        one, two = (logged(folder, key) for folder in runs)
        assert len(one) == 2
        assert two == pytest.approx(one, abs=1e-3)
    one_losses, two_losses = (json.loads((folder / "results.json").read_text())["losses"] for folder in runs)
    assert two_losses == pytest.approx(one_losses, rel=1e-4)


def test_two_processes_write_the_masks_of_each_image_and_the_command(runs: tuple[Path, Path]) -> None:
    _, two = runs
    names = tuple(f"val_{number:05}" for number in range(9))
    for variant in ("without_crf", "with_crf"):
        assert tuple(read_predicted(two, variant, names)) == names
    assert "trainer=ddp" in (two / COMMAND).read_text()


@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_process_ends_the_run_with_an_error_within_half_a_minute(rank: int, tmp_path: Path) -> None:
    draw_shapes(tmp_path / "shapes", train=6, val=3, seed=0)
    words = [*SETTINGS, "trainer.max_steps=100000", "trainer.val_check_interval=10", "evaluation.crf=never"]
    words += ["trainer=ddp", "trainer.devices=2", f"data.root={tmp_path}/shapes", f"run_dir={tmp_path}/run"]
    first = subprocess.Popen([sys.executable, str(TRAIN), *words], cwd=tmp_path, start_new_session=True)
    while not (tmp_path / "run" / "checkpoints" / "last.ckpt").is_file():
        assert first.poll() is None
        time.sleep(0.1)
    second = next(pid for pid in _session(first.pid) if "LOCAL_RANK=1" in _environment(pid))
    os.kill((first.pid, second)[rank], signal.SIGKILL)
    try:
        assert first.wait(30) != 0
        until = time.monotonic() + 30
        while _session(first.pid) and time.monotonic() < until:
            time.sleep(0.1)
        assert not _session(first.pid), "no process is left behind"
    finally:
        for pid in _session(first.pid):
            os.kill(pid, signal.SIGKILL)


SPOILT = """
import os
import secseg.losses.seed as seed
from secseg.losses import seed_loss
if os.environ.get("LOCAL_RANK", "0") == "{rank}":
    seed.seed_loss = lambda *args, **kwargs: seed_loss(*args, **kwargs) * float("nan")
from secseg.cli.train import main
main()
"""


@pytest.mark.parametrize("rank", [0, 1])
def test_a_loss_that_is_not_finite_in_one_process_ends_all_and_names_its_images(rank: int, tmp_path: Path) -> None:
    draw_shapes(tmp_path / "shapes", train=6, val=3, seed=0)
    script = tmp_path / "spoilt.py"
    script.write_text(SPOILT.format(rank=rank))
    words = [*SETTINGS, "trainer=ddp", "trainer.devices=2", f"data.root={tmp_path}/shapes", f"run_dir={tmp_path}/run"]
    result = run(script, tmp_path, *words)
    assert result.returncode in (1, -signal.SIGKILL), "the launcher may kill processes that have not ended yet"
    said = result.stdout + result.stderr
    assert "The loss is not finite at step 0 (term: seed). The batch's images:" in said
    assert "Traceback" not in said
    assert not list((tmp_path / "run").rglob("*.ckpt"))


def _session(leader: int) -> list[int]:
    """Return the processes of a session that have not ended."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, _, session = status.read_text().rpartition(")")[2].split()[:4]
            if int(session) == leader and state != "Z":
                found.append(int(status.parent.name))
    return found


def _environment(pid: int) -> list[str]:
    with suppress(OSError):
        return Path(f"/proc/{pid}/environ").read_text().split("\0")
    return []
