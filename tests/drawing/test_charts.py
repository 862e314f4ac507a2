"""Charts show their values and can be read with any number of classes."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from secseg.data.classes import VOC_CLASSES
from secseg.drawing.charts import boundary_figure, confusion_figure, iou_figure, size_bias_figure
from secseg.evaluation import Evaluation
from tests.evaluation import evaluated

NAMES = ("background", "cat", "dog", "bird")
COUNTS = np.array([[90, 10, 0, 0], [30, 60, 5, 5], [0, 0, 0, 0], [1, 1, 1, 1]])


def results(names: tuple[str, ...] = NAMES, **settings: Any) -> dict[str, dict[str, Any]]:
    halves = {"without_crf": range(3), "with_crf": range(3, 6)}
    return {variant: evaluated(seeds, names, **settings).compute() for variant, seeds in halves.items()}


def result(**figures: Any) -> dict[str, Any]:
    """Return results of two classes with given values."""
    boundary = {"widths": [1, 10], "miou": [0.25, 0.5], "share": [0.1, 0.4]}
    made = {"scored": ["background", "cat"], "miou": 0.5, "iou": {"background": 0.75, "cat": 0.25}}
    return {**made, "size_bias": {"background": 1.0, "cat": 1.0}, "boundary": boundary, **figures}


def written(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def bars(figure: Figure) -> list[float]:
    return [bar.get_width() for bar in figure.axes[0].patches]


def test_a_confusion_matrix_shows_the_percentage_of_each_prediction_for_a_true_class() -> None:
    figure = confusion_figure(COUNTS, NAMES)
    shown = figure.axes[0].images[0].get_array().filled(np.nan)
    np.testing.assert_allclose(shown[[0, 1, 3]], [[90, 10, 0, 0], [30, 60, 5, 5], [25] * 4])
    assert np.isnan(shown[2]).all(), "a class without truth has no percentages"
    assert written(figure)[:5] == ["90.0", "10.0", "0.0", "0.0", "30.0"]
    assert len(written(figure)) == 12


def test_classes_that_are_not_scored_share_one_row_and_column() -> None:
    figure = confusion_figure(COUNTS, NAMES, scored=["bird", "background"], variant="with_crf")
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["background", "bird", "other"]
    np.testing.assert_allclose(axes.images[0].get_array(), [[90, 0, 10], [25, 25, 50], [30, 5, 65]])
    assert axes.get_title() == "confusion with CRF, % of the true class"


@pytest.mark.parametrize("size", [21, 40])
def test_with_many_classes_only_readable_numbers_are_written(size: int) -> None:
    counts = np.full((size, size), 1)
    np.fill_diagonal(counts, 1000)
    texts = written(confusion_figure(counts, [str(number) for number in range(size)]))
    assert texts == (["98"] * 21 if size == 21 else [])


def test_the_boundary_figure_has_a_line_for_each_variant_with_values_at_its_ends() -> None:
    better = result(boundary={"widths": [1, 10], "miou": [0.3, 0.8], "share": [0.1, 0.4]})
    figure = boundary_figure({"without_crf": result(), "with_crf": better})
    axes = figure.axes[0]
    lines = {line.get_label(): line.get_xydata().tolist() for line in axes.lines}
    assert lines == {"without CRF": [[1, 25], [10, 50]], "with CRF": [[1, 30], [10, 80]]}
    assert sorted(written(figure)) == ["25.0", "30.0", "50.0", "80.0"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1\n10 %", "10\n40 %"]


def test_the_iou_figure_has_a_bar_for_each_scored_class_and_variant_and_the_means() -> None:
    better = result(iou={"background": 1.0, "cat": math.nan, "dog": 0.5}, miou=1.0)
    figure = iou_figure({"without_crf": result(), "with_crf": better})
    assert bars(figure) == [75, 25, 100, 0]
    assert written(figure) == ["75.0", "25.0", "100.0", "no pixels"]
    labels = {text.get_text() for text in figure.legends[0].get_texts()}
    assert labels == {"without CRF", "with CRF", "mean without CRF: 50.0", "mean with CRF: 100.0"}


def test_the_size_bias_is_drawn_on_a_log2_axis_around_one() -> None:
    other = result(size_bias={"background": 0.25, "cat": math.nan})
    figure = size_bias_figure({"without_crf": result(size_bias={"background": 2.0, "cat": 0.5}), "with_crf": other})
    assert bars(figure) == [1, -1, -2, 0]
    assert written(figure) == ["2.00", "0.50", "0.25", "no pixels"]
    ticks = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert ticks == ["1/4", "1/2", "1", "2", "4"]


def test_a_class_that_is_never_predicted_has_the_longest_bar_with_its_value() -> None:
    figure = size_bias_figure({"without_crf": result(size_bias={"background": 100.0, "cat": 0.0})})
    assert bars(figure) == [4, -4]
    assert written(figure) == ["100.00", "0.00"]
    ticks = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert (ticks[0], ticks[-1]) == ("≤ 1/16", "≥ 16")


@pytest.mark.parametrize("classes", [2, 7, 21])
@pytest.mark.parametrize("kind", ["confusion", "boundary", "iou", "size_bias"])
def test_no_text_is_cut_off_and_no_labels_overlap(kind: str, classes: int) -> None:
    names = VOC_CLASSES[:classes]
    check_legible(draw(kind, names))


@pytest.mark.parametrize("kind", ["confusion", "size_bias"])
def test_a_hundred_classes_with_long_names_can_be_read(kind: str) -> None:
    check_legible(draw(kind, tuple(f"{number} is a class whose name goes on and on" for number in range(100))))


def draw(kind: str, names: tuple[str, ...]) -> Figure:
    if kind == "confusion":
        return confusion_figure(evaluated(range(3), names).score.confusion, names)
    return {"boundary": boundary_figure, "iou": iou_figure, "size_bias": size_bias_figure}[kind](results(names))


def check_legible(figure: Figure) -> None:
    figure.draw_without_rendering()
    axes = figure.axes[0]
    frame = figure.bbox.padded(1)
    (left, right), (low, high) = axes.get_xbound(), axes.get_ybound()  # labels beyond are not drawn
    columns = [label for label in axes.get_xticklabels() if left <= label.get_position()[0] <= right]
    rows = [label for label in axes.get_yticklabels() if low <= label.get_position()[1] <= high]
    texts = [*axes.texts, *rows, *columns, axes.title, axes.xaxis.label, axes.yaxis.label]
    texts += [text for legend in figure.legends for text in legend.get_texts()]
    for text in texts:
        box = text.get_window_extent()
        assert frame.contains(box.x0, box.y0), text
        assert frame.contains(box.x1, box.y1), text
        assert not text.get_text() or text.get_fontsize() >= 7, text
    for labels in (rows, columns):
        boxes = [label.get_window_extent() for label in labels if label.get_text()]
        assert not any(first.overlaps(second) for first, second in pairwise(boxes))


def test_results_without_scored_classes_give_empty_figures() -> None:
    evaluation = Evaluation(NAMES)
    evaluation.update("void", np.zeros((1, 1), int), np.full((1, 1), 255))
    empty = {"without_crf": evaluation.compute()}
    assert written(boundary_figure(empty)) == []
    assert written(iou_figure(empty)) == written(size_bias_figure(empty)) == ["no pixels"] * 4
    assert written(confusion_figure(evaluation.score.confusion, NAMES)) == []
    for draw_empty in (boundary_figure, iou_figure, size_bias_figure):
        check_legible(draw_empty(empty))


def test_names_are_shown_literally() -> None:
    names = ("background", r"costs $\frac$ more", "ça_va^2")
    for kind in ("confusion", "iou", "size_bias"):
        figure = draw(kind, names)
        check_legible(figure)
        assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == list(names)
