"""Image-level labels of the VOC layout and the drawn shapes: from the cue file, another file, or masks."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from secseg.data.classes import VOID, voc_palette
from secseg.data.datamodule import ImageDataModule
from secseg.data.masks import read_mask, save_mask
from secseg.data.shapes_module import ShapesDataModule
from secseg.data.splits import ImageSet, choose_some
from secseg.data.voc_module import VOCDataModule
from secseg.utils.config import find
from secseg.utils.errors import UserError
from tests.folder_data import write_cues
from tests.inference.conftest import voc_layout


def opened(root: Path, **settings: str) -> VOCDataModule:
    module = VOCDataModule(str(root), train_split="test", val_split="test", **settings)
    module.open(cues=False, masks=False)
    return module


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two images; the masks hold 3 and void, and 20 and 8."""
    folder = voc_layout(tmp_path / "VOC2012", ("one", "two"))
    for name, values in (("one", [0, 3, VOID]), ("two", [20, 8, 0])):
        mask = np.repeat(np.array([values], np.uint8), 5, axis=0)
        save_mask(mask, folder / "SegmentationClassAug" / f"{name}.png", voc_palette())
    return folder


class Own(ImageDataModule):
    """A data set as a researcher writes it."""

    title, class_names = "own", ("background", "cat")

    def open_train_split(self, masks: bool, folder: Path | None) -> ImageSet:
        return self.images(self.train_split)

    def open_val_split(self) -> ImageSet:
        return self.images(self.val_split)

    def images(self, split: str) -> ImageSet:
        names = ("one", "two") if split == "train" else ("two",)
        files, masks = (
            tuple(self.root / folder / f"{name}.{suffix}" for name in names)
            for folder, suffix in (("JPEGImages", "jpg"), ("SegmentationClassAug", "png"))
        )
        return ImageSet(f"own/{split}", names, files, masks, self.class_names, self.palette)


def test_a_data_set_is_its_classes_and_two_methods(root: Path) -> None:
    write_cues(root / "cues.safetensors", {"one": (1,), "two": ()})
    save_mask(np.eye(5, 3, dtype=np.uint8), root / "SegmentationClassAug" / "two.png", voc_palette())
    node = {"_target_": f"{__name__}.Own", "root": str(root), "train_split": "train", "val_split": "val"}
    module = find(node.pop("_target_"), ImageDataModule, packages=("tests",))(**node)
    module.open(cues=True, masks=False)
    module.build_samples(9, (5, 5))
    sample = module.train_data[0, False]
    assert sample["image"].shape == (3, 9, 9)
    assert sample["labels"].tolist() == [0, 1]
    assert sample["cues"].shape == (2, 5, 5)
    protocol = module.protocol()
    assert (protocol["data"], protocol["train_images"], protocol["val_masks"]) == ("own", 2, 1)
    module.open_scored()
    assert module.val_images.names == ("two",)


def test_labels_are_those_of_the_cue_file_unless_another_source_is_named(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no image-level labels: no cue file in .*data\.labels=masks"):
        opened(root).image_labels()
    write_cues(root / "cues.safetensors", {"one": (1,), "two": (2, 7), "three": (5,)})
    assert opened(root).image_labels() == {"one": (1,), "two": (2, 7)}
    (tmp_path / "table.csv").write_text("one,cat\ntwo,\n")
    module = opened(root, labels=str(tmp_path / "table.csv"))
    assert module.image_labels() == {"one": (8,), "two": ()}
    assert module.label_source() == "table.csv"
    write_cues(tmp_path / "other.safetensors", {"one": (4,), "two": (5,)})
    assert opened(root, cues=str(tmp_path / "other.safetensors")).image_labels() == {"one": (4,), "two": (5,)}


def test_labels_can_be_the_classes_that_the_masks_hold(root: Path) -> None:
    module = opened(root, labels="masks")
    assert module.image_labels() == {"one": (3,), "two": (8, 20)}
    assert module.label_source() == "masks"
    (root / "SegmentationClassAug" / "two.png").write_bytes(b"no image")
    with pytest.raises(
        UserError, match=r"1 mask of VOC2012 .split test. cannot be read for labels:\n  \S+two\.png is not an image"
    ):
        module.image_labels()


def test_the_shapes_masks_hold_their_cue_files_labels(tmp_path: Path) -> None:
    module = ShapesDataModule(str(tmp_path / "shapes"), draw_train=3, draw_val=1)
    module.open(cues=True, masks=False)
    labels = module.image_labels()
    assert list(labels) == list(module.train_images.names)
    assert module.train_images.masks is not None
    for name, mask in zip(module.train_images.names, module.train_images.masks, strict=True):
        assert set(labels[name]) <= set(np.unique(read_mask(mask, 8)).tolist())


def test_some_images_are_spread_over_the_names_and_stay_the_same() -> None:
    names = [f"{letter}{number}" for letter in "abcd" for number in range(100)]  # as of folders, one for each class
    chosen = choose_some(names, 40)
    assert len(chosen) == 40
    assert list(chosen) == [name for name in names if name in chosen], "in their order"
    assert {name[0] for name in chosen} == set("abcd")
    assert choose_some(names[::-1], 40) == chosen[::-1]
    assert set(choose_some(names, 20)) < set(chosen)
    assert choose_some(names[:3], 40) == tuple(names[:3])


def test_only_images_whose_mask_exists_are_scored(root: Path) -> None:
    module = VOCDataModule(str(root), train_split="not there", val_split="test", limit=1)
    module.open_scored()
    assert module.val_images.names == ("two",)
    module.open_scored()
    assert module.val_images.with_masks().masks == (root / "SegmentationClassAug" / "two.png",)


def test_classes_without_a_training_image_and_images_in_both_splits_are_reported_before_training(
    root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_cues(tmp_path / "cues.safetensors", {"one": (8,), "two": ()})
    module = VOCDataModule(
        str(root), "test", "test", cues=str(tmp_path / "cues.safetensors"), scored=["background", "cat", "dog"]
    )
    with caplog.at_level(logging.WARNING):
        module.open(cues=True, masks=False)
    unseen, both = caplog.messages
    assert unseen == "1 scored class has no training image:\n  dog"
    assert both.startswith("2 of 2 validation images are also in the training split")
    caplog.clear()
    VOCDataModule(str(root), "test", "test").open(cues=False, masks=False)
    assert len(caplog.messages) == 1, "without cues, classes are not known before masks are read"


def test_a_limit_is_at_least_one_image(root: Path) -> None:
    with pytest.raises(UserError, match=r"data\.limit=0: give a whole number of at least 1, or null"):
        VOCDataModule(str(root), limit=0)
