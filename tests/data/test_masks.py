"""Masks become class numbers, or are refused with a reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from secseg.data.classes import voc_palette
from secseg.data.masks import read_mask, save_mask
from secseg.utils.errors import UserError


def make_mask(path: Path, values: np.ndarray, mode: str = "P") -> Path:
    image = Image.fromarray(values)
    if mode == "P":
        image.putpalette(voc_palette().reshape(-1).tolist())
    image.save(path)
    return path


def test_a_saved_mask_is_read_as_it_was_and_shows_the_palette(tmp_path: Path) -> None:
    values = np.array([[0, 3, 255], [20, 15, 0]], dtype=np.uint8)
    save_mask(values, tmp_path / "folder" / "a.png", voc_palette())
    np.testing.assert_array_equal(read_mask(tmp_path / "folder" / "a.png", 21), values)
    with Image.open(tmp_path / "folder" / "a.png") as image:
        assert image.mode == "P"
        np.testing.assert_array_equal(np.array(image.convert("RGB")), voc_palette()[values])


@pytest.mark.parametrize("mode", ["P", "L"])
def test_palette_and_grey_masks_give_their_numbers(tmp_path: Path, mode: str) -> None:
    values = np.array([[0, 3, 255], [20, 15, 0]], dtype=np.uint8)
    read = read_mask(make_mask(tmp_path / "a.png", values, mode), 21, (2, 3))
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, values)


def test_a_coloured_mask_is_refused_with_what_to_do(tmp_path: Path) -> None:
    Image.fromarray(voc_palette()[np.zeros((2, 3), dtype=int)]).save(tmp_path / "a.png")
    with pytest.raises(UserError, match=r"a\.png holds colours \(RGB pixels\).*Save it as a palette or grey"):
        read_mask(tmp_path / "a.png", 21)


def test_values_that_are_not_classes_are_listed(tmp_path: Path) -> None:
    path = make_mask(tmp_path / "a.png", np.array([[0, 21, 254], [20, 255, 0]], dtype=np.uint8))
    with pytest.raises(UserError, match=r"a\.png holds the values 21, 254; .*0\.\.20 and 255"):
        read_mask(path, 21)


def test_a_mask_of_another_size_than_its_image_is_reported(tmp_path: Path) -> None:
    path = make_mask(tmp_path / "a.png", np.zeros((2, 3), dtype=np.uint8))
    with pytest.raises(UserError, match=r"a\.png is 3 x 2 pixels, its image 2 x 3"):
        read_mask(path, 21, (3, 2))


def test_a_real_mask_reads_as_its_palette_shows(voc_animals: Path) -> None:
    path = next(iter(sorted((voc_animals / "SegmentationClassAug").glob("*.png"))))
    shown = np.array(Image.open(path).convert("RGB"))
    np.testing.assert_array_equal(voc_palette()[read_mask(path, 21)], shown)
