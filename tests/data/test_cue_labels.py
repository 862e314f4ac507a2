"""Labels that differ from those of the cue file replace them, with a line for each difference; other numbers of classes
are refused."""

from __future__ import annotations

import numpy as np
import pytest

from secseg.data.cue_labels import with_labels
from secseg.data.cues import Cues, CueStore
from secseg.data.labels import Labels
from secseg.utils.errors import UserError

CLASSES = ("background", "cat", "dog", "person")
NONE = 255


def store(labels: Labels, stated: list[str] | None = None) -> CueStore:
    """A cue file whose maps hold the background, each label, and a cell without cue."""
    cues = {}
    for name, numbers in labels.items():
        cells = np.array([0, *numbers, *[NONE] * (5 - len(numbers))], np.uint8)
        cues[name] = Cues(numbers, cells.reshape(2, 3))
    return CueStore.from_dict(cues, {} if stated is None else {"class_names": stated})


def many(*labels: tuple[int, ...]) -> Labels:
    """Ten images of each of the labels."""
    return {f"{at}_{number}": one for at, one in enumerate(labels) for number in range(10)}


def test_equal_labels_change_nothing() -> None:
    labels = many((1,), (2, 3), ())
    cues = store(labels)
    assert with_labels(cues, labels, list(labels), CLASSES, "labels.csv") == (cues, [])


def test_labels_that_the_cue_file_lacks_are_added_and_counted_by_class() -> None:
    labels = many((1,), (2,))
    truth = labels | {"0_0": (1, 2, 3), "0_1": (1, 3)}
    found, lines = with_labels(store(labels), truth, list(labels), CLASSES, "labels.csv")
    assert {name: found[name].labels for name in labels} == truth
    assert all((found[name].map == store(labels)[name].map).all() for name in labels), "cues stay as they are"
    (line,) = lines
    assert line.startswith("2 of 20 images have classes in labels.csv that the labels of the cue file lack: ")
    assert "person (2), dog (1)" in line


def test_cues_of_classes_that_the_labels_lack_are_left_out_and_counted() -> None:
    labels = many((1,), (2, 3))
    truth = labels | {"1_3": (2,), "1_4": (3,)}
    found, lines = with_labels(store(labels), truth, list(labels), CLASSES, "labels.csv")
    assert found["1_3"].labels == (2,)
    assert found["1_3"].map.tolist() == [[0, 2, NONE], [NONE, NONE, NONE]]
    assert found["1_4"].map.tolist() == [[0, NONE, 3], [NONE, NONE, NONE]]
    assert found["1_5"].map.tolist() == [[0, 2, 3], [NONE, NONE, NONE]]
    (line,) = lines
    assert line.startswith("2 of 20 images have classes in the labels of the cue file that labels.csv lacks: ")
    assert "dog (1), person (1)" in line


def test_other_images_of_the_cue_file_keep_their_labels() -> None:
    labels = many((1,), (2,))
    found, _ = with_labels(store(labels), {"0_0": (1, 2)}, ["0_0"], CLASSES, "labels.csv")
    assert (found["0_0"].labels, found["0_1"].labels, len(found)) == ((1, 2), (1,), 20)


def test_classes_that_changed_their_numbers_are_refused() -> None:
    labels = many((1,), (2,), (3,), (3,))
    swapped = many((2,), (1,), (3,), (3,))
    with pytest.raises(UserError, match=r"lacks most .*:\n  cat: 10 of 10 images\n  dog: 10 of 10 images\n.*changed"):
        with_labels(store(labels), swapped, list(labels), CLASSES, "labels.csv")
    with pytest.raises(UserError, match=r"all classes: 1 of 1 labels"):
        with_labels(store({"a": (1,)}), {"a": (2,)}, ["a"], CLASSES, "labels.csv")


def test_class_names_in_another_order_than_the_cue_file_states_are_refused_and_new_ones_at_the_end_are_not() -> None:
    labels = many((1,), (2,))
    then = ["background", "ant", "cat", "dog"]
    with pytest.raises(UserError, match=r"3 class numbers have another meaning.*\n  1: ant in the cues, cat in"):
        with_labels(store(labels, then), labels, list(labels), CLASSES, "labels.csv")
    with_labels(store(labels, ["background", "cat", "dog"]), labels, list(labels), CLASSES, "labels.csv")
