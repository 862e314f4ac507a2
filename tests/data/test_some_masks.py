"""The choice of the training images that train on their mask."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from secseg.data.classes import voc_palette
from secseg.data.some_masks import choose_masks, leave_out
from secseg.data.splits import ImageSet
from secseg.utils.errors import UserError

NAMES = tuple(f"image{number}" for number in range(60))
CLASSES = ("background", "often", "seldom", "rare")


@pytest.fixture
def images(tmp_path: Path) -> ImageSet:
    """60 images, of which the first 50 have a mask."""
    masks = tuple(tmp_path / f"{name}.png" for name in NAMES)
    for mask in masks[:50]:
        mask.touch()
    return ImageSet("steel/train", NAMES, masks, masks, CLASSES, voc_palette())


@pytest.fixture
def labels() -> np.ndarray:
    """Of the images with a mask, 31 have ``often``, 12 ``seldom``, 4 ``rare``, and 3 have no class."""
    labels = np.zeros((60, 256), dtype=bool)
    for number, rows in ((1, slice(0, 31)), (2, slice(31, 43)), (3, slice(43, 47))):
        labels[rows, number] = True
    return labels


def test_without_a_limit_all_masks_that_are_there_are_chosen(images: ImageSet, labels: np.ndarray) -> None:
    assert np.flatnonzero(choose_masks(images, labels, (), None, 0)).tolist() == list(range(50))
    assert choose_masks(images, labels, (), 99, 0).sum() == 50


@pytest.mark.parametrize("seed", range(3))
def test_a_limit_spreads_the_masks_over_the_classes_and_the_images_without_any(
    images: ImageSet, labels: np.ndarray, seed: int
) -> None:
    def counts(limit: int) -> list[int]:
        chosen = choose_masks(images, labels, (), limit, seed)
        assert chosen.sum() == limit
        return [*labels[chosen].sum(0)[1:4].tolist(), int((~labels[chosen].any(1)).sum())]

    assert counts(1) == [1, 0, 0, 0], "the most frequent class is first"
    assert counts(8) == [2, 2, 2, 2]
    assert counts(20) == [7, 6, 4, 3], "the small classes are used up"
    assert counts(0) == [0, 0, 0, 0]


def test_the_choice_depends_on_the_seed_and_a_smaller_one_is_part_of_a_larger_one(
    images: ImageSet, labels: np.ndarray
) -> None:
    five, same, twenty, other = (choose_masks(images, labels, (), *one) for one in ((5, 0), (5, 0), (20, 0), (5, 1)))
    assert (five == same).all()
    assert (twenty | ~five).all()
    assert (five != other).any()


def test_masks_of_validation_images_are_never_chosen(images: ImageSet, labels: np.ndarray) -> None:
    chosen = choose_masks(images, labels, NAMES[:45], None, 0)
    assert np.flatnonzero(chosen).tolist() == [45, 46, 47, 48, 49]
    with pytest.raises(UserError, match=r"no training image .* may be used: 50 images with a mask are validation"):
        choose_masks(images, labels, NAMES[:50], 5, 0)
    assert not choose_masks(images, labels, NAMES, 0, 0).any()


@pytest.mark.parametrize("masks", [None, tuple(Path("nowhere") for _ in NAMES)])
def test_data_without_masks_is_refused_unless_the_limit_is_zero(
    images: ImageSet, labels: np.ndarray, masks: tuple[Path, ...] | None
) -> None:
    bare = ImageSet("steel/train", NAMES, images.images, masks, CLASSES, voc_palette())
    with pytest.raises(UserError, match=r"no training image of steel/train has a mask.*data\.val_split"):
        choose_masks(bare, labels, (), None, 0)
    assert not choose_masks(bare, labels, (), 0, 0).any()


def test_images_whose_mask_was_trained_on_are_not_scored(images: ImageSet) -> None:
    assert leave_out(images, set(NAMES[1:])).names == NAMES[:1]
    assert leave_out(images, {"other"}).names == NAMES
    with pytest.raises(UserError, match="none is left to score"):
        leave_out(images, set(NAMES))
