"""Pixels of other types and orientations become RGB bytes, or are refused with the true reason."""

from __future__ import annotations

import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from secseg.data.images import check_image, image_size, read_image
from secseg.utils.errors import UserError

ORIENTATION, PHOTOMETRIC = 274, 262


def colours(height: int = 6, width: int = 9) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def tags(**values: int) -> TiffImagePlugin.ImageFileDirectory_v2:
    found = TiffImagePlugin.ImageFileDirectory_v2()
    for name, value in values.items():
        found[{"orientation": ORIENTATION, "photometric": PHOTOMETRIC}[name]] = value
    return found


def png(path: Path, bits: int, colour: int, rows: np.ndarray, *extra: tuple[bytes, bytes]) -> Path:
    """Write a PNG of big-endian rows (H, W, channels), with further chunks before the pixels."""
    height, width = rows.shape[:2]
    lines = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    chunks = ((b"IHDR", header), *extra, (b"IDAT", zlib.compress(lines)), (b"IEND", b""))
    content = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    return path


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
@pytest.mark.parametrize("turned", range(1, 9))
def test_header_and_pixels_of_a_turned_tiff_agree(tmp_path: Path, turned: int, compression: str | None) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = turned
    Image.fromarray(colours()).save(tmp_path / "a.png", exif=exif)
    info = tags(orientation=turned)
    Image.fromarray(colours()).save(tmp_path / "a.tif", tiffinfo=info, compression=compression)
    assert image_size(tmp_path / "a.tif") == read_image(tmp_path / "a.tif").shape[:2]
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), read_image(tmp_path / "a.png"))


@pytest.mark.parametrize("turned", [3, 6, 8])
@pytest.mark.parametrize("kind", ["L", "CMYK", "RGBA", "I;16", "I", "F"])
def test_a_turned_tiff_of_any_mode_shows_the_same_as_a_png(tmp_path: Path, turned: int, kind: str) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = turned
    grey = colours()[..., 0]
    wide = {"I;16": grey.astype(np.uint16) * 257, "I": grey.astype(np.int32) * 257, "F": grey.astype(np.float32)}
    Image.fromarray(grey).save(tmp_path / "a.png", exif=exif)
    image = Image.fromarray(wide[kind]) if kind in wide else Image.fromarray(grey).convert("RGB").convert(kind)
    image.save(tmp_path / "a.tif", tiffinfo=tags(orientation=turned))
    assert image_size(tmp_path / "a.tif") == image_size(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), read_image(tmp_path / "a.png"))


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
def test_whole_and_floating_numbers_of_the_full_range_become_bytes(tmp_path: Path, dtype: type) -> None:
    grey = colours()[..., 0]
    grey[0, :2] = 0, 255
    scaled = grey / 255 if dtype is np.float32 else grey.astype(np.int64) * 257
    Image.fromarray(scaled.astype(dtype)).save(tmp_path / "a.tif")
    check_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), np.repeat(grey[..., None], 3, axis=2))


def test_floating_numbers_up_to_255_are_bytes_already(tmp_path: Path) -> None:
    grey = colours()[..., 0]
    Image.fromarray(grey.astype(np.float32)).save(tmp_path / "a.tif")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif")[..., 0], grey)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.array([[0, 4000]], np.uint16), "16-bit grey values from 0 to 4000"),
        (np.array([[0, 255]], np.uint16), "16-bit grey values from 0 to 255"),
        (np.array([[0, 70000]], np.int32), "32-bit grey values from 0 to 70000"),
        (np.array([[-5, 9000]], np.int32), "32-bit grey values from -5 to 9000"),
        (np.array([[0, 3]], np.float32), "floating-point values from 0 to 3"),
        (np.array([[-1, 1]], np.float32), "floating-point values from -1 to 1"),
        (np.array([[0, np.nan]], np.float32), "floating-point values from nan to nan"),
    ],
)
def test_another_range_than_that_of_the_type_is_refused_before_training(
    tmp_path: Path, values: np.ndarray, reason: str
) -> None:
    Image.fromarray(values).save(tmp_path / "a.tif")
    for read in (read_image, check_image):
        with pytest.raises(UserError, match=rf"a\.tif has {reason}: the true range of the pixels is unknown\. Scale"):
            read(tmp_path / "a.tif")


def test_a_black_image_of_16_bits_is_black(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((2, 3), np.uint16)).save(tmp_path / "a.png")
    assert not read_image(tmp_path / "a.png").any()


def test_colours_of_16_bits_keep_the_upper_byte_and_12_bits_in_16_are_refused(tmp_path: Path) -> None:
    wide = colours().astype(">u2") * 257
    path = png(tmp_path / "a.png", 16, 2, wide.astype(">u2"))
    check_image(path)
    np.testing.assert_array_equal(read_image(path), colours())
    png(path, 16, 2, (colours().astype(np.uint16) * 16).astype(">u2"))
    with pytest.raises(UserError, match=r"a\.png has 16-bit pixels, but no value above 4095 of 65535"):
        check_image(path)


