"""Bands around boundaries hold the pixels that they claim."""

from __future__ import annotations

import math

import numpy as np
import pytest

from secseg.evaluation import BoundaryScore
from secseg.evaluation.boundary import boundary_pixels
from secseg.utils.errors import UserError
from tests.evaluation import random_pair
from tests.reference import scores as reference

NAMES = ("background", "cat", "dog", "bird")


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
def test_void_is_beside_the_band_and_the_two_sides_of_an_edge_are_in_it(void: bool, width: float, pixels: int) -> None:
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


def test_an_edge_is_no_boundary_where_there_is_void() -> None:
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
def test_widths_that_are_no_widths_are_refused(widths: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="widths of the bands"):
        BoundaryScore(NAMES, widths)


def test_bands_of_other_widths_are_not_added_up() -> None:
    with pytest.raises(ValueError, match="other widths"):
        BoundaryScore(NAMES, (1, 2)).merge(BoundaryScore(NAMES, (1, 3)))
