"""Warnings about labels from which a class or the background can hardly be learned."""

from __future__ import annotations

import pytest

from secseg.data.label_warnings import FEWEST_IMAGES, MANY_CLASSES, label_warnings

NAMES = ("background", "cup", "saucer", "spoon")


def warnings(*groups: tuple[int, tuple[int, ...]], names: tuple[str, ...] = NAMES) -> list[str]:
    """The warnings about groups of so many images with these labels."""
    rows = [labels for count, labels in groups for _ in range(count)]
    labels = {str(row): classes for row, classes in enumerate(rows)}
    return label_warnings(labels, tuple(labels), names)


def test_labels_with_all_that_they_need_have_no_warning() -> None:
    assert warnings((20, (1,)), (20, (2,)), (20, (3,)), (10, (1, 2)), (5, ())) == []
    assert warnings((20, (1,)), (2, ()), names=NAMES[:2]) == []
    assert label_warnings({}, (), NAMES) == []


@pytest.mark.parametrize("without", [0, 1])
def test_one_class_in_nearly_all_images_is_reported_with_the_number_of_the_others(without: int) -> None:
    (line,) = warnings((40, (1,)), (without, ()), names=NAMES[:2])
    few = "only 1 of 41 training images is" if without else "none of 40 training images are"
    assert line.startswith(f"cup: {few} without this")
    assert "empty list of labels" in line


def test_few_classes_without_an_image_of_the_background_alone_are_reported() -> None:
    (line,) = warnings((20, (1,)), (20, (2,)), (20, (3,)))
    assert line.startswith("None of 60 training images shows the background alone. The labels of 3 classes")
    assert warnings((20, (1,)), (20, (2,)), (20, (3,)), (1, ())) == []


def test_many_classes_show_the_background_of_each_other() -> None:
    names = ("background", *map(str, range(MANY_CLASSES)))
    assert warnings(*((20, (number,)) for number in range(1, MANY_CLASSES + 1)), names=names) == []


def test_a_class_in_all_images_beside_others_is_reported() -> None:
    lines = warnings((20, (1, 3)), (20, (2, 3)))
    assert len(lines) == 2
    assert lines[1].startswith("spoon: none of 40 training images are without this class")
    assert "with their labels" in lines[1]


def test_classes_of_few_images_are_reported_with_their_numbers() -> None:
    (line,) = warnings((20, (1,)), (FEWEST_IMAGES - 1, (2,)), (1, (3,)), (5, ()))
    assert line.startswith("2 of 3 classes have fewer than 10 training images: saucer (9), spoon (1).")
    assert warnings((20, (1,)), (FEWEST_IMAGES, (2,)), (5, ())) == []  # a class without images has its own warning


def test_classes_that_are_always_together_are_reported() -> None:
    (line,) = warnings((40, (1, 2)), (1, (2,)), (40, (3,)), (5, ()))
    assert line.startswith("cup and saucer: 40 of the 41 training images with one of them have both")
    assert warnings((40, (1, 2)), (10, (2,)), (40, (3,)), (5, ())) == []


def test_only_the_images_of_training_count() -> None:
    labels = {"a": (1,), "b": (), "c": ()}
    assert label_warnings(labels, ("a",) * 20, NAMES[:2])[0].startswith("cup: none of 20")
