"""Copies of an image are found by their bytes, and reported if their labels or their splits differ."""

from __future__ import annotations

import shutil
from pathlib import Path

from secseg.data.copies import HEAD, copy_warnings, find_copies
from secseg.data.folder import open_folder
from secseg.data.folder_module import folder_warnings
from tests.folder_data import draw_images


def test_only_files_with_the_same_bytes_are_copies(tmp_path: Path) -> None:
    contents = {"a": b"x" * HEAD + b"1", "b": b"x" * HEAD + b"2", "c": b"x" * HEAD + b"1", "d": b"x", "e": b"y"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "link").symlink_to("d")
    images = {name: tmp_path / name for name in (*contents, "link")}
    assert find_copies(images) == [("a", "c"), ("d", "link")]
    assert find_copies({}) == []


def test_an_image_in_two_folders_of_classes_or_in_both_splits_is_reported(tmp_path: Path) -> None:
    draw_images(tmp_path, ("train/cat/1.jpg", "train/dog/2.jpg", "val/dog/3.jpg", "val/cat/4.jpg"))
    assert not [warning for warning in _warnings(tmp_path) if "several times" in warning or "both" in warning]
    shutil.copy(tmp_path / "train/cat/1.jpg", tmp_path / "train/dog/5.jpg")
    shutil.copy(tmp_path / "train/dog/2.jpg", tmp_path / "val/dog/6.jpg")
    warnings = "\n".join(_warnings(tmp_path))
    assert "1 image is in the data several times with different labels." in warnings
    assert "in a table:\n  train/cat/1, train/dog/5" in warnings
    assert "1 image is in both splits, under different names." in warnings
    assert "Remove the copies:\n  train/dog/2, val/dog/6" in warnings


def test_copies_with_the_same_labels_in_one_split_are_no_problem(tmp_path: Path) -> None:
    draw_images(tmp_path, ("a.jpg",))
    shutil.copy(tmp_path / "a.jpg", tmp_path / "b.jpg")
    images = {name: tmp_path / f"{name}.jpg" for name in "ab"}
    assert copy_warnings(images, {"a": (1,), "b": (1,)}, ("a", "b"), ("a", "b")) == []
    assert len(copy_warnings(images, {"a": (1,), "b": ()}, ("a",), ("b",))) == 2


def _warnings(root: Path) -> list[str]:
    data = open_folder(root)
    train, val = (tuple(name for name in data.images if name.startswith(split)) for split in ("train", "val"))
    return folder_warnings(data, train, val)
