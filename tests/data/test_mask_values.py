"""Tables of the values or colours that classes have in masks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from secseg.data.classes import voc_palette
from secseg.data.folder_module import FolderDataModule
from secseg.data.mask_values import as_mask_values, check_mask_values
from secseg.data.masks import read_mask, save_mask
from secseg.evaluation.scores import score_folder
from secseg.utils.errors import UserError
from tests.folder_data import draw_folder

NUMBERS = np.array([[0, 1, 2], [2, 255, 0]], dtype=np.uint8)
COLOURS = [[0, 0, 0], [255, 0, 0], [10, 10, 10]]


@pytest.mark.parametrize("mode", ["L", "P", "I;16"])
@pytest.mark.parametrize("values", [(0, 128, 255), (5, 0, 1), (0, 200, 7)])
def test_each_value_of_a_table_becomes_its_class(tmp_path: Path, mode: str, values: tuple[int, ...]) -> None:
    numbers = np.where(NUMBERS == 255, 0, NUMBERS) if 255 in values else NUMBERS
    table = np.full(256, 255, np.uint16)
    table[:3] = values
    pixels = table[numbers]
    image = Image.fromarray(pixels if mode == "I;16" else pixels.astype(np.uint8))
    if mode == "P":
        image.putpalette(voc_palette().tobytes())
    image.save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png", 3, values=values), numbers)


def test_a_value_that_the_table_lacks_is_refused(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 10, 30, 255]], np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match=r"a\.png holds the values 30\. data\.mask_values lists 0, 10, 20\. Give"):
        read_mask(tmp_path / "a.png", 3, values=(0, 10, 20))
    Image.new("RGB", (2, 2)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match=r"holds colours \(RGB pixels\), and data\.mask_values takes numbers"):
        read_mask(tmp_path / "a.png", 3, values=(0, 10, 20))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_each_colour_of_a_table_becomes_its_class(tmp_path: Path, mode: str) -> None:
    palette = np.zeros((256, 3), np.uint8)
    palette[:3], palette[255] = COLOURS, voc_palette()[255]
    if mode == "P":
        order = np.random.default_rng(0).permutation(256).astype(np.uint8)
        image = Image.fromarray(order[NUMBERS])
        shuffled = np.zeros_like(palette)
        shuffled[order] = palette
        image.putpalette(shuffled.tobytes())
    else:
        image = Image.fromarray(palette[NUMBERS]).convert(mode)
    image.save(tmp_path / "a.png")
    values: Any = as_mask_values(COLOURS)
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png", 3, values=values), NUMBERS)
    with pytest.raises(UserError, match=r"colours .*belong to no class: \(255, 0, 0\).*data\.mask_values"):
        read_mask(tmp_path / "a.png", 3, values=as_mask_values([[0, 0, 0], [254, 0, 0], [10, 10, 10]]))


def test_grey_masks_are_read_by_a_table_of_colours(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 10]], np.uint8)).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png", 3, values=as_mask_values(COLOURS)), [[0, 2]])


@pytest.mark.parametrize("values", ["auto", "binary", [0, 1], [300, 0], COLOURS])
def test_legal_settings(values: Any) -> None:
    assert not list(check_mask_values(values))


@pytest.mark.parametrize(
    "values", ["255", None, 3, [], [-1, 0], [0, True], [0.5, 1], ["a"], [[0, 0], [1, 1]], [[0, 0, 256]], [0, [1, 1, 1]]]
)
def test_other_settings_are_refused(values: Any) -> None:
    (problem,) = check_mask_values(values)
    assert "give one of auto, numbers, colours, binary, or a list" in problem


@pytest.mark.parametrize("values", [[0, 0], [[1, 1, 1], [1, 1, 1]]])
def test_two_classes_cannot_have_the_same_value(values: Any) -> None:
    assert list(check_mask_values(values)) == [f"data.mask_values={values}: two classes have the same value."]


def test_a_table_is_for_the_masks_of_the_data_and_predictions_hold_numbers(tmp_path: Path) -> None:
    root = draw_folder(tmp_path / "data", "image,labels\na.jpg,cat\nb.jpg,dog\nsub/c.png,\n")
    for name, value, number in (("a", 100, 1), ("b", 200, 2), ("sub/c", 0, 0)):
        mask = np.zeros((20, 30), np.uint8)
        (root / "masks" / name).parent.mkdir(parents=True, exist_ok=True)
        mask[:10] = value
        Image.fromarray(mask).save(root / "masks" / f"{name}.png")
        save_mask(np.where(mask == value, number, 0).astype(np.uint8), tmp_path / "out" / f"{name}.png", voc_palette())
    module = FolderDataModule(str(root), val_split="all", mask_values=[0, 100, 200])
    module.open_scored()
    assert score_folder(tmp_path / "out", module.val_images).compute()["miou"] == 1
    module = FolderDataModule(
        str(root), train_split="all", val_split="all", mask_values=[0, 100, 200], masks=str(tmp_path / "out")
    )
    module.open(cues=False, masks=True)
    images = module.train_images
    assert [int(images.read_mask(path).max()) for path in images.masks or ()] == [1, 2, 0]
    with pytest.raises(UserError, match=r"data\.mask_values lists 2 values, and there are 3 classes: background, cat"):
        FolderDataModule(str(root), mask_values=[0, 100]).open_train()
