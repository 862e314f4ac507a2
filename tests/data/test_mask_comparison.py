"""Masks that contradict most labels are refused; other differences are reported with their likely cause."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from secseg.data.classes import voc_palette
from secseg.data.mask_comparison import compare, content
from secseg.data.splits import ImageSet
from secseg.utils.errors import UserError
from secseg.utils.resizing import resize_mask


def image_set(count: int, values: str = "auto") -> ImageSet:
    names = tuple(f"im{number}" for number in range(count))
    paths = tuple(map(Path, names))
    return ImageSet("data/val", names, paths, paths, ("background", "hole", "stain"), voc_palette(), values)


def warnings(masks: Sequence[np.ndarray], labels: Sequence[tuple[int, ...]], values: str = "auto") -> str:
    images = image_set(len(masks), values)
    shown = {name: content(mask) for name, mask in zip(images.names, masks, strict=True)}
    return "\n".join(compare(images, shown, dict(zip(images.names, labels, strict=True))))


def square(number: int, around: int = 0, side: int = 40) -> np.ndarray:
    mask = np.full((side, side), around, np.uint8)
    mask[side // 4 : side // 2, side // 4 : side // 2] = number
    return mask


def test_masks_that_contradict_more_than_half_of_the_labels_are_refused() -> None:
    with pytest.raises(UserError) as failure:
        warnings([square(1), square(2), square(2)], [(1,), (1,), (1,)])
    said = str(failure.value)
    assert "2 of 3 masks of labelled images in data/val show no class of their labels:\n  im1: hole; the mask" in said
    assert "The class numbers are 0 background, 1 hole, 2 stain." in said
    assert "the names of other images" in said


def test_a_few_masks_that_contradict_labels_are_reported_with_the_class_numbers() -> None:
    said = warnings([square(1), square(1), square(2)], [(1,), (1,), (1,)])
    assert "1 of 3 masks of labelled images in data/val show no class of their labels" in said
    assert said.count("The class numbers are 0 background, 1 hole, 2 stain.") == 1
    assert "new in the labels changes the numbers" in said


@pytest.mark.parametrize(("values", "setting"), [("auto", "[1,0,2]"), ("binary", "[255,0]")])
def test_a_class_that_covers_images_without_a_label_is_refused_with_the_exchanged_numbers(
    values: str, setting: str
) -> None:
    swapped, bare = square(0, around=1), np.ones((40, 40), np.uint8)
    with pytest.raises(UserError, match=r"3 of 4 images without a label .*\n  im1: hole") as failure:
        warnings([swapped, bare, bare, swapped, square(0)], [(1,), (), (), (), ()], values)
    assert f"background and hole are exchanged in the masks, set data.mask_values={setting}." in str(failure.value)


def test_small_objects_in_images_without_a_label_are_reported_alone() -> None:
    said = warnings([square(1)] * 4, [(1,), (), (), ()])
    assert "hole: in 3 masks of images without this label" in said


def test_a_class_around_the_background_is_reported() -> None:
    said = warnings([square(0, around=1)] * 2, [(1,)] * 2)
    assert "2 of 2 masks of labelled images in data/val show hole at the border, and the background inside. If" in said
    assert "at the border" not in warnings([square(1)] * 2, [(1,)] * 2)


def test_an_object_that_fills_the_image_is_not_reported() -> None:
    full = np.ones((40, 40), np.uint8)
    full[:5, :8] = 0  # the background at a corner
    assert warnings([full] * 3, [(1,)] * 3) == ""


def test_rims_of_another_class_are_reported_as_interpolation() -> None:
    smooth = np.asarray(np.round(np.kron(square(2, side=20), np.ones((4, 4)))), np.uint8)
    rim = smooth.copy()
    inside = np.flatnonzero(smooth.any(0))
    rim[inside[0] - 1 : inside[-1] + 2, inside[0] - 1 : inside[-1] + 2] = 1
    rim[smooth == 2] = 2
    said = warnings([rim, rim], [(2,), (2,)])
    assert "hole: in 2 masks of images without this label, in 2 of them as thin rims between other classes" in said
    assert "resize masks with the nearest neighbour" in said


def test_masks_resized_with_the_nearest_neighbour_are_no_interpolation() -> None:
    mask = square(2)
    mask[30:36, 4:10] = 1  # an object that the labels miss
    said = warnings([resize_mask(mask, (61, 53))] * 2, [(2,), (2,)])
    assert "hole: in 2 masks of images without this label" in said
    assert "rim" not in said
