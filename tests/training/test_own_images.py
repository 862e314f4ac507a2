"""The command line with a user's folder of images: training, prediction and export, without and with masks."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from secseg.cli import evaluate, export, predict, train
from secseg.training import run as training
from secseg.utils.config import compose
from secseg.utils.errors import UserError
from tests.command import Outcome, run_in_process
from tests.folder_data import draw_folder, draw_mask, write_cues
from tests.training.tiny_run import TINY

NAMES = ("background", "Tür = 50 %", "a/b $x$ c", *(f"class {number}" for number in range(30)))
LABELS = {"a": (1,), "b": (1, 2, 32), "sub/c": ()}
SMALL = [*(word for word in TINY if not word.startswith("data.draw")), "data=folder"]
SMALL += ["trainer.max_steps=2", "loss=seed_expand", "crf=off"]
Command = Callable[..., Outcome]


def draw(root: Path) -> Path:
    """Return a folder of 32 classes with arbitrary names. The last class is in one image only."""
    rows = [[name, *(str(int(number in labels)) for number in range(1, len(NAMES)))] for name, labels in LABELS.items()]
    return draw_folder(root, "\n".join(",".join(row) for row in [["image", *NAMES[1:]], *rows]))


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)

    def call(main: Callable[[], None], *words: str, run: str = "run") -> Outcome:
        return run_in_process(main, list(words), tmp_path / run, monkeypatch, capsys)

    return call


def test_a_folder_without_masks_trains_predicts_and_is_exported(command: Command, tmp_path: Path) -> None:
    root = draw(tmp_path / "data")
    write_cues(root / "cues.safetensors", LABELS)
    loggers = ("logger=[csv,wandb]", "logger.wandb.mode=offline")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        outcome = command(train.main, *SMALL, f"data.root={root}", *loggers)
    assert outcome.code == 0, outcome.error
    assert not [str(w.message) for w in caught if "secseg" in w.filename or "ean of empty" in str(w.message)]
    assert "No validation image has a mask" in outcome.output
    run = tmp_path / "run"
    assert outcome.results is not None
    assert outcome.results["figures"] == {"with_crf": None, "without_crf": None}
    assert (outcome.results["protocol"]["val_masks"], outcome.results["protocol"]["labels"]) == (0, "labels.csv")
    assert outcome.results["protocol"]["scored"] == list(NAMES)
    assert "val/" not in (run / "metrics.csv").read_text()
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["last.ckpt"]
    for picture in ("curves.png", "pictures/step_000002.png"):
        with Image.open(run / picture) as image:
            assert image.width > 100

    refused = command(evaluate.main, f"ckpt={run}", "crf=off", run="evaluated")
    assert (refused.code, "data (split val) has no masks to score against" in refused.error) == (1, True)

    masks = command(
        predict.main, f"ckpt={run}", f"images={root}/images", f"labels={root}/labels.csv", "crf=off", run="p"
    )
    assert masks.code == 0, masks.error
    assert sorted(path.relative_to(tmp_path / "p/masks").as_posix() for path in (tmp_path / "p").rglob("*.png")) == [
        "a.png",
        "b.png",
        "sub/c.png",
    ]
    assert Image.open(tmp_path / "p/masks/sub/c.png").getextrema() == (0, 0), "its labels have no foreground class"

    exported = command(export.main, f"ckpt={run}", "out=model", run="x")
    assert exported.code == 0, exported.error
    card = (tmp_path / "model" / "README.md").read_text("utf-8")
    assert ", ".join(NAMES) in card
    assert "No figure was measured: no validation image had a mask." in card


def test_a_folder_of_one_class_is_scored_on_the_images_that_have_masks(command: Command, tmp_path: Path) -> None:
    root = draw_folder(tmp_path / "data", "image,Tür = 50 %\na.jpg,1\nb.jpg,1\nsub/c.png,0\n")
    write_cues(root / "cues.safetensors", {"a": (1,), "b": (1,), "sub/c": ()})
    draw_mask(root / "masks" / "a.png", 1)
    words = (*SMALL, f"data.root={root}", "data.val_split=all")
    outcome = command(train.main, *words, 'data.scored=["Tür = 50 %"]')
    assert outcome.code == 0, outcome.error
    assert outcome.results is not None
    figures = outcome.results["figures"]["without_crf"]
    assert set(figures["iou"]) == {"background", "Tür = 50 %"}
    assert figures["miou"] == figures["iou"]["Tür = 50 %"]
    assert (outcome.results["protocol"]["val_images"], outcome.results["protocol"]["val_masks"]) == (3, 1)
    assert (tmp_path / "run" / "checkpoints" / "best.ckpt").is_file()

    scored = command(evaluate.main, f"ckpt={tmp_path / 'run'}", "crf=off", run="evaluated")
    assert scored.code == 0, scored.error
    assert scored.results is not None
    assert (scored.results["figures"]["without_crf"]["images"], scored.results["protocol"]["images"]) == (1, 1)
    assert scored.results["figures"]["without_crf"]["pixel_accuracy"] == pytest.approx(figures["pixel_accuracy"])
    assert "1 of 3 images have a mask and are scored" in scored.output


def test_without_cues_the_error_names_the_command_that_makes_them(command: Command, tmp_path: Path) -> None:
    root = draw(tmp_path / "data")
    outcome = command(train.main, *SMALL, f"data.root={root}")
    assert outcome.code == 1
    assert f"make_cues.py data=folder data.root={root} out={root}" in outcome.error
    assert not (tmp_path / "run").exists(), "the error comes before anything is written"


@pytest.mark.parametrize(("experiment", "fast"), [("own_images", False), ("own_images_fast", True)])
def test_missing_cues_are_suggested_from_networks_that_fit_the_experiment(
    experiment: str, fast: bool, tmp_path: Path
) -> None:
    root = draw(tmp_path / "data")
    with pytest.raises(UserError, match="No cue file was found") as error:
        training.train(compose("train", f"experiment={experiment}", f"data.root={root}", f"run_dir={tmp_path / 'run'}"))
    assert ("localization=efficientnet_lite0_fast`" in str(error.value)) == fast
