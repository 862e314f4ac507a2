"""One confusion matrix over the whole set; bands around boundaries hold the right pixels."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torchmetrics.classification import MulticlassConfusionMatrix

from secseg.evaluation import BoundaryScore, SegmentationScore
from secseg.evaluation.metrics import boundary_pixels, mean_iou
from secseg.utils.errors import UserError
from tests.evaluation import random_pair
from tests.reference import scores as reference

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
def test_values_outside_the_classes_and_different_sizes_are_refused(prediction, truth, word: str) -> None:
    with pytest.raises(UserError, match=word):
        SegmentationScore(NAMES).update(np.array(prediction), np.array(truth))


def test_an_unknown_scored_class_names_the_nearest() -> None:
    with pytest.raises(UserError, match="Did you mean 'cat'"):
        SegmentationScore(NAMES, scored=["cta"])


def test_the_mean_iou_is_that_of_the_score() -> None:
    counts = np.random.default_rng(0).poisson(np.eye(3) * 5 + 1)
    for confusion in (counts, np.diag([3, 0, 0]), np.zeros((3, 3), int)):
        score = SegmentationScore(("bg", "a", "b"), scored=("bg", "b"))
        score.confusion = confusion
        np.testing.assert_allclose(mean_iou(confusion, (0, 2)), score.compute()["miou"])


@pytest.mark.parametrize("void", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_bands_are_those_of_brute_force_distances(seed: int, void: bool) -> None:
    prediction, target = random_pair(seed, void=void)
    widths = (1, 2, 5)
    score = BoundaryScore(NAMES, widths)
    score.update(prediction, target)
    result = score.compute()
    known = int((target != 255).sum())
    for at, width in enumerate(widths):
        inside = reference.band(target, width)
        assert inside.any()
        iou = reference.class_iou([prediction[inside]], [target[inside]], 4)
        assert result["miou"][at] == pytest.approx(reference.mean(iou), abs=1e-9)
        assert result["share"][at] == pytest.approx(inside.sum() / known, abs=1e-12)
    assert reference.band(target, 1).sum() < known
    assert result["images"] == {"void": int(void), "class": int(not void), "none": 0}


def test_bands_are_summed_over_the_set_before_the_iou_is_taken() -> None:
    pairs = [random_pair(seed, void=bool(seed % 2)) for seed in range(4)]
    score = BoundaryScore(NAMES, (2,))
    for prediction, target in pairs:
        score.update(prediction, target)
    inside = [reference.band(target, 2) for _, target in pairs]
    iou = reference.class_iou(
        [prediction[i] for (prediction, _), i in zip(pairs, inside, strict=True)],
        [target[i] for (_, target), i in zip(pairs, inside, strict=True)],
        4,
    )
    assert score.compute()["miou"] == [pytest.approx(reference.mean(iou), abs=1e-9)]


@pytest.mark.parametrize(("void", "width", "pixels"), [(True, 1, 2), (True, 2, 4), (False, 1, 4), (False, 0.5, 2)])
def test_void_is_next_to_the_band_and_both_sides_of_an_edge_are_in_it(void: bool, width: float, pixels: int) -> None:
    line = [0, 0, 0, 255, 1, 1, 1] if void else [0, 0, 0, 0, 1, 1, 1]
    score = BoundaryScore(NAMES, (width,))
    score.update(np.array([[0, 0, 0, 0, 1, 1, 1]]), np.array([line]))
    assert score.compute()["share"] == [pixels / (6 if void else 7)]


def test_an_error_far_from_the_boundary_counts_in_the_wide_band_alone() -> None:
    target = np.zeros((1, 30), np.uint8)
    target[0, 0] = 255
    prediction = target % 255
    prediction[0, 15] = 1
    score = BoundaryScore(NAMES, (5, 20), scored=["background"])
    score.update(prediction, target)
    assert score.compute()["miou"] == [1, 19 / 20]


def test_an_edge_is_not_a_boundary_if_there_is_void() -> None:
    target = np.zeros((9, 9), np.uint8)
    target[:, 5:] = 1
    target[0, 0] = 255
    pixels, kind = boundary_pixels(target)
    assert kind == "void"
    assert np.argwhere(pixels).tolist() == [[0, 0]]


@pytest.mark.parametrize("value", [0, 1, 255])
@pytest.mark.parametrize("size", [(1, 1), (3, 4)])
def test_an_image_of_one_value_has_no_boundary_but_counts_in_the_share(size: tuple[int, int], value: int) -> None:
    score = BoundaryScore(NAMES, (1, 40))
    score.update(np.zeros(size, np.uint8), np.full(size, value, np.uint8))
    result = score.compute()
    assert all(math.isnan(miou) for miou in result["miou"])
    assert result["images"] == {"void": 0, "class": 0, "none": 1}
    if value == 255:
        assert all(math.isnan(share) for share in result["share"])
    else:
        assert result["share"] == [0, 0]


def test_a_refused_image_leaves_the_counts_as_they_were() -> None:
    score = BoundaryScore(NAMES, (1, 5))
    prediction, target = random_pair(0)
    score.update(prediction, target)
    before = score.compute()
    far = prediction.copy()
    far[target != 255] = 4
    with pytest.raises(UserError, match="Prediction has values"):
        score.update(far, target)
    with pytest.raises(UserError, match="differ in size"):
        score.update(prediction[:-1], target)
    assert score.compute() == before


@pytest.mark.parametrize("widths", [(), (0, 1), (2, 2), (5, 3), (-1,)])
def test_invalid_widths_are_refused(widths: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="widths of the bands"):
        BoundaryScore(NAMES, widths)


def test_bands_of_other_widths_are_not_added() -> None:
    with pytest.raises(ValueError, match="different widths"):
        BoundaryScore(NAMES, (1, 2)).merge(BoundaryScore(NAMES, (1, 3)))
