"""The figures show the results of the runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from secseg.drawing.study_charts import setting_styles
from secseg.evaluation.report.figures import classes, effects, learning_curves
from secseg.evaluation.report.runs import find_runs
from secseg.evaluation.report.study import Row, Study, open_study, study_rows
from tests.evaluation.report.conftest import Sweep
from tests.evaluation.report.synthetic import write_run


@pytest.fixture(scope="module")
def study(sweep: Sweep) -> Study:
    return open_study(find_runs(str(sweep.folder))[0])


@pytest.fixture(scope="module")
def rows(study: Study) -> list[Row]:
    return study_rows(study)


def test_an_effect_shows_the_mean_of_the_runs_with_a_value(study: Study, rows: list[Row]) -> None:
    (drawing,) = effects(study, rows)
    bars = drawing.figure.axes[0].containers
    for container, variant in zip(bars, ("without_crf", "with_crf"), strict=True):
        assert list(container[0].get_ydata()) == pytest.approx([100 * row.miou[variant].mean for row in rows])


def test_with_two_keys_an_effect_has_a_thin_line_for_each_value_of_the_other(
    truths: dict[str, np.ndarray], tmp_path: Path
) -> None:
    for loss in ("seed", "sec", "seed_expand"):
        for pos in (0.5, 0.9):
            write_run(tmp_path / f"{loss}{pos}", (f"loss={loss}", f"decay.pos={pos}"), truths)
    study = open_study(find_runs(str(tmp_path))[0])
    by_loss, by_pos = effects(study, study_rows(study))
    thin = [[line for line in one.figure.axes[0].lines if line.get_linewidth() == 0.8] for one in (by_loss, by_pos)]
    assert [len(lines) for lines in thin] == [2 * 2, 3 * 2]  # each variant has them
    assert thin[1][0].get_xdata().tolist() == [0.5, 0.9]


def test_curves_are_means_over_seeds_of_what_the_runs_logged(rows: list[Row]) -> None:
    drawings = learning_curves(rows, setting_styles(len(rows)))
    assert [drawing.title for drawing in drawings] == [
        "mean IoU on the validation split, without CRF, %",
        "training loss",
        "training loss, seed",
    ]
    lines = drawings[0].figure.axes[0].lines
    assert len(lines) == len(rows)
    assert lines[0].get_xdata().tolist() == list(range(0, 100, 10))
    assert lines[0].get_ydata() == pytest.approx(np.arange(0, 100, 10))


def test_classes_have_a_dot_for_each_setting_and_bias_is_drawn_on_a_scale_of_powers(
    study: Study, rows: list[Row]
) -> None:
    iou, bias = classes(study, rows, setting_styles(len(rows)))
    dots = [line for line in iou.figure.axes[0].lines if line.get_marker() == "o"]
    expected = [100 * found.mean for row in rows for found in row.iou["with_crf"].values()]
    assert [line.get_xdata()[0] for line in dots] == pytest.approx(expected)
    dots = [line for line in bias.figure.axes[0].lines if line.get_marker() == "o"]
    found = rows[0].bias["with_crf"]["background"]
    assert dots[0].get_xdata()[0] == pytest.approx(np.mean(np.log2(found.values)))
