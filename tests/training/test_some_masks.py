"""Runs with ``data.masks=some``: on the masks that are there, and with SEC on the other images."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from secseg.evaluation.evaluate import evaluate
from secseg.training.run import train
from secseg.utils.config import compose
from secseg.utils.errors import UserError
from tests.folder_data import draw_folder, draw_images, draw_mask, write_cues
from tests.training.tiny_run import TINY, Run, weights

PLAIN = ["evaluation.crf=never", "callbacks.pictures=null", "callbacks.curves=null"]


@pytest.fixture
def run(shapes: Path, tmp_path: Path) -> Run:
    def start(*overrides: str, folder: str) -> dict[str, Any]:
        return train(compose("train", *TINY, *PLAIN, f"data.root={shapes}", f"run_dir={tmp_path / folder}", *overrides))

    return start


def equal(first: dict[str, Any], second: dict[str, Any]) -> bool:
    return all(torch.equal(value, weights(second)[name]) for name, value in weights(first).items())


def test_a_limit_of_zero_masks_is_plain_sec_bit_for_bit(run: Run) -> None:
    plain = run(folder="plain")
    none = run("data.masks=some", "data.mask_limit=0", folder="none")
    some = run("data.masks=some", "data.mask_limit=3", folder="some")
    assert equal(plain, none)
    assert not equal(plain, some)
    assert not [
        line for result in (none, some) for line in result["results"]["warnings"] if "train on their mask" in line
    ]
    for result, used in ((none, 0), (some, 3)):
        protocol = result["results"]["protocol"]
        assert (protocol["training_masks"], protocol["training_masks_used"]) == ("some", used)
        assert (protocol["train_images"], protocol["loss"]["supervised"]) == (6, 1.0)
        assert protocol["cues"] is not None


def test_masks_of_all_images_are_loss_supervised_bit_for_bit(run: Run) -> None:
    masks = run("loss=supervised", "data.masks=dataset", folder="masks")
    some = run("loss=sec", "data.masks=some", folder="some")
    assert equal(masks, some)
    assert some["results"]["protocol"]["training_masks_used"] == 6
    assert any(line.startswith("All 6 training images train on their mask") for line in some["results"]["warnings"])


def test_settings_that_do_not_fit_are_refused(run: Run) -> None:
    with pytest.raises(UserError, match=r"neither seed nor expand"):
        run("loss=supervised", "data.masks=some", folder="a")
    with pytest.raises(
        UserError, match=r"data\.mask_limit=3 limits the masks of data\.masks=some, and data\.masks=None"
    ):
        run("data.mask_limit=3", folder="b")
    with pytest.raises(UserError, match=r"data\.mask_limit=-1: give a whole number of at least 0"):
        run("data.masks=some", "data.mask_limit=-1", folder="c")


LABELS = {"a": (1,), "b": (1, 2), "sub/c": (), "d": (2,), "e": (1,)}


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Five images; all but ``e`` have a mask, and ``d`` is held out."""
    rows = ("a.jpg,cat,train", "b.jpg,cat;dog,train", "sub/c.png,,train", "d.jpg,dog,val", "e.jpg,cat,train")
    root = draw_folder(tmp_path / "own", "\n".join(("image,labels,split", *rows)))
    draw_images(root / "images", [row.partition(",")[0] for row in rows])
    for name, number in (("a", 1), ("b", 2), ("sub/c", 0), ("d", 2)):
        draw_mask(root / "masks" / f"{name}.png", number)
    write_cues(root / "cues.safetensors", LABELS)
    return root


def test_a_folder_trains_on_the_masks_of_training_images_and_is_scored_on_the_others(
    own: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    words = [word for word in TINY if not word.startswith("data.draw")]
    settings = ["data=folder", f"data.root={own}", "data.masks=some", f"run_dir={tmp_path / 'run'}"]
    with caplog.at_level(logging.INFO):
        result = train(compose("train", *words, *PLAIN, *settings))
    assert "3 of 4 training images train on their mask (3 have one)" in caplog.text
    assert result["datamodule"].masked == ("a", "b", "sub/c")
    for number, name in enumerate(result["datamodule"].train_images.names):
        sample = result["datamodule"].train_data[number, False]
        assert sample["masked"].item() == (name != "e")
        assert set(sample["mask"].unique().tolist()) == {"a": {0, 1}, "b": {0, 2}, "sub/c": {0}, "e": {255}}[name]
    assert result["results"]["figures"]["without_crf"] is not None

    caplog.clear()
    with caplog.at_level(logging.INFO):
        scored = evaluate(
            compose("evaluate", f"ckpt={tmp_path / 'run'}", "split=masks", "crf=off", f"run_dir={tmp_path / 'e'}")
        )
    assert scored["protocol"]["images"] == 1
    assert "3 images are not scored: training used their mask." in caplog.text


def test_masks_that_do_not_fit_are_reported_before_training(own: Path, tmp_path: Path) -> None:
    draw_mask(own / "masks" / "a.png", 1, size=(20, 31))
    words = [word for word in TINY if not word.startswith("data.draw")]
    settings = ["data=folder", f"data.root={own}", "data.masks=some", f"run_dir={tmp_path / 'run'}"]
    with pytest.raises(UserError, match=r"1 mask .* cannot be used:\n.*a\.png is 31 x 20 pixels"):
        train(compose("train", *words, *PLAIN, *settings))
