"""Masks become class numbers, or are refused with a reason."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from secseg.data.classes import voc_palette
from secseg.data.masks import decode_mask, read_mask, save_mask
from secseg.utils.errors import UserError


def png(width: int, height: int, bits: int, rows: bytes) -> bytes:
    """Return a grey PNG with so many bits per pixel."""
    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


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


NUMBERS = np.array([[0, 3, 255], [20, 15, 0]], dtype=np.uint8)


def shuffled_palette(path: Path, values: np.ndarray, seed: int = 0) -> Path:
    """Write a palette PNG that shows the colours of ``values`` with other numbers."""
    places = np.random.default_rng(seed).permutation(256).astype(np.uint8)
    image = Image.fromarray(places[values])
    palette = np.zeros((256, 3), np.uint8)
    palette[places] = voc_palette()
    image.putpalette(palette.tobytes())
    image.save(path)
    return path


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_a_mask_in_the_colours_of_the_classes_gives_their_numbers(tmp_path: Path, mode: str) -> None:
    Image.fromarray(voc_palette()[NUMBERS]).convert(mode).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png", 21), NUMBERS)
    Image.new(mode, (3, 2), (1, 2, 3)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match=r"a\.png holds colours \(RGB pixels\).*\(1, 2, 3\)\. Save it as a palette"):
        read_mask(tmp_path / "a.png", 21)


@pytest.mark.parametrize("seed", range(5))
def test_a_palette_with_the_colours_at_other_numbers_is_read_by_colour(tmp_path: Path, seed: int) -> None:
    path = shuffled_palette(tmp_path / "a.png", NUMBERS, seed)
    mask = decode_mask(path, 21)
    np.testing.assert_array_equal(mask.numbers, NUMBERS)
    assert mask.renumbered
    with Image.open(path) as image:
        np.testing.assert_array_equal(read_mask(path, 255, values="numbers"), np.asarray(image))


def test_a_palette_of_other_colours_is_read_by_number(tmp_path: Path) -> None:
    image = Image.fromarray(NUMBERS)
    image.putpalette(np.random.default_rng(0).permutation(768).reshape(256, 3).astype(np.uint8).tobytes())
    image.save(tmp_path / "a.png")
    mask = decode_mask(tmp_path / "a.png", 21)
    np.testing.assert_array_equal(mask.numbers, NUMBERS)
    assert not mask.renumbered
    with pytest.raises(UserError, match=r"colours that belong to no class: \(.*data\.mask_values=numbers"):
        read_mask(tmp_path / "a.png", 21, values="colours")


def test_a_palette_of_moved_and_of_foreign_colours_is_refused(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8))
    image.putpalette([0, 0, 0, *voc_palette()[16].tolist(), 255, 0, 0])
    image.save(tmp_path / "a.png")
    with pytest.raises(UserError, match=r"class 16 at number 1, .*no class: \(255, 0, 0\)\. data\.mask_values=numbers"):
        read_mask(tmp_path / "a.png", 21)
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png", 21, values="numbers"), [[0, 1, 2]])


@pytest.mark.parametrize("mode", ["L", "P", "1", "RGB"])
def test_a_binary_mask_has_one_class_in_white(tmp_path: Path, mode: str) -> None:
    white = Image.fromarray(np.array([[0, 255]], np.uint8)).convert(mode)
    white.save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png", 2, values="binary"), [[0, 1]])


def test_numbers_are_binary_masks_but_not_with_void(tmp_path: Path) -> None:
    path = make_mask(tmp_path / "a.png", np.array([[0, 1]], np.uint8))
    np.testing.assert_array_equal(read_mask(path, 2, values="binary"), [[0, 1]])
    make_mask(path, np.array([[0, 1, 255]], np.uint8), "L")
    with pytest.raises(UserError, match="both 1 and 255"):
        read_mask(path, 2, values="binary")


def test_what_programs_read_as_different_numbers_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(NUMBERS).save(path, format="JPEG")
    with pytest.raises(UserError, match="is a JPEG, which changes the numbers"):
        read_mask(path, 21)
    Image.fromarray(voc_palette()[NUMBERS]).convert("RGBA").save(path)
    clear = np.dstack([voc_palette()[NUMBERS], NUMBERS])
    Image.fromarray(clear).save(path)
    with pytest.raises(UserError, match="has transparent pixels"):
        read_mask(path, 21)
    Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1").save(path)
    with pytest.raises(UserError, match=r"1 bit per pixel.*there are 21 classes.*data\.mask_values=numbers"):
        read_mask(path, 21)
    np.testing.assert_array_equal(read_mask(path, 2), [[0, 1]])
    Image.fromarray(np.zeros((2, 3), np.float32)).save(path, format="TIFF")
    with pytest.raises(UserError, match="F pixels, not class numbers"):
        read_mask(path, 21)
    path.write_bytes(png(3, 2, 4, b"\0\x01\x20" * 2))
    with pytest.raises(UserError, match="4 bits per pixel"):
        read_mask(path, 21)


def test_numbers_of_16_bits_are_read(tmp_path: Path) -> None:
    Image.fromarray(NUMBERS.astype(np.uint16)).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png", 21), NUMBERS)
    Image.fromarray(NUMBERS.astype(np.uint16) * 257).save(tmp_path / "a.png")
    with pytest.raises(UserError, match=r"holds the values 771, 3855, 5140, 65535\."):
        read_mask(tmp_path / "a.png", 21)


def test_a_mask_is_rotated_as_its_orientation_tag_says(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(NUMBERS).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png", 21), np.rot90(NUMBERS, -1))
    with pytest.raises(UserError, match=r"2 x 3 pixels, its image 3 x 2\..* Rotate the mask"):
        read_mask(tmp_path / "a.png", 21, (2, 3))


def test_the_palette_of_a_data_set_counts(tmp_path: Path) -> None:
    palette = voc_palette()[::-1].copy()
    image = Image.fromarray(NUMBERS)
    image.putpalette(palette.tobytes())
    image.save(tmp_path / "a.png")
    assert not decode_mask(tmp_path / "a.png", 21, palette=palette).renumbered
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png", 21, palette=palette), NUMBERS)


def test_values_that_are_not_classes_are_listed(tmp_path: Path) -> None:
    path = make_mask(tmp_path / "a.png", np.array([[0, 21, 254], [20, 255, 0]], dtype=np.uint8))
    with pytest.raises(UserError, match=r"a\.png holds the values 21, 254\. .*0\.\.20 and 255"):
        read_mask(path, 21)


def test_a_mask_of_another_size_than_its_image_is_reported(tmp_path: Path) -> None:
    path = make_mask(tmp_path / "a.png", np.zeros((2, 3), dtype=np.uint8))
    with pytest.raises(UserError, match=r"a\.png is 3 x 2 pixels, its image 2 x 3"):
        read_mask(path, 21, (3, 2))


def test_a_real_mask_reads_as_its_palette_shows(voc_animals: Path) -> None:
    path = next(iter(sorted((voc_animals / "SegmentationClassAug").glob("*.png"))))
    shown = np.array(Image.open(path).convert("RGB"))
    np.testing.assert_array_equal(voc_palette()[read_mask(path, 21)], shown)
