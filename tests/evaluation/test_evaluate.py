"""``src/evaluate.py``: a network or a folder of masks, scored with one recorded protocol."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import secseg
from secseg.cli.evaluate import main
from secseg.data.classes import voc_palette
from secseg.data.images import image_size, read_image
from secseg.data.masks import read_mask, save_mask
from secseg.evaluation.metrics import SegmentationScore
from secseg.inference.predictor import Predictor, Protocol
from secseg.models.files.load import load_network
from tests.command import run_in_process
from tests.inference.conftest import voc_layout
from tests.tiny_network import write_run

IDS = ("one", "two", "three")
Run = Callable[..., tuple[int, str, dict[str, Any] | None]]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three images with masks of blocks, in VOC's layout, and the list ``test``."""
    folder = voc_layout(tmp_path / "VOC2012", IDS)
    rng = np.random.default_rng(0)
    for name in IDS:
        height, width = image_size(folder / "JPEGImages" / f"{name}.jpg")
        mask = (
            rng.choice(np.array([0, 3, 8, 255], np.uint8), (-(-height // 6), -(-width // 6))).repeat(6, 0).repeat(6, 1)
        )
        save_mask(mask[:height, :width], folder / "SegmentationClassAug" / f"{name}.png", voc_palette())
    return folder


@pytest.fixture
def evaluate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)

    def call(*words: str) -> tuple[int, str, dict[str, Any] | None]:
        outcome = run_in_process(main, list(words), tmp_path / "run", monkeypatch, capsys)
        return outcome.code, outcome.output + outcome.error, outcome.results

    return call


def test_a_network_is_scored_like_its_masks(evaluate: Run, root: Path, tmp_path: Path) -> None:
    run = write_run(tmp_path / "trained")
    words = (
        f"ckpt={run}",
        "data=voc12aug",
        f"root={root}",
        "split=test",
        "scored=[background,bicycle,boat]",
        "crf=paper",
    )
    code, said, results = evaluate(*words, "workers=2")
    assert code == 0, said
    assert results is not None
    network = load_network(run)
    score = SegmentationScore(network.class_names, scored=["background", "bicycle", "boat"])
    for name in IDS:
        photo = read_image(root / "JPEGImages" / f"{name}.jpg")
        mask = read_mask(root / "SegmentationClassAug" / f"{name}.png", 21)
        score.update(Predictor(network, Protocol(input_size=65))(photo).masks["without_crf"], mask)
    expected = score.compute()
    assert results["figures"]["without_crf"]["miou"] == expected["miou"]
    assert results["figures"]["without_crf"]["pixel_accuracy"] == expected["pixel_accuracy"]
    assert results["figures"]["with_crf"]["images"] == 3
    protocol = results["protocol"]
    assert (protocol["data"], protocol["split"], protocol["images"]) == ("voc12aug", "test", 3)
    assert protocol["scored"] == ["background", "bicycle", "boat"]
    assert protocol["inference"]["scales"] == [1.0]
    assert protocol["crf"]["backend"] == "lattice"
    assert protocol["checkpoint"]["file"].endswith("last.ckpt")
    assert (protocol["scored_masks"], protocol["tuned_on"]) == ("SegmentationClassAug", None)
    assert protocol["labels_restrict_predictions"] is False
    assert said.strip().splitlines()[-1].startswith("run: ")
    assert "mean of 3" in said
    folder = tmp_path / "run"
    for figure in ("iou", "size_bias", "boundary", "confusion_with_crf", "worst"):
        assert read_image(folder / f"{figure}.png").std() > 0, figure
    with (folder / "metrics.csv").open() as file:
        row = next(csv.DictReader(file))
    assert float(row["test/miou"]) == pytest.approx(expected["miou"])


def test_widths_that_fit_the_objects_score_as_they_predict(evaluate: Run, root: Path, tmp_path: Path) -> None:
    run = write_run(tmp_path / "trained")
    words = (f"ckpt={run}", "data=voc12aug", f"root={root}", "split=test", "inference=multi_scale")
    code, said, results = evaluate(*words, "crf=objects", "crf.test.widths_from=1")
    assert code == 0, said
    assert results is not None
    assert (results["protocol"]["crf"]["widths_from"], results["protocol"]["crf"]["widths_at"]) == (1, None)
    network = secseg.load(run)
    score = SegmentationScore(network.class_names)
    for name in IDS:
        image = root / "JPEGImages" / f"{name}.jpg"
        mask = network.predict(image, crf={"widths_from": 1}, inference={"scales": [0.75, 1, 1.25], "mirror": True})
        score.update(mask, read_mask(root / "SegmentationClassAug" / f"{name}.png", 21))
    assert results["figures"]["with_crf"]["pixel_accuracy"] == score.compute()["pixel_accuracy"]


def test_the_data_of_the_run_are_the_default(evaluate: Run, root: Path, tmp_path: Path) -> None:
    run = write_run(tmp_path / "trained")
    code, said, _ = evaluate(f"ckpt={run}", "crf=off")
    assert code == 1
    assert "does not record its data: give data=" in said
    file = run / "checkpoints" / "last.ckpt"
    checkpoint = torch.load(file)
    module = "secseg.data.voc_module.VOCDataModule"
    checkpoint["secseg"]["config"]["data"] = {"_target_": module, "root": str(root), "val_split": "test", "limit": 2}
    torch.save(checkpoint, file)
    code, said, results = evaluate(f"ckpt={run}", "crf=off", "logger=[csv,wandb]", "logger.wandb.mode=offline")
    assert code == 0, said
    assert list((tmp_path / "run").rglob("*.wandb")), "figures and pictures went to W&B, too"
    assert results is not None
    assert set(results["figures"]) == {"without_crf"}
    assert (results["protocol"]["images"], results["protocol"]["crf"]) == (2, None)


def test_a_folder_of_masks_is_scored_without_a_checkpoint(evaluate: Run, root: Path) -> None:
    truth = root / "SegmentationClassAug"
    code, said, _ = evaluate(f"masks={truth}", "data=voc12aug", f"root={root}", "split=test")
    assert code == 1
    assert "3 with pixels of value 255" in said
    own = root.parent / "predicted"
    for name in IDS:
        mask = read_mask(truth / f"{name}.png", 21)
        save_mask(np.where(mask == 255, 0, mask).astype(np.uint8), own / f"{name}.png", voc_palette())
    code, said, results = evaluate(f"masks={own}", "data=voc12aug", f"root={root}", "split=test")
    assert code == 0, said
    assert results is not None
    assert results["figures"]["without_crf"]["miou"] == 1
    assert results["protocol"]["masks"] == str(own)
    assert results["protocol"]["labels_restrict_predictions"] == "unknown: masks from a folder"
    assert results["warnings"] == []
    assert "†" not in said
    (own / "predict.json").write_text(json.dumps({"settings": {"labels": "a sum"}, "replaces_older": False}))
    words = ("data=voc12aug", f"root={root}", "split=test", "tuned_on=lists/test.txt")
    code, said, results = evaluate(f"masks={own}", *words)
    assert code == 0, said
    assert results is not None
    assert results["protocol"]["labels_restrict_predictions"] is True
    assert results["protocol"]["tuned_on"] == "lists/test.txt"
    assert "voc12aug, test †" in said
    assert "† Settings were chosen on the same split (test), so these figures are too high." in said
    for name in IDS:
        save_mask(np.zeros_like(read_mask(own / f"{name}.png", 21)), own / f"{name}.png", voc_palette())
    code, said, results = evaluate(f"masks={own}", "data=voc12aug", f"root={root}", "split=test")
    assert results is not None
    (line,) = results["warnings"]
    assert line.startswith("All 3 masks show background alone, without a pixel of 2 classes: bird, cat.")
    assert line in said.splitlines()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "Give one of ckpt=<run folder or checkpoint> and masks=<folder of predicted masks>."),
        (["masks=."], "masks= needs the data"),
        (["ckpt=a", "masks=b"], "Give one of ckpt="),
        (["ckpt=.", "data=voc12aug", "workers=0"], "workers=0: give a whole number of at least 1, or null."),
        (["ckpt=.", "data=voc12aug", "root=nowhere"], "There is no data at nowhere"),
        (["ckpt=nowhere"], "ckpt=nowhere: there is no run folder, checkpoint or exported network at this path."),
    ],
)
def test_what_cannot_be_scored_is_reported_in_one_message(evaluate: Run, words: list[str], said: str) -> None:
    code, text, results = evaluate(*words)
    assert code == 1
    assert said in text
    assert "Traceback" not in text
    assert results is None


def test_a_network_with_other_classes_is_refused(evaluate: Run, root: Path, tmp_path: Path) -> None:
    run = write_run(tmp_path / "trained", ("background", "thing"))
    code, said, _ = evaluate(f"ckpt={run}", "data=voc12aug", f"root={root}", "split=test")
    assert code == 1
    assert "has 2 classes (background, thing), the data voc12aug has 21 classes (background, aeroplane" in said
