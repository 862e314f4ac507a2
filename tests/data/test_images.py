"""Images of every colour mode become RGB bytes; masks are class numbers or are refused with a reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from secseg.data.images import check_image, image_size, read_image, shows_transparency
from secseg.data.masks import read_mask
from secseg.utils.errors import UserError


def colours(height: int = 6, width: int = 9) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


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


def test_transparent_pixels_are_noticed_in_every_mode_that_has_them(tmp_path: Path) -> None:
    opaque = Image.fromarray(colours()).convert("RGBA")
    clear = opaque.copy()
    clear.putpixel((0, 0), (9, 9, 9, 0))
    palette = Image.fromarray(colours()).quantize(8)
    clear.save(tmp_path / "rgba.png")
    clear.convert("LA").save(tmp_path / "la.png")
    clear.save(tmp_path / "lossless.webp", lossless=True, exact=True)
    palette.save(tmp_path / "palette.png", transparency=int(np.array(palette)[0, 0]))
    Image.fromarray(colours()).save(tmp_path / "key.png", transparency=tuple(colours()[0, 0].tolist()))
    for path in sorted(tmp_path.iterdir()):
        assert check_image(path) == {"transparent"}, path
        assert shows_transparency(path)
    opaque.save(tmp_path / "opaque.png")
    Image.fromarray(colours()).save(tmp_path / "unused.png", transparency=(1, 2, 3))
    Image.fromarray(colours().astype(np.uint16)[..., 0] * 257).save(tmp_path / "grey.png", transparency=5)
    assert [check_image(tmp_path / f"{name}.png") for name in ("opaque", "unused", "grey")] == [set()] * 3


@pytest.mark.parametrize("suffix", ["tif", "webp", "png"])
def test_files_of_several_images_are_noticed(tmp_path: Path, suffix: str) -> None:
    image = Image.fromarray(colours())
    image.save(tmp_path / f"a.{suffix}", save_all=True, append_images=[image.rotate(180)])
    assert check_image(tmp_path / f"a.{suffix}") == {"frames"}
    assert read_image(tmp_path / f"a.{suffix}").shape == colours().shape
    image.save(tmp_path / "phone.jpg", format="MPO", save_all=True, append_images=[image])
    assert check_image(tmp_path / "phone.jpg") == set()


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "bmp"])
def test_a_file_without_its_end_is_reported_by_the_check_of_the_folder(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(colours(200, 300)).save(path)
    content = path.read_bytes()
    assert check_image(path) == set()
    path.write_bytes(content[: len(content) * 9 // 10])
    with pytest.raises(UserError, match=rf"a\.{suffix} .*(truncated|damaged)"):
        check_image(path)


def test_bytes_after_the_end_of_an_image_are_no_damage(tmp_path: Path) -> None:
    for suffix in ("jpg", "png"):
        path = tmp_path / f"a.{suffix}"
        Image.fromarray(colours()).save(path)
        path.write_bytes(path.read_bytes() + b"camera" * 100)
        assert check_image(path) == set()
