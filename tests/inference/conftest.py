"""A tiny trained run, images, and the command as a function."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from secseg.cli.predict import main
from tests.command import Outcome, run_in_process
from tests.tiny_network import write_run

Predict = Callable[..., Outcome]


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("trained") / "run")


@pytest.fixture
def predict(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Predict:
    """``python src/predict.py`` in ``tmp_path``, in this process; without CRF unless asked for."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)

    def call(*words: str, ckpt: Path = run_folder) -> Outcome:
        run = tmp_path / "run"
        (run / "results.json").unlink(missing_ok=True)
        crf = [] if any(word.startswith("crf") for word in words) else ["crf=off"]
        return run_in_process(main, [f"ckpt={ckpt}", *crf, *words], run, monkeypatch, capsys)

    return call


def draw(path: Path, size: tuple[int, int] = (24, 32), seed: int = 0) -> Path:
    """Save an image of (H, W) ``size``: coloured blocks with noise."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    photo = Image.fromarray(blocks).resize((size[1], size[0]), Image.Resampling.NEAREST)
    path.parent.mkdir(parents=True, exist_ok=True)
    photo.save(path)
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of three images, one of them in a subfolder."""
    folder = tmp_path / "photos"
    for number, name in enumerate(("a.jpg", "b.png", "sub/c.jpg")):
        draw(folder / name, (20 + number, 30), seed=number)
    return folder


def voc_layout(root: Path, ids: tuple[str, ...]) -> Path:
    """Write images of ``ids`` and a list of them, ``test``, in VOC's layout."""
    for number, name in enumerate(ids):
        draw(root / "JPEGImages" / f"{name}.jpg", (20 + number, 31), seed=number)
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "test.txt").write_text("\n".join(ids) + "\n")
    return root


def masks_in(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.png")}
