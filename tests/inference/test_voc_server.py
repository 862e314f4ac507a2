"""The archive for the VOC server, read as the server would: with tarfile and Pillow."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from secseg.data.classes import voc_palette
from secseg.data.masks import save_mask
from secseg.inference.voc_server import write_archive
from secseg.utils.errors import UserError
from tests.inference.conftest import draw, voc_layout

IDS = ("2008_000003", "2008_000001", "2008_000002")
SIZES = {name: (20 + number, 31) for number, name in enumerate(IDS)}
Given = tuple[Path, dict[str, Path]]


@pytest.fixture
def given(tmp_path: Path) -> Given:
    """A folder of masks, and their images."""
    root = voc_layout(tmp_path / "VOC2012", IDS)
    for number, name in enumerate(IDS):
        mask = np.random.default_rng(number).integers(0, 21, SIZES[name], dtype=np.uint8)
        save_mask(mask, tmp_path / "masks" / f"{name}.png", voc_palette())
    return tmp_path / "masks", {name: root / "JPEGImages" / f"{name}.jpg" for name in IDS}


def test_the_server_finds_each_mask_by_its_id_as_it_was_predicted(given: Given, tmp_path: Path) -> None:
    masks, photographs = given
    draw(masks / "2008_000099.png")  # a mask of another list stays out
    write_archive(masks, photographs, tmp_path / "results.tar")
    with tarfile.open(tmp_path / "results.tar", "r:") as tar:
        assert tar.getnames() == [f"results/VOC2012/Segmentation/comp6_test_cls/{name}.png" for name in sorted(IDS)]
        for member in tar:
            name = Path(member.name).stem
            file = tar.extractfile(member)
            assert file is not None
            with Image.open(file) as image:
                assert image.mode == "P"
                assert image.getpalette()[:9] == [0, 0, 0, 128, 0, 0, 0, 128, 0]
                assert image.size == SIZES[name][::-1]
                np.testing.assert_array_equal(np.asarray(image), np.asarray(Image.open(masks / f"{name}.png")))


def test_equal_masks_make_equal_bytes(given: Given, tmp_path: Path) -> None:
    masks, photographs = given
    write_archive(masks, photographs, tmp_path / "one.tar")
    for file in masks.iterdir():
        file.touch()
        file.chmod(0o600)
    write_archive(masks, dict(reversed(photographs.items())), tmp_path / "two.tar")
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()


def test_one_missing_mask_refuses_the_archive(given: Given, tmp_path: Path) -> None:
    masks, photographs = given
    (masks / "2008_000002.png").unlink()
    with pytest.raises(UserError, match=r"1 problem:\n  2008_000002\.png: missing"):
        write_archive(masks, photographs, tmp_path / "results.tar")
    assert not list(tmp_path.glob("*.tar"))


def spoil(change: Callable[[Image.Image], Image.Image]) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        with Image.open(path) as image:
            image.load()
        change(image).save(path)

    return apply


def paint(image: Image.Image) -> Image.Image:
    image.putpixel((0, 0), 255)
    image.putpixel((1, 0), 21)
    return image


def grey(image: Image.Image) -> Image.Image:
    return Image.fromarray(np.asarray(image))


def other_palette(image: Image.Image) -> Image.Image:
    image.putpalette(voc_palette()[::-1].tobytes())
    return image


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (spoil(paint), r"values 21, 255, which are not classes \(0\.\.20\)"),
        (spoil(grey), "L pixels, not a palette"),
        (spoil(lambda image: image.convert("RGB")), "RGB pixels, not a palette"),
        (spoil(other_palette), "a palette that is not VOC's"),
        (spoil(lambda image: image.rotate(90, expand=True)), r"20 x 31 pixels, its image 31 x 20"),
        (lambda path: path.write_bytes(path.read_bytes()[:-40]), "not a whole PNG"),
        (lambda path: path.write_bytes(b""), "missing or empty"),
    ],
)
def test_a_mask_that_the_server_would_refuse_refuses_the_archive(
    given: Given, tmp_path: Path, change: Callable[[Path], None], said: str
) -> None:
    masks, photographs = given
    change(masks / "2008_000003.png")
    with pytest.raises(UserError, match=rf"1 problem:\n.*2008_000003\.png: {said}"):
        write_archive(masks, photographs, tmp_path / "results.tar")
    assert not (tmp_path / "results.tar").exists()
    assert not list(tmp_path.glob(".results*"))


def test_every_offender_is_listed(given: Given, tmp_path: Path) -> None:
    masks, photographs = given
    for name in IDS:
        spoil(paint)(masks / f"{name}.png")
    with pytest.raises(UserError, match="3 problems") as raised:
        write_archive(masks, photographs, tmp_path / "results.tar")
    assert all(f"{name}.png: values" in str(raised.value) for name in IDS)
