"""Warnings about predicted masks: classes that are never predicted, and classes that the CRF removes."""

from __future__ import annotations

import numpy as np

from secseg.inference.mask_warnings import LEAST_AREA, count_pixels, removed_by_crf, unpredicted

NAMES = ("background", "cat", "dog", "cow")


def test_pixels_are_counted_by_class_and_variant() -> None:
    plain = np.array([[0, 1], [1, 3]], dtype=np.uint8)
    counts = count_pixels({"without_crf": plain, "with_crf": None}, 4)
    assert counts.tolist() == [[1, 2, 0, 1], [0, 0, 0, 0]]
    assert count_pixels({"with_crf": plain}, 4).tolist() == [[0, 0, 0, 0], [1, 2, 0, 1]]


def test_classes_in_no_mask_are_reported() -> None:
    (line,) = unpredicted(np.array([90, 10, 0, 0]), NAMES, {1, 2, 3}, 5)
    assert line.startswith("2 of 3 classes are in none of 5 masks: dog, cow. Train for more steps (trainer.max_steps)")
    assert unpredicted(np.array([90, 10, 0, 0]), NAMES, {1}, 5) == []


def test_masks_of_background_alone_are_reported_unless_nothing_else_is_expected() -> None:
    (line,) = unpredicted(np.array([100, 0, 0, 0]), NAMES, {1, 3}, 5)
    assert line.startswith("All 5 masks show background alone, without a pixel of 2 classes: cat, cow. ")
    assert unpredicted(np.array([100, 0, 0, 0]), NAMES, set(), 5) == []


def removed(plain: list[int], refined: list[int], true: list[int] | None = None) -> list[str]:
    return list(removed_by_crf(np.array([plain, refined]), NAMES, {1, 2, 3}, None if true is None else np.array(true)))


def test_a_class_of_which_the_crf_removes_more_than_half_is_reported() -> None:
    (line,) = removed([800, 100, 100, 0], [900, 49, 51, 0])
    assert line.startswith(
        "cat: the CRF removes 51 % of its area (10.0 % of all pixels without it, 4.9 % with it). "
        "Without masks, this may be right or wrong: compare the scores with and without it (evaluate.py)."
    )
    assert removed([800, 100, 100, 0], [900, 50, 50, 0]) == []


def test_a_crf_that_removes_excess_alone_is_no_problem() -> None:
    assert removed([800, 100, 100, 0], [900, 40, 60, 0], true=[900, 40, 60, 0]) == []
    (line,) = removed([800, 100, 100, 0], [900, 40, 60, 0], true=[900, 41, 59, 0])
    assert "4.0 % with it, 4.1 % in the truth). Try a half or a quarter of crf.test.bilateral_xy" in line


def test_few_pixels_and_masks_without_crf_are_not_compared() -> None:
    few = int(100_000 * LEAST_AREA) - 1
    assert removed([100_000 - few, few, 0, 0], [100_000, 0, 0, 0]) == []
    assert removed([800, 100, 100, 0], [0, 0, 0, 0]) == []
    assert removed([0, 0, 0, 0], [0, 0, 0, 0]) == []
