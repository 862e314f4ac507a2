"""An evaluation leaves whole files and plain figures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from secseg.evaluation import Evaluation, write_evaluation
from secseg.runs.run_writer import write_results
from secseg.utils.errors import UserError
from tests.evaluation import random_pair

NAMES = ("background", "cat", "dog", "bird")
SHARED = {"per_class.csv", "per_image.csv", "iou.png", "size_bias.png", "boundary.png"}


def of(*variants: str) -> dict[str, Evaluation]:
    """The same three images by variant, each variant with predictions of its own."""
    evaluations = {variant: Evaluation(NAMES) for variant in variants}
    for number, evaluation in enumerate(evaluations.values()):
        for seed in range(3):
            prediction, target = random_pair(seed)
            evaluation.update(f"image {seed}", np.roll(prediction, number), target)
    return evaluations


@pytest.mark.parametrize("variants", [("without_crf", "with_crf"), ("without_crf",), ("with_crf",)])
def test_the_files_and_figures_of_each_variant_that_there_is_are_written(tmp_path: Path, variants: tuple) -> None:
    evaluations = of(*variants)
    figures = write_evaluation(tmp_path / "run", evaluations)
    own = {f"confusion_{variant}.{suffix}" for variant in variants for suffix in ("csv", "png")}
    assert {path.name for path in (tmp_path / "run").iterdir()} == SHARED | own
    for path in (tmp_path / "run").glob("*.png"):
        with Image.open(path) as image:
            assert image.format == "PNG"
            assert 300 < image.width < 1100, "fits a README"
    assert list(figures) == list(variants)
    for variant, evaluation in evaluations.items():
        assert figures[variant] == {**evaluation.compute(), "worst": evaluation.worst(10)}


def test_variants_over_other_images_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    evaluations = of("without_crf", "with_crf")
    evaluations["with_crf"].update("image 3", *random_pair(3))
    with pytest.raises(ValueError, match="image 3"):
        write_evaluation(tmp_path / "run", evaluations)
    assert not (tmp_path / "run").exists()


def test_the_figures_are_plain_enough_for_results(tmp_path: Path) -> None:
    evaluation = Evaluation(NAMES)
    evaluation.update("void", np.zeros((1, 1), int), np.full((1, 1), 255))
    write_results(tmp_path, {"figures": write_evaluation(tmp_path, {"with_crf": evaluation})})
    figures = json.loads((tmp_path / "results.json").read_text())["figures"]["with_crf"]
    assert figures["miou"] is None
    assert figures["boundary"]["share"] == [None] * 7
    assert figures["worst"] == []


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")
    with pytest.raises(UserError, match="Cannot write"):
        write_evaluation(tmp_path / "run", of("with_crf"))
