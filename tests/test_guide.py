"""The guide to own images: its four commands, from a table of labels to masks, on drawn images."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from secseg.cli import evaluate, make_cues, predict, train
from secseg.data.classes import voc_palette
from secseg.data.masks import read_mask, save_mask
from tests.command import run_in_process
from tests.documents import GUIDE, PAGES, commands

COMMANDS = [shlex.split(line) for line in commands(PAGES[GUIDE])]
MAINS = {
    "make_cues.py": make_cues.main,
    "train.py": train.main,
    "predict.py": predict.main,
    "evaluate.py": evaluate.main,
}
# What makes them small; the paths are the guide's own.
SMALL = {
    "make_cues.py": [
        "device=cpu",
        "data.workers=0",
        "cues.share=0.1",
        *(f"localization.foreground.{word}" for word in ("network.input_size=65", "steps=2", "batch_size=2")),
    ],
    "train.py": [
        "data.workers=0",
        "data.batch_size=2",
        "backbone.input_size=65",
        "trainer.max_steps=1",
        "trainer.val_check_interval=1",
        "trainer.accelerator=cpu",
    ],
    "predict.py": ["device=cpu"],
    "evaluate.py": ["device=cpu"],
}


def draw(root: Path, classes: tuple[str, ...], count: int = 6) -> None:
    """Draw a coloured disc a class, each image with its labels and two with masks."""
    rng = np.random.default_rng(0)
    lines = ["image,labels"]
    (root / "images").mkdir(parents=True)
    grid = np.mgrid[:48, :64]
    for number in range(count):
        picture = rng.integers(90, 130, (48, 64, 3)).astype(np.uint8)
        mask = np.zeros((48, 64), np.uint8)
        present = [at for at in range(len(classes)) if (number + at) % 3]
        for at in present:
            disc = (grid[0] - 24) ** 2 + (grid[1] - 16 - 32 * at) ** 2 < 120
            picture[disc], mask[disc] = (230, 40, 200 * at), at + 1
        Image.fromarray(picture).save(root / "images" / f"{number}.png")
        lines.append(f"{number}.png," + ";".join(classes[at] for at in present))
        if number < 2:
            save_mask(mask, root / "masks" / f"{number}.png", voc_palette())
    (root / "labels.csv").write_text("\n".join(lines) + "\n", "utf-8")


@pytest.mark.parametrize("classes", [("cup", "scissors"), ("cup",)], ids=["two classes", "one class"])
def test_the_four_commands_lead_from_labels_to_masks(
    classes: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    draw(tmp_path / "my_data", classes)
    monkeypatch.chdir(tmp_path)
    assert [Path(words[1]).name for words in COMMANDS] == list(SMALL)
    for number, (_, script, *words) in enumerate(COMMANDS):
        name = Path(script).name
        run = tmp_path / "runs" / str(number)
        outcome = run_in_process(MAINS[name], [*words, *SMALL[name]], run, monkeypatch, capsys)
        assert outcome.code == 0, outcome.output[-2000:] + outcome.error[-3000:]
        assert outcome.output.splitlines()[-1].startswith("run: ")
    for number in range(6):
        assert read_mask(tmp_path / "my_masks" / f"{number}.png", len(classes) + 1, (48, 64)).shape == (48, 64)
        assert (tmp_path / "my_masks" / "overlays" / f"{number}.jpg").is_file()
    assert outcome.results is not None
    figures = outcome.results["figures"]
    assert set(figures["with_crf"]["iou"]) == {"background", *classes}
    assert figures["with_crf"]["images"] == 2
