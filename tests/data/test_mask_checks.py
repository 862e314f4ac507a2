"""Masks that contradict the labels are refused or reported, wherever both come together."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from secseg.data.classes import voc_palette
from secseg.data.folder_module import FolderDataModule
from secseg.data.mask_checks import check_shown_classes
from secseg.data.splits import ImageSet
from secseg.data.voc_module import VOCDataModule
from secseg.utils.errors import UserError
from tests.folder_data import draw_folder, draw_mask

LABELS = "image,labels\na.jpg,{}\nb.jpg,{}\nsub/c.png,\n"


def folder(root: Path, masks: dict[str, int], labels: tuple[str, str] = ("cup", "cup")) -> Path:
    """Draw three images, the first two with these labels, and masks whose upper half has a value."""
    draw_folder(root, LABELS.format(*labels))
    for name, value in masks.items():
        draw_mask(root / "masks" / f"{name}.png", value)
    return root


def scored(root: Path, **settings: str) -> FolderDataModule:
    module = FolderDataModule(str(root), val_split="masks", **settings)
    module.open_scored()
    return module


def trained(root: Path) -> None:
    module = FolderDataModule(str(root), masks="dataset", train_split="masks", val_split="all")
    module.open(cues=False, masks=True)


def cue_making(root: Path) -> None:
    FolderDataModule(str(root), val_split="all", train_split="all").open_train()


@pytest.mark.parametrize("command", [scored, trained, cue_making])
def test_masks_of_0_and_255_are_refused_with_the_setting_that_reads_them(
    tmp_path: Path, command: Callable[[Path], object]
) -> None:
    root = folder(tmp_path, {"a": 255, "b": 255, "sub/c": 0})
    with pytest.raises(UserError) as failure:
        command(root)
    assert "2 of 2 masks of labelled images in" in str(failure.value)
    assert "\n  a: cup; the mask holds background, 255 (void)\n" in str(failure.value)
    assert "If 255 is the class cup, set data.mask_values=binary." in str(failure.value)


def test_the_setting_binary_reads_255_as_the_class(tmp_path: Path) -> None:
    module = scored(folder(tmp_path, {"a": 255, "b": 1, "sub/c": 0}), mask_values="binary")
    for name, _, mask in module.val_images.triples():
        assert set(np.unique(module.val_images.read_mask(mask))) == ({0} if name == "sub/c" else {0, 1})


def test_the_setting_binary_is_for_one_class(tmp_path: Path) -> None:
    root = folder(tmp_path, {"a": 255}, ("cup", "dog"))
    with pytest.raises(UserError, match=r"data\.mask_values=binary is for one class, and there are 2"):
        scored(root, mask_values="binary")
    with pytest.raises(UserError, match=r"The class numbers are 0 background, 1 cup, 2 dog\. Correct the masks"):
        scored(root)
    with pytest.raises(UserError, match=r"data\.mask_values=255: give one of auto, numbers, colours, binary"):
        scored(root, mask_values="255")


def test_class_numbers_in_another_order_are_refused(tmp_path: Path) -> None:
    root = folder(tmp_path, {"a": 2, "b": 1}, ("cup", "dog"))
    with pytest.raises(
        UserError, match=r"2 of 2 masks .* show no class of their labels:\n  a: cup; .* background, dog\n"
    ):
        scored(root)
    scored(root, classes=["dog", "cup"])  # type: ignore[arg-type]


def test_classes_in_labels_or_masks_alone_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        scored(folder(tmp_path, {"a": 1, "b": 1, "sub/c": 1}, ("cup", "dog")))
    said = "\n".join(caplog.messages)
    assert "1 of 2 masks of labelled images in" in said
    assert "  b: dog; the mask holds background, cup" in said
    assert (
        "  cup: in 2 masks of images without this label\n  dog: a label of 1 image with a mask, and in no mask" in said
    )


def test_some_masks_of_0_and_255_are_counted_with_the_fix(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    scored(folder(tmp_path, {"a": 255, "b": 1}))
    assert "1 of 2 masks of labelled images" in caplog.text
    assert "If 255 is the class cup, set data.mask_values=binary." in caplog.text


def test_masks_whose_background_is_void_are_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = folder(tmp_path, {})
    for name in "ab":
        mask = np.full((20, 30), 255, np.uint8)
        mask[:5] = 1
        (root / "masks").mkdir(exist_ok=True)
        Image.fromarray(mask).save(root / "masks" / f"{name}.png")
    scored(root)
    assert re.search(r"No mask of \w+ \(split masks\) shows the background \(0\), and 2 of 2 hold 255\. ", caplog.text)
    caplog.clear()
    draw_mask(root / "masks" / "a.png", 1)
    scored(root)
    assert "shows the background" not in caplog.text


def test_masks_that_fit_the_labels_give_no_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        scored(folder(tmp_path, {"a": 1, "b": 2, "sub/c": 0}, ("cup", "dog")))
    assert not caplog.messages


def test_predicted_masks_are_not_compared_with_the_labels_but_must_show_a_class(tmp_path: Path) -> None:
    root = folder(tmp_path / "data", {"sub/c": 0}, ("cup", "dog"))
    (root / "train.txt").write_text("a\nb\n")

    def train() -> None:
        predicted = str(tmp_path / "predicted")
        FolderDataModule(str(root), masks=predicted, train_split="train.txt", val_split="masks").open(
            cues=False, masks=True
        )

    for name in ("a", "b"):
        draw_mask(tmp_path / "predicted" / f"{name}.png", 255)
    with pytest.raises(
        UserError, match=r"No mask of data \(split train\.txt\) shows a class: 2 masks were read, and 2 of them"
    ):
        train()
    draw_mask(tmp_path / "predicted" / "a.png", 2)
    train()


def image_set(folder: Path, values: list[int]) -> ImageSet:
    masks = tuple(folder / f"{number}.png" for number in range(len(values)))
    for path, value in zip(masks, values, strict=True):
        draw_mask(path, value)
    names = tuple(path.stem for path in masks)
    return ImageSet("data/val", names, masks, masks, ("background", "cup", "dog"), voc_palette())


def test_the_search_for_a_class_ends_at_the_first(tmp_path: Path) -> None:
    images = image_set(tmp_path, [255, 0, 2, 1])
    (tmp_path / "3.png").write_text("is not read")
    assert check_shown_classes(images) == check_shown_classes(images.take([])) == []
    alone = "1 mask of data/val shows background alone: scores say nothing about classes."
    assert check_shown_classes(images.take([1])) == [alone]


def test_masks_of_void_alone_are_refused_in_the_layout_of_voc(tmp_path: Path) -> None:
    base = tmp_path / "VOC2012"
    (base / "JPEGImages").mkdir(parents=True)
    for name in ("a", "b"):
        Image.new("RGB", (30, 20)).save(base / "JPEGImages" / f"{name}.jpg")
        draw_mask(base / "SegmentationClass" / f"{name}.png", 255)
    (base / "val.txt").write_text("a\nb\n")
    for values in ({"labels": "masks"}, {}):
        module = VOCDataModule(str(tmp_path), "val", "val", **values)
        with pytest.raises(
            UserError, match=r"No mask of VOC2012 \(split val\) shows a class: 2 masks were read, and 2 of them"
        ):
            module.open_scored()
        with pytest.raises(UserError, match=r"No mask of VOC2012 \(split val\) shows a class"):
            module.open_train()
