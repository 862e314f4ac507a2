"""The commands need nothing that Windows and macOS do not have."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import chain
from pathlib import Path

from hydra._internal.utils import get_args_parser

from secseg.cli.command import _allow_lazy_help

REPOSITORY = Path(__file__).resolve().parents[1]
COMMANDS = sorted(path.stem for path in (REPOSITORY / "src").glob("*.py"))
SHAPES = ("data.draw_train=8", "data.draw_val=2", "data.root=shapes", "data.workers=1", "backbone.input_size=65")


def run(folder: Path, *commands: list[str]) -> str:
    """Run commands without POSIX in ``folder`` and return their output."""
    words = chain.from_iterable([*command, ";"] for command in commands)
    paths = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "src")])
    done = subprocess.run(
        [sys.executable, "-m", "tests.without_posix", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": paths, "SECSEG_CACHE": str(folder / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_every_command_shows_its_help_without_posix(tmp_path: Path) -> None:
    shown = run(tmp_path, *([command, "--help"] for command in COMMANDS))
    for command in COMMANDS:
        assert f"python {command}.py [" in shown


def test_python_3_14_accepts_the_help_texts_of_hydra() -> None:
    _allow_lazy_help()
    parser = get_args_parser()
    for action in parser._actions:
        parser._get_formatter()._expand_help(action)  # argparse does this when an argument is added


def test_a_network_is_trained_used_and_scored_without_posix_by_spawned_processes(tmp_path: Path) -> None:
    shown = run(
        tmp_path,
        ["train", "debug=smoke", "crf=off", "trainer.max_steps=2", *SHAPES, "hydra.run.dir=run"],
        ["predict", "ckpt=run", "images=shapes/JPEGImages", "out=masks", "crf=off", "hydra.run.dir=predicted"],
        ["evaluate", "ckpt=run", "crf=off", "hydra.run.dir=evaluated"],
    )
    assert [line for line in shown.splitlines() if line.startswith("run: ")] == [
        f"run: {tmp_path / folder}" for folder in ("run", "predicted", "evaluated")
    ]
    assert "Traceback" not in shown
    assert len(list((tmp_path / "masks").rglob("*.png"))) == 10