def test_white_is_zero_in_a_16_bit_tiff(tmp_path: Path) -> None:
    values = np.array([[0, 65535, 20000]], np.uint16)
    Image.fromarray(values).save(tmp_path / "a.tif", tiffinfo=tags(photometric=0))
    with Image.open(tmp_path / "a.tif") as image:
        assert image.tag_v2[PHOTOMETRIC] == 0
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif")[0, :, 0], [255, 0, (65535 - 20000) // 256])


@pytest.mark.parametrize(
    "chunk",
    [(b"zTXt", b"comment\0\0no zlib"), (b"iCCP", b"profile\0\0no zlib"), (b"eXIf", b"II*\0\xff\xff\xff\xff")],
)
def test_damaged_metadata_does_not_hide_whole_pixels_of_a_png(tmp_path: Path, chunk: tuple[bytes, bytes]) -> None:
    path = png(tmp_path / "a.png", 8, 2, colours(), chunk)
    np.testing.assert_array_equal(read_image(path), colours())
    assert image_size(path) == (6, 9)
    content = path.read_bytes()
    at = content.index(chunk[0])
    path.write_bytes(content[:at] + chunk[0][:2].upper() + content[at + 2 :])  # the checksum is wrong, too
    path.write_bytes(content[: at + 5] + b"\x77" + content[at + 6 :])
    np.testing.assert_array_equal(read_image(path), colours())
    assert image_size(path) == (6, 9)


def test_a_text_of_many_megabytes_in_a_png_does_not_hide_its_pixels(tmp_path: Path) -> None:
    text = b"comment\0\0" + zlib.compress(bytes(10_000_000))
    path = png(tmp_path / "a.png", 8, 2, colours(), (b"zTXt", text))
    np.testing.assert_array_equal(read_image(path), colours())


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("exif", [b"", b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0garbage" * 9])
def test_damaged_exif_does_not_hide_whole_pixels_of_a_jpeg(tmp_path: Path, exif: bytes) -> None:
    Image.fromarray(colours()).save(tmp_path / "a.jpg", exif=exif)
    assert read_image(tmp_path / "a.jpg").shape == (*image_size(tmp_path / "a.jpg"), 3) == (6, 9, 3)


def test_an_image_beyond_the_limit_of_pillow_is_called_large_and_not_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(colours()).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    for read in (read_image, image_size):
        with pytest.raises(UserError, match=r"a\.png has more pixels than Pillow's limit.*54 pixels.*Cut it into"):
            read(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0", r"is an image of the format HEIC, which is not read here\. Convert it"),
        (b"II*\0" + bytes(20), "is a file of the format TIFF, but its header is damaged or describes pixels of a kind"),
        (b"GIF8nothing", "is a file of the format GIF, but its header is damaged"),
        (b"%PDF-1.4", "is not an image, or its header is damaged"),
    ],
)
def test_what_a_file_is_instead_of_an_image_is_said(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(UserError, match=rf"a\.jpg {reason}"):
        read_image(tmp_path / "a.jpg")


def test_a_mode_that_cannot_be_converted_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(image: Image.Image, mode: str) -> Image.Image:
        raise ValueError(f"conversion from {image.mode} to {mode} not supported")

    Image.new("LAB", (3, 2)).save(tmp_path / "a.tif")
    monkeypatch.setattr(Image.Image, "convert", refuse)  # as Pillow does for some modes, depending on its version
    with pytest.raises(UserError, match=r"a\.tif has pixels of the mode LAB, which cannot be converted to RGB"):
        read_image(tmp_path / "a.tif")


def test_a_palette_with_transparency_keeps_its_colours(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    image = Image.fromarray(np.array([[0, 1]], np.uint8))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.save(tmp_path / "a.png", transparency=b"\0\x80")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), [[[10, 20, 30], [40, 50, 60]]])
    assert not recwarn.list


def test_a_link_to_nothing_is_said_to_be_one(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").symlink_to(tmp_path / "gone.jpg")
    with pytest.raises(UserError, match=r"no image at \S+a\.jpg\. \S+a\.jpg is a link to a file that does not exist"):
        read_image(tmp_path / "a.jpg")


def test_damaged_metadata_is_ignored_without_a_warning_of_pillow(tmp_path: Path) -> None:
    Image.fromarray(colours(16, 16)).save(tmp_path / "whole.jpg")
    content = (tmp_path / "whole.jpg").read_bytes()
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x05\x01\x12\0\x03\xff\xff\xff\xff\0\6"
    (tmp_path / "damaged.jpg").write_bytes(
        content[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + content[2:]
    )
    code = "import sys; from secseg.data.images import read_image; print(read_image(sys.argv[1]).sum())"
    outputs = [
        subprocess.run([sys.executable, "-c", code, tmp_path / name], capture_output=True, text=True, check=True)
        for name in ("whole.jpg", "damaged.jpg")
    ]
    assert outputs[0].stdout == outputs[1].stdout
    assert outputs[1].stderr == ""
