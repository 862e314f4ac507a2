"""Tables, CSV files and figures hold the metrics; an evaluation writes whole files and returns plain values."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from secseg.evaluation import Evaluation, score_table, write_evaluation
from secseg.evaluation.outputs import confusion_csv, per_class_csv, per_image_csv
from secseg.runs.run_writer import write_results
from secseg.utils.errors import UserError
from tests.evaluation import evaluated, random_pair

SCORES = {"miou": 0.5115, "iou": {"background": 0.9, "cat": 0.123, "dog": float("nan")}}
NAMES = ("background", "cat", "dog", "bird")
SHARED = {"per_class.csv", "per_image.csv", "iou.png", "size_bias.png", "boundary.png"}


def read(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text)))


def test_the_table_has_each_class_the_mean_and_a_dash_without_iou() -> None:
    assert score_table({"without_crf": SCORES}, title="step 400").splitlines() == [
        "step 400         IoU",
        "background      90.0",
        "cat             12.3",
        "dog                -",
        "--------------------",
        "mean            51.1",
    ]


def test_the_table_has_a_column_with_the_crf_if_it_was_measured() -> None:
    with_crf = {"miou": 0.678, "iou": {**SCORES["iou"], "cat": 0.456}}  # type: ignore[dict-item]
    lines = score_table({"without_crf": SCORES, "with_crf": with_crf}).splitlines()
    assert lines[0].split() == ["IoU", "IoU", "+", "CRF"]
    assert lines[2].split() == ["cat", "12.3", "45.6"]
    assert lines[-1].split() == ["mean", "51.1", "67.8"]


def test_the_table_of_an_evaluation_has_size_bias_accuracy_and_bands_and_brackets_for_classes_outside_the_mean() -> (
    None
):
    evaluation = Evaluation(NAMES, scored=["background", "cat"], widths=(1, 5, 7))
    evaluation.update("a", np.array([[0, 0, 1, 1]]), np.array([[0, 1, 1, 2]]))
    result = evaluation.compute()
    assert score_table({"with_crf": result}, title="val").splitlines() == [
        "val                             IoU + CRF  bias + CRF",
        "background                           50.0        2.00",
        "cat                                  33.3        1.00",
        "(dog)                                 0.0        0.00",
        "(bird)                                  -           -",
        "-----------------------------------------------------",
        "mean of 2                            41.7",
        "pixel accuracy                       50.0",
        "mean within 1 px of boundaries       41.7",
        "mean within 5 px of boundaries       41.7",
    ]


@pytest.mark.parametrize("classes", [2, 100])
def test_the_table_fits_100_columns_whatever_the_names(classes: int) -> None:
    names = [f"{number} is the number of this class, whose name goes on and on" for number in range(classes)]
    results = {
        variant: evaluated([seed], names, scored=names[1:]).compute()
        for seed, variant in enumerate(("without_crf", "with_crf"))
    }
    lines = score_table(results, title="a title that is longer than any title should ever be").splitlines()
    assert max(map(len, lines)) <= 100
    assert len(lines) == classes + 7


def test_the_confusion_matrix_as_csv_has_names_in_the_first_row_and_column_and_the_exact_counts() -> None:
    counts = np.arange(16).reshape(4, 4) + 2**53 + 1  # a float would round these
    rows = read(confusion_csv(counts, NAMES))
    assert rows[0][1:] == [row[0] for row in rows[1:]] == list(NAMES)
    assert [[int(cell) for cell in row[1:]] for row in rows[1:]] == counts.tolist()


def test_the_metrics_by_class_as_csv_are_exact_or_empty() -> None:
    evaluation = Evaluation(NAMES, scored=["background", "cat", "dog"])
    evaluation.update("a", *random_pair(0, classes=3))
    names, *rows = read(per_class_csv({"without_crf": evaluation}))
    table = [dict(zip(names, row, strict=True)) for row in rows]
    result, confusion = evaluation.compute(), evaluation.score.confusion
    assert [row["class"] for row in table] == list(NAMES)
    assert [row["scored"] for row in table] == ["true", "true", "true", "false"]
    for number, row in enumerate(table[:3]):
        assert float(row["iou_without_crf"]) == result["iou"][row["class"]]
        assert float(row["size_bias_without_crf"]) == result["size_bias"][row["class"]]
        assert int(row["pixels"]) == confusion[number].sum()
        assert int(row["predicted_without_crf"]) == confusion[:, number].sum()
    assert list(table[3].values()) == ["bird", "false", "0", "", "", "0"]


def test_the_images_as_csv_begin_with_the_worst_by_the_last_variant() -> None:
    plain, refined = evaluated(range(4), NAMES), Evaluation(NAMES)
    for seed in range(4):
        prediction, target = random_pair(seed)
        prediction[seed:] = np.where(target[seed:] == 255, 0, target[seed:])
        refined.update(f"image {seed}", prediction, np.full_like(target, 255) if seed == 2 else target)
    names, *rows = read(per_image_csv({"without_crf": plain, "with_crf": refined}))
    assert names == ["image", "miou_without_crf", "miou_with_crf"]
    assert [row[0] for row in rows] == [name for name, _ in refined.worst(4)] + ["image 2"]
    for name, first, last in rows:
        assert float(first) == plain.images[name]
        assert last == ("" if name == "image 2" else str(refined.images[name]))


def of(*variants: str) -> dict[str, Evaluation]:
    """The same three images by variant, each variant with predictions of its own."""
    evaluations = {variant: Evaluation(NAMES) for variant in variants}
    for number, evaluation in enumerate(evaluations.values()):
        for seed in range(3):
            prediction, target = random_pair(seed)
            evaluation.update(f"image {seed}", np.roll(prediction, number), target)
    return evaluations


@pytest.mark.parametrize("variants", [("without_crf", "with_crf"), ("without_crf",), ("with_crf",)])
def test_the_files_and_figures_of_each_variant_are_written(tmp_path: Path, variants: tuple) -> None:
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


def test_the_metrics_are_plain_enough_for_results(tmp_path: Path) -> None:
    evaluation = Evaluation(NAMES)
    evaluation.update("void", np.zeros((1, 1), int), np.full((1, 1), 255))
    write_results(tmp_path, {"figures": write_evaluation(tmp_path, {"with_crf": evaluation})})
    figures = json.loads((tmp_path / "results.json").read_text())["figures"]["with_crf"]
    assert figures["miou"] is None
    assert figures["boundary"]["share"] == [None] * 7
    assert figures["worst"] == []


def test_a_folder_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")
    with pytest.raises(UserError, match="Cannot write"):
        write_evaluation(tmp_path / "run", of("with_crf"))
