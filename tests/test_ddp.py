"""One run over two processes is the run of one process with twice the batch."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from secseg.data.shapes import draw_shapes
from secseg.evaluation.predictions import COUNTS
from tests.test_cli import TRAIN, run
from tests.test_training import TINY

TERMS = ("loss", "seed", "expand", "constrain")
SETTINGS = [
    *TINY,
    "backbone.trunk.model=test_convnext",  # without batch normalisation, whose figures are those of one process
    "backbone.head.dropout=0",
    "optim.optimizer.lr=0.01",
    "loss.expand=0.01",
    "loss.constrain=0.01",  # so that not all is background
    "evaluation.crf=always",
    "evaluation.pictures=0",
    "callbacks.curves=null",
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folders of a run of one process with batches of 4, and of one of two processes with batches of 2."""
    root = tmp_path_factory.mktemp("ddp")
    draw_shapes(root / "shapes", train=6, val=3, seed=0)
    for name, words in {
        "one": ["data.batch_size=4"],
        "two": ["data.batch_size=2", "trainer=ddp", "trainer.devices=2"],
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
    assert furthest < 1e-4, "AdamW magnifies rounding where gradients are tiny: a hundredth of one step's 0.01"


def test_an_odd_number_of_validation_images_is_counted_once_each(runs: tuple[Path, Path]) -> None:
    def counts(folder: Path) -> dict[str, np.ndarray]:
        with np.load(folder / COUNTS) as arrays:
            return dict(arrays)

    one, two = (counts(folder) for folder in runs)
    assert len(two["names"]) == 3
    assert two["names"].tolist() == one["names"].tolist()
    for variant in ("without_crf", "with_crf"):
        np.testing.assert_allclose(two[variant], one[variant], atol=3)  # pixels, of 3 images
    assert (one["without_crf"].sum((0, 1)) > 0).sum() > 1, "more than one class is predicted"


def test_the_validations_score_the_same(runs: tuple[Path, Path]) -> None:
    for key in ("val/miou", "val/miou_crf"):
        one, two = (logged(folder, key) for folder in runs)
        assert len(one) == 2
        assert two == pytest.approx(one, abs=1e-3)
    one_losses, two_losses = (json.loads((folder / "results.json").read_text())["losses"] for folder in runs)
    assert two_losses == pytest.approx(one_losses, rel=1e-4)
