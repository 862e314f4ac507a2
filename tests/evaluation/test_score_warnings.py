"""Warnings about scored masks name the classes that matter: scored, trained, and in the images."""

from __future__ import annotations

import numpy as np

from secseg.evaluation.score_warnings import score_warnings

NAMES = ("background", "cat", "dog")
MISSED = np.array([[90, 0, 0], [0, 50, 0], [40, 10, 0]])  # dog is in the truth, and never predicted


def test_a_class_of_the_truth_that_is_never_predicted_is_reported() -> None:
    (line,) = score_warnings({"without_crf": MISSED}, NAMES, 7)
    assert line.startswith("1 of 2 classes is in none of 7 masks: dog.")
    assert score_warnings({"without_crf": MISSED[:2]}, NAMES, 7) == []  # no dog in the truth


def test_classes_that_are_not_scored_or_not_trained_are_not_reported() -> None:
    assert score_warnings({"without_crf": MISSED}, NAMES, 7, scored=["background", "cat"]) == []
    assert score_warnings({"without_crf": MISSED}, NAMES, 7, trained=[1]) == []


def test_without_masks_the_labels_say_what_is_expected() -> None:
    pixels = np.array([[100, 20, 0], [0, 0, 0]])
    assert score_warnings({}, NAMES, 7, pixels=pixels) == []
    (line,) = score_warnings({}, NAMES, 7, pixels=pixels, labelled={1, 2})
    assert "dog" in line


def test_the_crf_is_compared_on_images_with_a_mask() -> None:
    plain = np.array([[60, 10, 0], [0, 20, 0], [0, 0, 10]])
    refined = np.array([[70, 0, 0], [10, 10, 0], [0, 0, 10]])
    (line,) = score_warnings({"without_crf": plain, "with_crf": refined}, NAMES, 7)
    assert line.startswith("cat: the CRF removes 67 % of its area")
    every = np.array([[600, 30, 10], [600, 30, 10]])  # in images without a mask, it is kept
    assert score_warnings({"without_crf": plain, "with_crf": refined}, NAMES, 7, pixels=every) == [line]
    pixels = np.array([[60, 30, 10], [80, 10, 10]])
    assert score_warnings({}, NAMES, 7, pixels=pixels)[0].startswith("cat: the CRF removes 67 %")


def test_a_class_that_is_predicted_on_more_than_three_times_its_area_is_reported() -> None:
    plain = np.array([[955, 31, 0], [4, 10, 0], [0, 0, 0]])  # 41 cat pixels of 14 in the truth: 2.9 times
    refined = np.array([[953, 33, 0], [4, 10, 0], [0, 0, 0]])  # 43: 3.07 times
    (line,) = score_warnings({"without_crf": plain, "with_crf": refined}, NAMES, 7)
    assert line.startswith("cat: 4.3 % of the pixels are predicted, 1.4 % in the truth. Train with a lower decay.pos")
    assert score_warnings({"without_crf": refined, "with_crf": plain}, NAMES, 7) == []  # the CRF has corrected it
    assert score_warnings({"without_crf": refined}, NAMES, 7, scored=["dog"]) == []


def test_a_class_that_is_predicted_where_the_truth_has_none_is_reported_unless_it_is_tiny() -> None:
    (line,) = score_warnings({"without_crf": np.array([[998, 2, 0], [0, 0, 0], [0, 0, 0]])}, NAMES, 7)
    assert line.startswith("cat: 0.2 % of the pixels are predicted, 0.0 % in the truth.")
    assert score_warnings({"without_crf": np.array([[1999, 1, 0], [0, 0, 0], [0, 0, 0]])}, NAMES, 7) == []
