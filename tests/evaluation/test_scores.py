"""All metrics of one variant, from one process or several."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest

from secseg.evaluation import Evaluation
from secseg.utils.errors import UserError
from tests.evaluation import evaluated, random_pair
from tests.reference import scores as reference

NAMES = ("background", "cat", "dog", "bird")


def test_the_parts_of_several_processes_merge_to_the_metrics_of_one() -> None:
    settings = {"scored": ["background", "cat", "bird"], "widths": (1, 4)}
    whole = evaluated(range(7), NAMES, **settings)
    first, *others = (pickle.loads(pickle.dumps(evaluated(range(a, 7, 3), NAMES, **settings))) for a in (2, 0, 1))
    for other in others:
        first.merge(other)
    assert first.compute() == whole.compute()
    assert first.worst(7) == whole.worst(7)
    np.testing.assert_array_equal(first.score.confusion, whole.score.confusion)
    assert first.score.confusion.dtype == np.int64


def test_an_empty_part_changes_nothing() -> None:
    evaluation = evaluated(range(3), NAMES)
    before = evaluation.compute()
    evaluation.merge(Evaluation(NAMES))
    assert evaluation.compute() == before


def test_an_image_is_not_added_twice() -> None:
    evaluation = evaluated(range(3), NAMES)
    before = evaluation.compute()
    with pytest.raises(ValueError, match="added twice: image 1"):
        evaluation.update("image 1", *random_pair(1))
    with pytest.raises(ValueError, match="added twice: image 2"):
        evaluation.merge(evaluated(range(2, 5), NAMES))
    assert evaluation.compute() == before


@pytest.mark.parametrize("settings", [{"scored": ["cat"]}, {"widths": (1, 2)}])
def test_parts_with_other_settings_are_not_added(settings: dict) -> None:
    evaluation = evaluated(range(1), NAMES)
    before = evaluation.compute()
    with pytest.raises(ValueError, match="cannot add"):
        evaluation.merge(Evaluation(NAMES, **settings))
    assert evaluation.compute() == before


def test_the_size_bias_is_predicted_over_true_area_without_void() -> None:
    pairs = [random_pair(seed, classes=3) for seed in range(3)]  # no bird
    evaluation = Evaluation(NAMES)
    for number, pair in enumerate(pairs):
        evaluation.update(str(number), *pair)
    bias = evaluation.compute()["size_bias"]
    by_definition = reference.size_bias([p for p, _ in pairs], [t for _, t in pairs], 4)
    np.testing.assert_allclose(list(bias.values()), by_definition, rtol=0, atol=1e-12)
    assert math.isnan(bias["bird"])


def test_a_class_that_is_never_predicted_has_size_bias_zero() -> None:
    evaluation = Evaluation(NAMES)
    evaluation.update("a", np.zeros((2, 2), int), np.array([[0, 1], [1, 255]]))
    bias = evaluation.compute()["size_bias"]
    assert bias["background"] == 3
    assert bias["cat"] == 0


def test_an_image_is_scored_over_the_classes_in_its_prediction_or_truth() -> None:
    evaluation = evaluated(range(4), NAMES)
    for seed in range(4):
        prediction, target = random_pair(seed, void=seed % 3 > 0)
        iou = reference.class_iou([prediction], [target], 4)
        assert evaluation.images[f"image {seed}"] == pytest.approx(reference.mean(iou), abs=1e-12)


def test_the_worst_images_come_first_equal_ones_by_name_and_without_those_that_have_no_score() -> None:
    evaluation = Evaluation(NAMES)
    truth = np.array([[0, 0], [1, 1]])
    evaluation.update("right", truth, truth)
    evaluation.update("void", truth, np.full((2, 2), 255))
    evaluation.update("wrong b", 1 - truth, truth)
    evaluation.update("half", np.zeros((2, 2), int), truth)
    evaluation.update("wrong a", 1 - truth, truth)
    assert evaluation.worst(4) == [("wrong a", 0), ("wrong b", 0), ("half", 0.25), ("right", 1)]
    assert evaluation.worst(1) == [("wrong a", 0)]
    assert evaluation.compute()["images"] == 5


@pytest.mark.parametrize("classes", [2, 100])
@pytest.mark.parametrize("value", [0, 1, 255])
def test_one_pixel_is_enough(classes: int, value: int) -> None:
    evaluation = Evaluation([f"class {number}" for number in range(classes)])
    evaluation.update("pixel", np.array([[1]]), np.array([[value]]))
    result = evaluation.compute()
    assert result["miou"] == {0: 0, 1: 1, 255: pytest.approx(math.nan, nan_ok=True)}[value]


def test_a_refused_image_leaves_no_trace() -> None:
    evaluation = evaluated(range(2), NAMES)
    before = evaluation.compute()
    prediction, target = random_pair(5)
    with pytest.raises(UserError, match="outside the 4 classes"):
        evaluation.update("image 5", prediction + 1, target)
    assert evaluation.compute() == before
    evaluation.update("image 5", prediction, target)
    assert evaluation.compute()["images"] == 3
