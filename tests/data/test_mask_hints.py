"""Messages about masks have the setting that reads them, each remedy once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from secseg.data.folder_module import FolderDataModule
from secseg.data.mask_hints import values_hint
from secseg.utils.errors import UserError
from tests.folder_data import draw_images

RED, GREEN, BLACK, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 0), (255, 255, 255)
NAMES = ("background", "cup", "dog")
LABELS = {"a": (1,), "b": (2,), "c": (1, 2), "d": ()}


def folder(root: Path, colours: dict[str, tuple[int, int, int]], labels: dict[str, str]) -> Path:
    """Draw images with masks whose upper half has a colour, and lower half is black."""
    draw_images(root / "images", [f"{name}.png" for name in colours])
    (root / "labels.csv").write_text(
        "image,labels\n" + "".join(f"{name}.png,{word}\n" for name, word in labels.items())
    )
    (root / "masks").mkdir()
    for name, colour in colours.items():
        mask = np.zeros((20, 30, 3), np.uint8)
        mask[:10] = colour
        Image.fromarray(mask).save(root / "masks" / f"{name}.png")
    return root


def refused(root: Path, **settings: object) -> str:
    module = FolderDataModule(str(root), val_split="masks", **settings)
    with pytest.raises(UserError) as failure:
        module.open_scored()
    return str(failure.value)


def test_black_and_white_masks_are_refused_with_the_setting_binary_once(tmp_path: Path) -> None:
    names = [f"im{number}" for number in range(4)]
    root = folder(tmp_path, dict.fromkeys(names, WHITE), dict.fromkeys(names, "cup"))
    said = refused(root)
    assert said.count("data.mask_values=binary") == 1
    assert said.endswith("\nIf white is the class, set data.mask_values=binary.")
    assert said.count("belong to no class: (255, 255, 255).\n") == 4
    module = FolderDataModule(str(root), val_split="masks", mask_values="binary")
    module.open_scored()
    assert set(np.unique(module.val_images.read_mask(root / "masks" / "im0.png"))) == {0, 1}


def test_the_setting_in_the_message_about_coloured_masks_reads_them(tmp_path: Path) -> None:
    colours = {"a": RED, "b": GREEN, "c": RED, "d": GREEN}
    root = folder(tmp_path, colours, {"a": "cup", "b": "dog", "c": "cup", "d": "dog"})
    said = refused(root)
    assert "set 'data.mask_values=[[0,0,0],[255,0,0],[0,255,0]]'. Its order follows the labels." in said
    assert said.count("Save it as a palette or grey PNG") == 1
    module = FolderDataModule(str(root), val_split="masks", mask_values=[list(BLACK), list(RED), list(GREEN)])
    module.open_scored()
    assert set(np.unique(module.val_images.read_mask(root / "masks" / "b.png"))) == {0, 2}


@pytest.mark.parametrize(("first", "second"), [(RED, GREEN), (GREEN, RED), (100, 200), (200, 100)])
def test_values_are_listed_in_the_order_that_the_labels_show(first: object, second: object) -> None:
    ground = BLACK if isinstance(first, tuple) else 0
    found = {"a": [ground, first], "b": [ground, second], "c": [ground, first, second], "d": [ground]}
    hint = values_hint(found, LABELS, NAMES)  # type: ignore[arg-type]
    order = str([list(one) if isinstance(one, tuple) else one for one in (ground, first, second)]).replace(" ", "")
    assert f"data.mask_values={order}'. Its order follows the labels." in hint


def test_without_labels_the_order_is_left_to_the_user() -> None:
    found = {"a": [BLACK, RED], "b": [BLACK, GREEN]}
    hint = values_hint(found, {}, NAMES)
    assert hint.endswith("[[0,0,0],[0,255,0],[255,0,0]]', in the order of the classes: background, cup, dog.")


def test_a_value_for_void_needs_no_class() -> None:
    found = {"a": [0, 100, 255], "b": [0, 200, 255], "c": [0, 100, 200]}
    assert "data.mask_values=[0,100,200]'" in values_hint(found, LABELS, NAMES)


def test_values_of_another_number_than_the_classes_are_listed_without_a_setting() -> None:
    found = {"a": [0, 100], "b": [0, 50, 30]}
    hint = values_hint(found, LABELS, NAMES)
    assert hint == "These masks hold the values 0, 100, 50, 30, and there are 3 classes with the background."


def test_many_values_are_explained_by_smoothing() -> None:
    hint = values_hint({"a": list(range(20))}, LABELS, NAMES)
    assert hint.startswith("These masks hold 20 values for 3 classes. Interpolation and JPEG write rims")
