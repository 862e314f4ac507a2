"""Labels from a cue file or a table, complete and of existing classes, or refused with every problem."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from secseg.data.cues import Cues, CueStore
from secseg.data.labels import read_labels
from secseg.utils.errors import UserError

CLASSES = ("background", "cat", "dog", "horse")


def table(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "labels.csv"
    path.write_text(text, "utf-8")
    return path


def cue_file(tmp_path: Path, **labels: tuple[int, ...]) -> Path:
    empty = np.full((3, 3), 255, np.uint8)
    store = CueStore.from_dict({name: Cues(numbers, empty) for name, numbers in labels.items()}, {})
    store.save(tmp_path / "cues.safetensors")
    return tmp_path / "cues.safetensors"


def test_names_and_numbers_of_classes_are_the_same(tmp_path: Path) -> None:
    path = table(tmp_path, "a.jpg,dog cat\nsub/b,3 1\nc,\nd.x.PNG, background cat\nunused,dog\n")
    expected = {"a": (1, 2), "sub/b": (1, 3), "c": (), "d.x": (1,)}
    labels = read_labels(path, list(expected), CLASSES)
    assert {name: labels[name] for name in expected} == expected


@pytest.mark.parametrize("titles", ["name,labels\n", "\ufeffimage id,classes\n", "\ufeff", "\n", ""])
def test_a_line_of_titles_is_optional(tmp_path: Path, titles: str) -> None:
    assert read_labels(table(tmp_path, f"{titles}a,cat\n"), ["a"], CLASSES) == {"a": (1,)}


def test_every_unknown_class_is_reported_with_its_line_and_the_nearest(tmp_path: Path) -> None:
    path = table(tmp_path, "a,catt\nb,dog 4\n")
    with pytest.raises(UserError, match=r"line 1, a: 'catt' is not a class\. Did you mean 'cat'") as raised:
        read_labels(path, ["a", "b"], CLASSES)
    assert "line 2, b: '4' is not a class." in str(raised.value)


def test_a_name_that_is_listed_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="line 2: a is listed a second time"):
        read_labels(table(tmp_path, "a,cat\na.jpg,dog\n"), ["a"], CLASSES)


def test_images_without_labels_are_all_listed(tmp_path: Path) -> None:
    for path in (table(tmp_path, "a,cat\n"), cue_file(tmp_path, a=(1,))):
        with pytest.raises(UserError, match=r"2 of 3 images have no labels in .*\n  b\n  c\n"):
            read_labels(path, ["a", "b", "c"], CLASSES)


def test_a_cue_file_gives_its_labels_and_must_be_of_the_networks_classes(tmp_path: Path) -> None:
    path = cue_file(tmp_path, a=(1, 3), b=(), c=(7,))
    assert read_labels(path, ["a", "b"], CLASSES) == {"a": (1, 3), "b": ()}
    with pytest.raises(UserError, match=r"have classes outside 0\.\.3:\n  c: class 7"):
        read_labels(path, ["c"], CLASSES)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no file of labels at \S+absent\.csv"):
        read_labels(tmp_path / "absent.csv", ["a"], CLASSES)
    with pytest.raises(UserError, match=r"cue file .* does not exist"):
        read_labels(tmp_path / "absent.safetensors", ["a"], CLASSES)
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"Cannot read the labels in \S+binary\.csv"):
        read_labels(tmp_path / "binary.csv", ["a"], CLASSES)
    with pytest.raises(UserError, match="Cannot read the labels"):
        read_labels(tmp_path, ["a"], CLASSES)
