"""``secseg.show``: an image next to its mask, with the classes of the mask in the legend."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

import secseg
from secseg.data.classes import VOID, voc_palette
from secseg.utils.errors import UserError

GREY = np.full((40, 60, 3), 120, np.uint8)
NAMES = ("background", "$cat$", "dog")


def mask_of(number: int) -> np.ndarray:
    mask = np.zeros((40, 60), np.uint8)
    mask[:, 30:] = number
    return mask


def test_the_left_half_is_the_image_and_the_right_one_the_mask_over_it() -> None:
    picture = secseg.show(GREY, mask_of(2), NAMES)
    assert isinstance(picture, Image.Image)
    pixels = np.asarray(picture)
    height, width = pixels.shape[:2]
    middle = height // 3
    assert (pixels[middle, width // 4] == 120).all()
    mixed = np.round(0.4 * 120 + 0.6 * voc_palette()[2]).astype(np.uint8)
    assert (pixels[middle, width * 7 // 8] == mixed).all()
    assert (pixels[middle, width * 5 // 8] == round(0.4 * 120)).all()  # background
    with BytesIO() as file:
        picture.save(file, "PNG")  # what a notebook does to display it
    assert picture._repr_png_()


def test_void_is_not_drawn() -> None:
    pixels = np.asarray(secseg.show(GREY, mask_of(VOID), NAMES))
    assert (pixels[pixels.shape[0] // 3, pixels.shape[1] * 7 // 8] == 120).all()


@pytest.mark.parametrize(
    ("names", "legend"), [(NAMES, ["background", r"\$cat\$"]), (None, ["0", "1"])], ids=["names", "numbers"]
)
def test_the_legend_has_the_classes_of_the_mask(names: Any, legend: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    figures = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: (figures.append(self), save(self, *a, **k))[1])
    secseg.show(GREY, mask_of(1), names)
    assert [text.get_text() for text in figures[0].legends[0].get_texts()] == legend


@pytest.mark.parametrize("size", [(1, 1), (3, 400), (400, 3), (120, 90)])
def test_images_of_any_shape_and_many_classes_with_long_names_are_drawn(size: tuple[int, int]) -> None:
    mask = (np.arange(size[0] * size[1]) % 21).astype(np.uint8).reshape(size)
    names = [f"a rather long name of a class, number {number}" for number in range(21)]
    picture = secseg.show(np.zeros((*size, 3), np.uint8), mask, names)
    assert min(picture.size) > 50


def test_a_file_is_rotated_as_its_tag_says(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(GREY).save(tmp_path / "turned.jpg", exif=exif)
    secseg.show(tmp_path / "turned.jpg", np.zeros((60, 40), np.uint8))
    with pytest.raises(UserError, match=r"The mask is \(40, 60\) uint8: give an array \(60, 40\) uint8"):
        secseg.show(tmp_path / "turned.jpg", mask_of(1))


@pytest.mark.parametrize(
    ("mask", "said"),
    [
        (mask_of(1).astype(int), "The mask is .* int64: give an array"),
        (mask_of(1).tolist(), "The mask is of the type list"),
        (mask_of(3), "The mask holds class 3, and class_names has 3 names, from 0 on"),
    ],
)
def test_a_mask_that_does_not_fit_is_refused(mask: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        secseg.show(GREY, mask, NAMES)
