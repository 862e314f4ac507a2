"""The user's data as a data module: stable splits, masks and cues that fit, labels, a summary."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from secseg.data.folder import open_folder
from secseg.data.folder_module import FolderDataModule, choose_split
from secseg.utils.errors import UserError
from tests.folder_data import draw_folder, draw_images, draw_mask, write_cues


def opened(root: Path, cues: bool = False, **settings: Any) -> FolderDataModule:
    module = FolderDataModule(str(root), **settings)
    module.open(cues=cues, masks=False)
    return module


def many(root: Path, count: int) -> Path:
    draw_images(root / "images", [f"{number:03d}.jpg" for number in range(count)], size=(2, 2))
    (root / "labels.csv").write_text("\n".join(f"{number:03d},cat" for number in range(count)))
    return root


def supervised(root: Path, masks: str) -> FolderDataModule:
    module = FolderDataModule(str(root), masks=masks, val_split="val.txt")
    module.open(cues=False, masks=True)
    return module


def test_a_share_of_the_images_is_held_out_and_stays_held_out_when_others_are_added(tmp_path: Path) -> None:
    few, more = (opened(many(tmp_path, count), val_share=0.3).val_images.names for count in (60, 90))
    assert 0.15 * 60 < len(few) < 0.45 * 60
    assert set(few) == {name for name in more if int(name) < 60}
    assert set(more) > set(few)


@pytest.mark.parametrize("share", [1e-9, 1 - 1e-9])
def test_of_two_images_one_is_trained_on_and_one_held_out(tmp_path: Path, share: float) -> None:
    module = opened(many(tmp_path, 2), val_share=share)
    assert {*module.train_images.names, *module.val_images.names} == {"000", "001"}
    assert len(module.train_images.names) == len(module.val_images.names) == 1


def test_a_single_image_cannot_be_held_out_but_can_be_in_both_splits(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"only one image \(000\).*data\.val_split=all"):
        opened(many(tmp_path, 1))
    module = opened(tmp_path, val_split="all")
    assert module.train_images.names == module.val_images.names == ("000",)


def test_the_column_split_of_the_table_sets_the_split(tmp_path: Path) -> None:
    root = draw_folder(tmp_path, "image,labels,split\na,cat,val\nb,cat,train\nsub/c,dog,test\n")
    module = opened(root)
    assert (module.train_images.names, module.val_images.names) == (("b",), ("a",))
    assert opened(root, val_split="test").val_images.names == ("sub/c",)


def test_a_list_of_ids_is_held_out(tmp_path: Path) -> None:
    root = draw_folder(tmp_path)
    (root / "val.txt").write_text("sub/c.png\na\n")
    module = opened(root, val_split="val.txt")
    assert (module.val_images.names, module.train_images.names) == (("sub/c", "a"), ("b",))
    (root / "val.txt").write_text("sub/d\n")
    with pytest.raises(UserError, match=r"names images that .* does not have:\n  sub/d. Did you mean 'sub/c'"):
        opened(root, val_split="val.txt")


def test_images_with_masks_can_be_held_out(tmp_path: Path) -> None:
    root = draw_folder(tmp_path)
    with pytest.raises(UserError, match="has no masks, so no split 'masks'"):
        opened(root, val_split="masks")
    draw_images(root / "masks", ("a.tif",))
    with pytest.raises(UserError, match=r"(?s)has no masks.*1 file in .* and the suffix \.png\):\n  a\.tif"):
        opened(root, val_split="masks")
    with pytest.raises(UserError, match=rf"There is no id list at {root}/gone\.txt or gone\.txt\. Give the path"):
        opened(root, val_split="gone.txt")
    (root / "gone.txt").write_text("A\n")
    with pytest.raises(UserError, match=r"  A\. Did you mean 'a'"):
        opened(root, val_split="gone.txt")
    draw_mask(root / "masks" / "sub" / "c.png", 2)
    module = opened(root, val_split="masks")
    assert (module.train_images.names, module.val_images.names) == (("a", "b"), ("sub/c",))
    draw_mask(root / "masks" / "a.png", 1)
    draw_mask(root / "masks" / "b.png", 1)
    with pytest.raises(UserError, match=r"no image in the split 'train'\. All are .* split, data\.val_split=masks\."):
        opened(root, val_split="masks")


def test_training_and_validation_can_be_the_same_images(tmp_path: Path) -> None:
    data = open_folder(draw_folder(tmp_path))
    assert choose_split(data, "train", "train", 0.1) == choose_split(data, "train", "val", 0.1)


def test_a_split_that_the_column_split_lacks_is_reported_with_the_remedy(tmp_path: Path) -> None:
    root = draw_folder(tmp_path, "image,labels,split\na,cat,train\nb,cat,train\nsub/c,dog,test\n")
    with pytest.raises(UserError) as failure:
        opened(root)
    said = str(failure.value)
    assert (
        "no image in the split 'val'. The labels of labels.csv name the split of each image: 2 train, 1 test." in said
    )
    assert (
        "Name images of val there, or set data.val_split to another split. There are all, masks, test, train," in said
    )
    assert "Did you mean" not in said


def test_an_unknown_split_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"no image in the split 'mask'.*Did you mean 'masks'\? There are all, masks, train"
    ):
        opened(draw_folder(tmp_path), train_split="mask")


def test_labels_come_from_the_table_and_are_those_of_the_training_images(tmp_path: Path) -> None:
    root = draw_folder(tmp_path)
    (root / "cues.safetensors").write_bytes(b"damaged, and not opened")
    (root / "val.txt").write_text("a")
    module = opened(root, val_split="val.txt")
    assert module.image_labels() == {"b": (1, 2), "sub/c": ()}
    assert module.protocol()["labels"] == "labels.csv"


def test_cues_made_for_other_labels_are_refused(tmp_path: Path) -> None:
    root = draw_folder(tmp_path)
    (root / "val.txt").write_text("a")
    with pytest.raises(UserError, match=rf"python src/make_cues\.py data=folder data\.root={root} out={root}`"):
        opened(root, cues=True)
    write_cues(root / "cues.safetensors", {"a": (2,), "b": (1, 2), "sub/c": ()})
    assert opened(root, cues=True, val_split="val.txt").cues is not None
    write_cues(root / "cues.safetensors", {"a": (1,), "b": (2,), "sub/c": (1,)})
    with pytest.raises(
        UserError, match=r"labels\.csv lacks most of what .*:\n  all classes: 1 of 2 labels\n.*make the cues again"
    ):
        opened(root, cues=True, val_split="val.txt")


def test_masks_that_do_not_fit_are_all_reported_before_training(tmp_path: Path) -> None:
    root = draw_folder(tmp_path)
    draw_mask(root / "masks" / "a.png", 3)
    draw_mask(root / "masks" / "b.png", 1, size=(9, 9))
    with pytest.raises(
        UserError,
        match=r"2 masks of \w+ \(split all\) cannot be used:\n.*a\.png holds the values 3.*\n.*b\.png is 9 x 9",
    ):
        opened(root, val_split="all")


def test_training_on_masks_needs_a_mask_of_each_training_image(tmp_path: Path) -> None:
    root = draw_folder(tmp_path)
    (root / "val.txt").write_text("a")
    draw_mask(root / "masks" / "b.png", 1)
    with pytest.raises(UserError, match=r"1 mask .*\n  There is no image at \S+masks/sub/c\.png"):
        supervised(root, "dataset")
    for name in ("b.png", "sub/c.png"):
        draw_mask(root / "predicted" / name, 2)
    assert supervised(root, str(root / "predicted")).train_images.masks == (
        root / "predicted" / "b.png",
        root / "predicted" / "sub" / "c.png",
    )


def test_only_images_with_masks_are_scored_and_no_mask_at_all_is_reported(tmp_path: Path) -> None:
    root = draw_folder(tmp_path)
    module = FolderDataModule(str(root), val_split="all")
    with pytest.raises(UserError, match=r"\(split all\) has no masks to score against"):
        module.open_scored()
    draw_mask(root / "masks" / "b.png", 1)
    module.open_scored()
    assert module.val_images.names == ("b",)


def test_the_summary_counts_and_warns(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = draw_folder(tmp_path, "image,labels,split\na,cat,train\nb,cat|cow,val\n")
    draw_mask(root / "masks" / "a.png", 1)
    draw_mask(root / "masks" / "c_mask.png", 1)
    with caplog.at_level(logging.INFO):
        opened(root, unlabelled="skip")
    table, *warnings = caplog.messages
    counts = {line[:20].strip(): line[20:].split() for line in table.splitlines()[2:]}
    assert counts == {
        "all": ["2", "1", "1"],
        "cat": ["2", "1", "1"],
        "cow": ["1", "0", "1"],
        "(several classes)": ["1", "0", "1"],
        "(background alone)": ["0", "0", "0"],
        "(with a mask)": ["1", "1", "0"],
    }
    assert [warning.partition(":")[0] for warning in warnings] == [
        "1 image without labels is left out",
        "1 class has no training image",
        "1 file in the folder of masks belongs to no image (a mask has the name of its image and the suffix .png)",
        "No validation image has a mask",
    ]
    assert "data.val_split=masks" in warnings[-1]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"unlabelled": "ignore"}, r"data\.unlabelled=ignore: give one of error, skip"),
        ({"val_share": 1}, r"data\.val_share=1: give a number in \(0, 1\)"),
        ({"classes": [True, "cat"]}, r"data\.classes=\[True, 'cat'\]: give a list of names"),
        ({"classes": "cat"}, r"data\.classes=cat: give a list"),
        ({"difficult": 0}, r"data\.difficult=0: give one of null, present, absent"),
        ({"label_separator": ""}, r"data\.label_separator=: give a text, or null \(space for white space\)"),
    ],
)
def test_settings_out_of_range_are_refused(tmp_path: Path, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        FolderDataModule(str(tmp_path), **settings)
    with pytest.raises(UserError, match=r"needs data\.root="):
        FolderDataModule(None)


def test_dark_images_of_16_bits_and_images_of_other_kinds_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = draw_folder(tmp_path)
    Image.fromarray(np.array([[0, 9999]], np.uint16)).save(root / "images" / "sub" / "c.png")
    (root / "images" / "d.heic").touch()
    Image.new("RGBA", (9, 9), (0, 0, 0, 0)).save(root / "images" / "b.png")
    (root / "images" / "b.jpg").unlink()
    opened(root)
    assert re.search(r"1 image has transparent pixels, such as \S+b\.png\. Transparency is ignored", caplog.text)
    assert re.search(r"1 image of more than 8 bits uses less than a quarter .*sub/c\.png: dark", caplog.text)
    assert re.search(r"1 file looks like an image and is left out \(1 \.heic\): \S+d\.heic\. Convert", caplog.text)


def test_the_folders_of_splits_are_the_splits(tmp_path: Path) -> None:
    draw_images(tmp_path, ("train/cat/1.jpg", "train/background/2.jpg", "val/cat/3.jpg", "test/cat/4.jpg"))
    module = opened(tmp_path)
    assert module.class_names == ("background", "cat")
    assert module.train_images.names == ("train/background/2", "train/cat/1")
    assert module.val_images.names == ("val/cat/3",)


def test_what_the_labels_lack_is_reported_for_cues_but_not_for_masks(tmp_path: Path) -> None:
    root = draw_folder(tmp_path, "image,labels\na,cat\nb,cat\nsub/c,cat\n")
    for name in ("a", "b", "sub/c"):
        draw_mask(root / "masks" / f"{name}.png", 1)
    module = FolderDataModule(str(root), train_split="all", val_split="all")
    module.open_train()
    assert module.warnings[0].startswith("cat: none of 3 training images are without this class")
    assert module.warnings[1].startswith("1 of 1 class has fewer than 10 training images: cat (3).")
    module = FolderDataModule(str(root), train_split="all", val_split="all", masks="dataset")
    module.open(cues=False, masks=True)
    assert [line.partition(".")[0] for line in module.warnings] == [
        "3 of 3 validation images are also in the training split"
    ]


@pytest.mark.parametrize(("last", "lacks"), [("cat", True), ("", False)])
def test_a_folder_without_images_of_the_background_lacks_it(tmp_path: Path, last: str, lacks: bool) -> None:
    root = draw_folder(tmp_path, f"image,labels\na,cat\nb,dog\nsub/c,{last}\n")
    module = FolderDataModule(str(root), train_split="all", val_split="all")
    module.open_train()
    assert module.lacks_background is lacks


def test_masks_of_held_out_images_are_looked_at_before_cues_are_made(tmp_path: Path) -> None:
    root = draw_folder(tmp_path, "image,labels,split\na,cat,train\nb,cat,val\nsub/c,cat,test\n")
    for name in ("b", "sub/c"):
        draw_mask(root / "masks" / f"{name}.png", 1, size=(3, 2))
    with pytest.raises(UserError, match=r"2 masks of \w+ \(split all\) cannot be used:\n.*b\.png is 2 x 3 pixels"):
        FolderDataModule(str(root)).open_train()


def test_a_limit_takes_images_of_all_classes_and_the_table_counts_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names = {"cat": "abcdefgh", "dog": "ijklmnop", "owl": "q", "": "rstuvwx"}
    draw_images(tmp_path / "images", [f"{name}.jpg" for group in names.values() for name in group], size=(2, 2))
    lines = [f"{name},{label}" for label, group in names.items() for name in group]
    (tmp_path / "labels.csv").write_text("\n".join(["image,labels", *lines]))
    with caplog.at_level(logging.INFO):
        module = opened(tmp_path, limit=8, val_split="all")
    labels = [module.data.labels[name] for name in module.train_images.names]
    assert {number: labels.count(number) for number in labels} == {(): 3, (1,): 2, (2,): 2, (3,): 1}
    assert module.val_images.names == module.train_images.names
    table = {line.split("  ")[0]: line.split()[-3:] for line in caplog.messages[0].splitlines()[2:]}
    assert table["all"] == ["24", "8", "8"]
    assert [table[name][1] for name in ("cat", "dog", "owl", "(background alone)")] == ["2", "2", "1", "3"]


def test_images_that_lie_in_the_root_get_another_folder_for_their_cues(tmp_path: Path) -> None:
    draw_images(tmp_path, ("a.jpg", "b.jpg"))
    (tmp_path / "labels.csv").write_text("image,labels\na,cat\nb,cat\n")
    with pytest.raises(
        UserError, match=rf"make_cues\.py data=folder data\.root={tmp_path}` and train with the command"
    ):
        opened(tmp_path, cues=True)
