"""Sub-folders are classes, or splits with classes in them, or refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from secseg.data.folder_labels import folder_labels
from secseg.utils.errors import UserError


def test_sub_folders_are_classes_and_further_ones_do_not_matter() -> None:
    table = folder_labels(Path("images"), ["cat/1", "dog/old/2", "3"])
    assert table.words == {"cat/1": ("cat",), "dog/old/2": ("dog",)}
    assert not table.splits


@pytest.mark.parametrize(("val", "split"), [("val", "val"), ("Validation", "val"), ("test", "test")])
def test_folders_of_splits_hold_the_classes(val: str, split: str) -> None:
    table = folder_labels(Path("images"), ["train/cat/1", "train/dog/2", f"{val}/cat/old/3"])
    assert table.words == {"train/cat/1": ("cat",), "train/dog/2": ("dog",), f"{val}/cat/old/3": ("cat",)}
    assert table.splits == {"train/cat/1": "train", "train/dog/2": "train", f"{val}/cat/old/3": split}


def test_of_a_single_folder_train_a_share_is_held_out() -> None:
    table = folder_labels(Path("images"), ["train/cat/1", "train/dog/2"])
    assert set(table.words.values()) == {("cat",), ("dog",)}
    assert not table.splits


def test_trains_are_a_class() -> None:
    for names in (["train/1", "train/old/2"], ["train/1", "bus/2"], ["train/old/1", "bus/2"]):
        assert {words[0] for words in folder_labels(Path("images"), names).words.values()} <= {"train", "bus"}


@pytest.mark.parametrize("stray", ["val/1", "val/images/1", "extra/cat/1"])
def test_folders_of_splits_without_classes_are_refused(stray: str) -> None:
    with pytest.raises(UserError, match=rf"splits .*train, .*1 image outside of <split>/<class>/:\n  {stray}"):
        folder_labels(Path("images"), ["train/cat/1", "test/cat/1", stray])
