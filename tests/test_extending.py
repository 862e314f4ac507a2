"""docs/extending.md, executed as written: its files form a package, and its commands run with the package's classes."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from secseg.cli import evaluate, export, predict, train
from secseg.data.classes import voc_palette
from secseg.data.masks import save_mask
from secseg.data.shapes import draw_shapes
from tests.command import Outcome, run_in_process
from tests.conftest import REPOSITORY
from tests.documents import EXTENDING, PAGES, commands

TEXT = PAGES[EXTENDING]
COMMANDS = [command for command in commands(TEXT) if not command.startswith("export ")]
ROWS = dict(re.findall(r"^\| ([^|]+?) \| `[^`]+` \| `(.+?)` \|$", TEXT, re.MULTILINE))
# What makes the commands small, by the file of the command.
SMALL = {
    "train.py": [
        *("data.batch_size=2", "data.workers=0", "data.limit=2", "trainer.max_steps=1", "trainer.val_check_interval=1"),
        *("trainer.accelerator=cpu", "evaluation.crf=never", "evaluation.pictures=0", "backbone.input_size=65"),
    ],
    "make_cues.py": [
        *("data.workers=0", "device=cpu"),
        *(f"localization.foreground.{word}" for word in ("network.input_size=65", "steps=1", "batch_size=1")),
    ],
    "evaluate.py": ["crf=off", "device=cpu"],
    "predict.py": ["crf=off", "device=cpu"],
    "export.py": [],
    "report.py": [],
}
# One class of each kind of the page's table.
PARTS = """
import torch
from pytorch_lightning import Callback
from torch import nn
from secseg.crf import CRF
from secseg.losses import Pooling
from secseg.models import Head
from secseg.models.trunk import concat_levels

class MyHead(Head):
    def __init__(self, in_channels, num_classes):
        super().__init__()
        self.classifier = nn.Conv2d(in_channels, num_classes, 1)

    def forward(self, *levels):
        return self.classifier(concat_levels(levels))

class MyPooling(Pooling):
    def __call__(self, scores, decay):
        return scores.mean(-1)

class MyCRF(CRF):
    def __init__(self, params, gradient):
        pass

    def __call__(self, logits, images):
        return logits.softmax(1)

class MyCallback(Callback):
    def on_train_start(self, trainer, pl_module):
        print("the callback was called", type(pl_module.network.head).__name__)

class MyOptimizer(torch.optim.SGD):
    pass
"""


def write_package(folder: Path) -> Path:
    """Write the files of the page, each block that starts with its path."""
    for block in re.findall(r"```(?:python|yaml)\n(.*?)```", TEXT, re.DOTALL):
        if named := re.match(r"(?:# @package _global_\n)?# (my_package/[\w/.]+)", block):
            (folder / named[1]).parent.mkdir(parents=True, exist_ok=True)
            (folder / named[1]).write_text(block)
    package = folder / "my_package"
    (package / "__init__.py").touch()
    (package / "conf" / "__init__.py").touch()
    (package / "parts.py").write_text(PARTS)
    return package


def draw_pairs(root: Path) -> None:
    for split in ("train", "val"):
        (root / split).mkdir(parents=True)
        for number in (1, 2):
            Image.new("RGB", (40, 30), (90 * number, 60, 0)).save(root / split / f"{number}.jpg")
            save_mask(np.full((30, 40), number, np.uint8), root / split / f"{number}.png", voc_palette())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("extending")
    write_package(folder)
    draw_pairs(folder / "path/to/pairs")
    draw_shapes(folder / "data/shapes", train=2, val=2, seed=0)
    (folder / "path/to/photos").mkdir()
    Image.new("RGB", (40, 30)).save(folder / "path/to/photos/a.jpg")
    return folder


def small(command: str) -> list[str]:
    """Return the name and the words of a command of the page, on little data."""
    python, script, *words = shlex.split(command)
    assert python == "python"
    name = Path(script).stem
    drawn = "data=pairs" not in words and "experiment=mine" not in words and name in ("train", "make_cues")
    return [name, *words, *SMALL[Path(script).name], *(["data.draw_train=2", "data.draw_val=2"] if drawn else [])]


def run(words: list[str], folder: Path) -> str:
    """Run a Python with the package on the path, as on the page, and return what it prints."""
    path = os.pathsep.join([str(folder), str(REPOSITORY / "src"), str(REPOSITORY)])
    result = subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert result.returncode == 0, f"{result.stdout[-3000:]}{result.stderr[-3000:]}"
    return result.stdout


def test_the_commands_of_the_page_run_with_the_package_one_after_the_other(folder: Path) -> None:
    words = [word for command in COMMANDS for word in (*small(command), ";")]
    printed = run(["-m", "tests.one_process", *words], folder)
    assert len(re.findall("^run: ", printed, re.MULTILINE)) >= len(COMMANDS), "jobs of a sweep print one, too"
    runs = folder / "runs"
    (results,) = runs.glob("small/results.json")
    assert json.loads(results.read_text())["protocol"]["backbone"] == "small"
    entropy = [
        path for path in runs.glob("*/*/results.json") if "entropy" in json.loads(path.read_text()).get("losses", ())
    ]
    assert len(entropy) == 5, "with +loss.entropy, loss=entropy, two jobs of the sweep, and the experiment"
    assert (folder / "masks" / "a.png").is_file()
    assert (
        "secseg.load(\"path/to/this/folder\", plugins=['my_package'])"
        in (folder / "models/small/README.md").read_text()
    )
    code = re.findall(r"```python\n(import secseg.*?)```", TEXT, re.DOTALL)[0]
    printed = run(["-c", f"{code}\nprint(type(network.trunk))"], folder)
    assert "my_package.trunks.SmallTrunk" in printed


def test_a_command_that_reads_a_network_refuses_a_package_that_it_does_not_name(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    mains = {"train": train.main, "export": export.main, "evaluate": evaluate.main, "predict": predict.main}

    def start(command: str) -> Outcome:
        name, *words = small(command)
        words = [word.replace("runs/small", "runs/refused").replace("models/", "refused/") for word in words]
        return run_in_process(mains[name], words, folder / "runs" / "any", monkeypatch, capsys)

    (make,) = [command for command in COMMANDS if "run_dir=runs/small" in command]
    readers = [command for command in COMMANDS if re.search(r"(evaluate|predict|export)\.py", command)]
    for command in (make, readers[-1]):
        outcome = start(command)
        assert outcome.code == 0, outcome.error
    assert "plugins:\n- my_package" in (folder / "runs/refused/config.yaml").read_text(), "this list must not count"
    assert len(readers) == 3
    for command in [*readers, readers[1].replace("ckpt=runs/small", "ckpt=refused/small")]:
        outcome = start(command.replace("plugins=[my_package] ", "").replace("out=", "out=other_"))
        assert outcome.code == 1, command
        assert "If you trust the code of my_package, give plugins=[my_package]." in outcome.error
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_package"]:
        del sys.modules[name]


def test_each_other_part_of_the_table_is_taken_by_the_words_in_its_line(folder: Path) -> None:
    assert list(ROWS) == ["head", "pooling (expand)", "CRF in training", "callback", "optimizer"]
    words = shlex.split(" ".join(ROWS.values()))
    command = shlex.join(["python", "src/train.py", "plugins=[my_package]", *words])
    assert "the callback was called MyHead" in run(["-m", "tests.one_process", *small(command)], folder)
