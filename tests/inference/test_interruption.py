"""Runs that are killed, stopped, or fill the disk are continued: each mask is made once, whole, and the same."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from secseg.inference import predictor as inference
from secseg.inference.predictor import Predictor
from tests.conftest import REPOSITORY
from tests.inference.conftest import Predict, draw, masks_in


def wait_for(count: int, folder: Path, process: subprocess.Popen[Any]) -> None:
    while len(list(folder.glob("[0-9]*.png"))) < count:
        assert process.poll() is None, "it ended before it was killed"
        time.sleep(0.001)


def test_a_killed_run_continues_and_gives_the_masks_of_an_uninterrupted_run(
    predict: Predict, tmp_path: Path, run_folder: Path
) -> None:
    count = 30
    for number in range(count):
        draw(tmp_path / "photos" / f"{number:02}.png", (60, 80), seed=number)
    masks = tmp_path / "m"
    words = [f"ckpt={run_folder}", "images=photos", "out=m", "crf=off", "workers=2"]
    process = subprocess.Popen(
        [sys.executable, str(REPOSITORY / "src" / "predict.py"), *words],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    wait_for(3, masks, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    half = (masks / ".03.abcdefgh.png", tmp_path / "run" / ".config.abcdefgh.yaml")  # what a killed write leaves
    for path in half:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"half")
    made = {path: path.stat().st_mtime_ns for path in masks.glob("[0-9]*.png")}
    assert 3 <= len(made) < count
    for path in made:
        with Image.open(path) as image:
            image.load()  # whole
    outcome = predict("images=photos", "out=m")
    assert outcome.code == 0, outcome.error
    assert outcome.results is not None
    assert (outcome.results["kept"], outcome.results["made"]) == (len(made), count - len(made))
    assert not any(path.exists() for path in half)
    assert all(path.stat().st_mtime_ns == when for path, when in made.items()), "what was there is kept"
    predict("images=photos", "out=whole")
    assert masks_in(masks) == masks_in(tmp_path / "whole")
    assert len(masks_in(masks)) == count


@pytest.fixture
def _obeyed_ctrl_c() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_obeyed_ctrl_c")
def test_ctrl_c_keeps_the_masks_and_prints_how_to_continue(
    predict: Predict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(12):
        draw(tmp_path / "photos" / f"{number:02}.png", seed=number)
    seen = []

    class Stopped(Predictor):
        def __call__(self, *arguments: Any) -> Any:
            seen.append(arguments)
            if len(seen) == 4:
                os.kill(os.getpid(), signal.SIGINT)
            return super().__call__(*arguments)

    monkeypatch.setattr(inference, "Predictor", Stopped)
    outcome = predict("images=photos", "out=m", "workers=1")
    assert outcome.code == 130
    assert outcome.error.endswith("Interrupted.\n")
    there = len(masks_in(tmp_path / "m"))
    assert 3 <= there < 12
    assert f"Stopped: {there} of 12 masks are in m. To continue, give the same command with out=m." in outcome.output
    assert not list((tmp_path / "m").glob(".*.png"))
    monkeypatch.setattr(inference, "Predictor", Predictor)
    outcome = predict("images=photos", "out=m")
    assert outcome.results is not None
    assert (outcome.code, outcome.results["kept"], outcome.results["made"]) == (0, there, 12 - there)


def test_a_full_disk_stops_the_run_and_loses_no_mask(
    predict: Predict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(6):
        draw(tmp_path / "photos" / f"{number}.png", seed=number)
    real_save = Image.Image.save

    def save(image: Image.Image, path: Path, **options: Any) -> None:
        if ".3." in Path(path).name:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        real_save(image, path, **options)

    monkeypatch.setattr(Image.Image, "save", save)
    outcome = predict("images=photos", "out=m", "workers=1")
    assert outcome.code == 1
    assert "No space left on device. Free some space" in outcome.error
    assert len(outcome.error.splitlines()) == 1
    assert {"0.png", "1.png", "2.png"} <= set(masks_in(tmp_path / "m"))
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert predict("images=photos", "out=m").code == 0
    assert len(masks_in(tmp_path / "m")) == 6


def test_an_error_that_is_not_the_images_fault_is_reported_with_its_kind(
    predict: Predict, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(Predictor):
        def __call__(self, photo: Any, allowed: Any = None) -> Any:
            if photo.shape[0] == 21:
                raise RuntimeError("not enough memory")
            return super().__call__(photo, allowed)

    monkeypatch.setattr(inference, "Predictor", Broken)
    outcome = predict("images=photos", "out=m")
    assert outcome.code == 1
    assert "b.png: RuntimeError: not enough memory" in outcome.error
    assert set(masks_in(tmp_path / "m")) == {"a.png", "sub/c.png"}


def test_overwriting_makes_every_mask_again_with_the_new_settings(
    predict: Predict, photos: Path, tmp_path: Path
) -> None:
    predict("images=photos", "out=m")
    before = masks_in(tmp_path / "m")
    wider = ("images=photos", "out=m", "inference=multi_scale")
    refused = predict(*wider)
    assert refused.code == 1
    assert "inference.scales: [1.0] -> [0.75, 1.0, 1.25]" in refused.error
    assert masks_in(tmp_path / "m") == before
    outcome = predict(*wider, "overwrite=true")
    assert outcome.results is not None
    assert (outcome.code, outcome.results["made"], outcome.results["kept"]) == (0, 3, 0)
    after = masks_in(tmp_path / "m")
    assert after.keys() == before.keys()
    assert after != before
    outcome = predict(*wider)
    assert outcome.results is not None
    assert (outcome.results["made"], outcome.results["kept"]) == (0, 3)
    assert masks_in(tmp_path / "m") == after
