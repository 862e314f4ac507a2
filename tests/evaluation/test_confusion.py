"""One confusion matrix over the whole set."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torchmetrics.classification import MulticlassConfusionMatrix

from secseg.evaluation.confusion import SegmentationScore
from secseg.utils.errors import UserError

NAMES = ("background", "cat", "dog", "bird")


def test_iou_is_computed_over_the_whole_set_not_an_image() -> None:
    score = SegmentationScore(NAMES[:2])
    score.update(np.array([0, 0, 0, 1]), np.array([0, 0, 0, 1]))
    score.update(np.array([1, 1, 0, 0]), np.array([1, 1, 1, 1]))
    result = score.compute()
    assert result["iou"] == {"background": pytest.approx(3 / 5), "cat": pytest.approx(3 / 5)}
    assert result["miou"] == pytest.approx(0.6)
    assert result["pixel_accuracy"] == pytest.approx(6 / 8)


def test_the_counts_are_those_of_torchmetrics() -> None:
    rng = np.random.default_rng(0)
    ours, theirs = SegmentationScore(NAMES), MulticlassConfusionMatrix(4, ignore_index=255)
    for _ in range(3):
        truth = rng.choice([0, 1, 2, 3, 255], (9, 7)).astype(np.uint8)
        prediction = rng.integers(0, 4, (9, 7)).astype(np.uint8)
        ours.update(torch.from_numpy(prediction), truth)
        theirs.update(torch.from_numpy(prediction.astype(np.int64)), torch.from_numpy(truth.astype(np.int64)))
    np.testing.assert_array_equal(ours.confusion, theirs.compute().numpy())


def test_void_pixels_do_not_count_whatever_is_predicted_there() -> None:
    score = SegmentationScore(NAMES)
    score.update(np.array([0, 1, 3]), np.array([0, 1, 255]))
    assert score.compute()["pixel_accuracy"] == 1


def test_a_class_in_neither_prediction_nor_truth_is_nan_and_left_out_of_the_mean() -> None:
    score = SegmentationScore(NAMES)
    score.update(np.array([0, 1]), np.array([0, 1]))
    result = score.compute()
    assert math.isnan(result["iou"]["dog"])
    assert result["miou"] == 1


def test_unscored_classes_still_count_as_errors_of_the_scored_ones() -> None:
    score = SegmentationScore(NAMES, scored=["background", "cat"])
    score.update(np.array([0, 1, 2, 1]), np.array([0, 1, 1, 2]))
    result = score.compute()
    assert result["iou"]["cat"] == pytest.approx(1 / 3)
    assert result["miou"] == pytest.approx((1 + 1 / 3) / 2)


def test_nothing_scored_gives_nan_not_zero() -> None:
    assert math.isnan(SegmentationScore(NAMES).compute()["miou"])


@pytest.mark.parametrize(
    ("prediction", "truth", "word"),
    [([0, 4], [0, 0], "Prediction"), ([0, 0], [0, 4], "Truth"), ([0], [0, 1], "size"), ([-1], [0], "Prediction")],
)
def test_values_outside_the_classes_and_sizes_that_differ_are_refused(prediction, truth, word: str) -> None:
    with pytest.raises(UserError, match=word):
        SegmentationScore(NAMES).update(np.array(prediction), np.array(truth))


def test_an_unknown_scored_class_names_the_nearest() -> None:
    with pytest.raises(UserError, match="Did you mean 'cat'"):
        SegmentationScore(NAMES, scored=["cta"])
