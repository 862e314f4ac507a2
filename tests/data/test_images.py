"""Images of every colour mode become RGB bytes; masks are class numbers or are refused with a reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from secseg.data.classes import voc_palette
from secseg.data.images import image_size, read_image, read_mask, save_mask
from secseg.utils.errors import UserError


def colours(height: int = 6, width: int = 9) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def make_mask(path: Path, values: np.ndarray, mode: str = "P") -> Path:
    image = Image.fromarray(values)
    if mode == "P":
        image.putpalette(voc_palette().reshape(-1).tolist())
    image.save(path)
    return path


def test_an_image_is_read_unchanged(tmp_path: Path) -> None:
    Image.fromarray(colours()).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), colours())


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "1", "I;16"])
def test_other_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    grey = np.array([[0, 255], [255, 0]], dtype=np.uint8)
    image = Image.fromarray(grey.astype(np.uint16) * 257) if mode == "I;16" else Image.fromarray(grey).convert(mode)
    image.save(tmp_path / "a.png")
    read = read_image(tmp_path / "a.png")
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, np.repeat(grey[..., None], 3, axis=2))


def test_a_cmyk_jpeg_becomes_rgb(tmp_path: Path) -> None:
    red = Image.new("RGB", (16, 16), (250, 5, 5))
    red.convert("CMYK").save(tmp_path / "a.jpg", quality=100)
    read = read_image(tmp_path / "a.jpg")
    assert read.shape == (16, 16, 3)
    assert np.abs(read.astype(int) - (250, 5, 5)).max() < 12


def test_an_image_is_rotated_as_its_exif_says(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees clockwise
    Image.fromarray(colours()).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), np.rot90(colours(), -1))


@pytest.mark.parametrize("keep", [0, 1, 100, 0.5, 0.9])
def test_a_truncated_jpeg_is_named(tmp_path: Path, keep: float) -> None:
    path = tmp_path / "2007_000032.jpg"
    Image.fromarray(colours(64, 64)).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: keep if isinstance(keep, int) else int(len(data) * keep)])
    with pytest.raises(UserError, match=r"2007_000032\.jpg .*(truncated|damaged)"):
        read_image(path)


def test_a_missing_file_and_a_file_that_is_not_an_image_are_named(tmp_path: Path) -> None:
    (tmp_path / "page.jpg").write_text("<html>404</html>")
    with pytest.raises(UserError, match=r"page\.jpg is not an image"):
        read_image(tmp_path / "page.jpg")
    with pytest.raises(UserError, match=r"no image at .*absent\.jpg"):
        read_image(tmp_path / "absent.jpg")
    with pytest.raises(UserError, match=r"no image at .*absent\.png"):
        read_mask(tmp_path / "absent.png", 21)
    with pytest.raises(UserError, match="image"):
        read_image(tmp_path)


def test_an_image_without_read_permission_is_reported_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, **_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Image, "open", refuse)
    with pytest.raises(UserError, match=r"a\.jpg cannot be read: you lack the permission"):
        read_image(tmp_path / "a.jpg")


@pytest.mark.parametrize("turned", range(1, 9))
def test_the_size_in_the_header_is_the_size_of_the_image_as_read(tmp_path: Path, turned: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = turned
    Image.fromarray(colours()).save(tmp_path / "a.jpg", exif=exif)
    assert image_size(tmp_path / "a.jpg") == read_image(tmp_path / "a.jpg").shape[:2]


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
