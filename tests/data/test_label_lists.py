"""Lists of ids and class numbers, as CLIP-ES has them: the content decides whether the first class is 0 or 1."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from secseg.data.classes import VOC_CLASSES
from secseg.data.label_cells import TableOptions
from secseg.data.labels import find_labels, read_labels
from secseg.utils.errors import UserError

NAMES = ("COCO_train2014_000000000009", "COCO_train2014_000000000025", "COCO_train2014_000000000030")
COCO = ("background", *(f"thing {number}" for number in range(80)))


def write(tmp_path: Path, text: str, name: str = "train.txt") -> Path:
    (tmp_path / name).write_text(text, "utf-8")
    return tmp_path / name


def test_cocos_numbers_from_0_are_read_and_the_log_names_the_decision(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path, f"{NAMES[0]} 45 49 50\n{NAMES[1]} 0 79\n{NAMES[2]}\n")
    with caplog.at_level(logging.INFO):
        found = find_labels(path, NAMES, COCO)
    assert found.labels == {NAMES[0]: (46, 50, 51), NAMES[1]: (1, 80), NAMES[2]: ()}
    assert found.source == "train.txt (zero-based class numbers after the id)"
    assert caplog.messages == [f"labels: {found.source}"]


def test_numbers_up_to_the_number_of_classes_start_at_1(tmp_path: Path) -> None:
    path = write(tmp_path, "2007_000032 1 15\n2007_000039 20\n")
    found = find_labels(path, ["2007_000032", "2007_000039"], VOC_CLASSES)
    assert found.labels == {"2007_000032": (1, 15), "2007_000039": (20,)}
    assert found.source == "train.txt (class numbers from 1 after the id)"


def test_numbers_that_fit_in_two_ways_are_refused_with_the_setting_which_then_decides(tmp_path: Path) -> None:
    path = write(tmp_path, "2007_000032 1 15\n")
    with pytest.raises(UserError, match=r"run from 1 to 15, and there are 20 classes, so .* data\.first_class=0 or"):
        read_labels(path, ["2007_000032"], VOC_CLASSES)
    for first, expected in ((0, (2, 16)), (1, (1, 15))):
        options = TableOptions(first_class=first)
        assert read_labels(path, ["2007_000032"], VOC_CLASSES, options) == {"2007_000032": expected}


@pytest.mark.parametrize(
    ("text", "first", "said"),
    [
        ("a 0 20\n", None, r"run from 0 to 20.*20 classes without background \(aeroplane,.*another data set"),
        ("a 1 21\n", None, "of another data set"),
        ("a 0 3\n", 1, r"data\.first_class=1 does not fit\. Leave it out: 0 does"),
        ("a 20\n", 0, r"data\.first_class=0 does not fit\. Leave it out: 1 does"),
        ("a -1\nb 1\n", None, r"VOC's list of one class\. Name the folder .* ImageSets/Main"),
        ("a 0 1 0 0\nb 0 0 0 1\n", None, "line 1, a: the labels are a vector of 0 and 1"),
        ("a 0\na 1\n", None, "line 2: a is listed a second time"),
        ("a cat\n", None, "spaces separate the image from its labels"),
        ("a\nb\n", None, r"No image in \S+ has a label, so it is a list of images"),
        ("a\t\r\nb\t\r\n", None, "it is a list of images"),
        ("b 0\n", None, r"1 of 1 image has no labels in .*:\n  a\nThe file lists other images: b\."),
    ],
)
def test_other_lists_are_refused_by_name(tmp_path: Path, text: str, first: int | None, said: str) -> None:
    with pytest.raises(UserError, match=said):
        read_labels(write(tmp_path, text), ["a"], VOC_CLASSES, TableOptions(first_class=first))


def test_images_are_found_by_their_digits(tmp_path: Path) -> None:
    path = write(tmp_path, "000000000009 0\nCOCO_train2014_000000000025.jpg 3\n30 79\n")
    expected = {NAMES[0]: (1,), NAMES[1]: (4,), NAMES[2]: (80,)}
    assert read_labels(path, NAMES, COCO) == expected
    assert read_labels(path, ["9", "25", "30"], COCO) == dict(zip(("9", "25", "30"), expected.values(), strict=True))


def test_numbers_that_are_names_of_classes_are_names(tmp_path: Path) -> None:
    path = write(tmp_path, "a 3 0\n")
    assert find_labels(path, ["a"], ("background", "3", "0")) == ({"a": (1, 2)}, "train.txt")


def test_a_table_with_commas_keeps_0_for_the_background_unless_the_setting_says_otherwise(tmp_path: Path) -> None:
    path = write(tmp_path, "a,0;3\nb,19\n", "labels.csv")
    assert read_labels(path, ["a", "b"], VOC_CLASSES) == {"a": (3,), "b": (19,)}
    zero = TableOptions(first_class=0)
    assert read_labels(path, ["a", "b"], VOC_CLASSES, zero) == {"a": (1, 4), "b": (20,)}
    with pytest.raises(UserError, match=r"'20' is not a class.*\nGive classes by name, or as numbers 0\.\.19: aeropl"):
        read_labels(write(tmp_path, "a,20\n", "labels.csv"), ["a"], VOC_CLASSES, zero)
