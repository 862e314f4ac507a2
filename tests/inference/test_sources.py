"""What images= means, and what the masks are called; masks never overwrite an image."""

from __future__ import annotations

from pathlib import Path

import pytest

from secseg.inference.sources import find_photographs
from secseg.utils.errors import UserError
from tests.inference.conftest import draw, voc_layout


def names(images: object, root: Path | None = None, out: Path | None = None) -> list[str]:
    return [item.name for item in find_photographs(str(images), None if root is None else str(root), out).items]


def test_a_folder_gives_its_images_and_keeps_its_subfolders(photos: Path) -> None:
    (photos / "notes.txt").write_text("none")
    draw(photos / ".hidden.jpg")
    draw(photos / ".thumbnails" / "d.jpg")
    (photos / "a.jpg").rename(photos / "with.dots.JPG")
    assert names(photos) == ["b", "sub/c", "with.dots"]


def test_masks_below_the_folder_of_images_are_not_images(photos: Path) -> None:
    draw(photos / "masks" / "a.png")
    assert names(photos, out=photos / "masks") == ["a", "b", "sub/c"]
    assert names(f"{photos}/**", out=photos / "masks") == ["a", "b", "c"]


def test_a_file_may_have_any_suffix(photos: Path) -> None:
    (photos / "a.jpg").rename(photos / "a.jfif")
    assert names(photos / "a.jfif") == ["a"]


def test_a_glob_gives_masks_in_one_folder(photos: Path) -> None:
    assert names(photos / "*.jpg") == ["a"]
    assert names(photos / "*") == ["a", "b"]
    found = find_photographs(f"{photos}/**/*.jpg")
    assert [item.name for item in found.items] == ["a", "c"]
    assert found.folder == photos


def test_an_existing_name_with_brackets_is_not_a_glob(tmp_path: Path) -> None:
    draw(tmp_path / "x[1]" / "cat[2].jpg")
    assert names(tmp_path / "x[1]") == ["cat[2]"]
    assert names(tmp_path / "x[1]" / "cat[2].jpg") == ["cat[2]"]


def test_images_with_the_same_mask_are_refused_and_all_listed(photos: Path) -> None:
    draw(photos / "a.png")
    draw(photos / "sub" / "B.jpg")
    with pytest.raises(UserError, match=r"1 mask .*\n.*a\.png: \S+/a\.jpg, \S+/a\.png"):
        find_photographs(str(photos))
    with pytest.raises(UserError, match=r"2 masks .*\n.*a\.png: .*\n.*b\.png: .*B\.jpg"):
        find_photographs(f"{photos}/**")


def test_the_same_name_in_two_subfolders_makes_two_masks(photos: Path) -> None:
    draw(photos / "other" / "c.png")
    assert names(photos) == ["a", "b", "other/c", "sub/c"]


def test_a_split_and_a_list_are_read_in_vocs_layout(tmp_path: Path) -> None:
    root = voc_layout(tmp_path / "VOC2012", ("2008_000001", "2008_000002"))
    chosen = tmp_path / "mine.txt"
    chosen.write_text("2008_000002\n")
    assert names("test", root) == ["2008_000001", "2008_000002"]
    assert names(chosen, tmp_path) == ["2008_000002"]
    with pytest.raises(UserError, match=r"id list: give .* root="):
        find_photographs(str(chosen))
    with pytest.raises(UserError, match=r"no split 'tset'. Did you mean 'test'"):
        find_photographs("tset", str(root))
    chosen.write_text("2008_000002\n2008_000009\n")
    with pytest.raises(UserError, match="2008_000009: no image"):
        find_photographs(str(chosen), str(root))


def test_missing_images_are_reported_with_what_exists(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Did you mean 'photos'"):
        find_photographs(str(tmp_path / "photo"))
    with pytest.raises(UserError, match=r"folder \S+/photo does not exist"):
        find_photographs(str(tmp_path / "photo" / "a.jpg"))
    with pytest.raises(UserError, match="Nothing matches"):
        find_photographs(str(photos / "*.tif"))
    (photos / "notes.txt").touch()
    with pytest.raises(UserError, match="None of the 1 files"):
        find_photographs(str(photos / "*.txt"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no image"):
        find_photographs(str(tmp_path / "empty"))


@pytest.mark.parametrize("images", ["", "a.jpg", "*.jpg"])
def test_the_folder_of_the_images_takes_no_masks(photos: Path, images: str) -> None:
    with pytest.raises(UserError, match="is the folder of the images"):
        find_photographs(str(photos / images), out=photos)


def test_a_mask_never_overwrites_an_image(photos: Path) -> None:
    draw(photos / "raw" / "raw" / "d.png", seed=1)
    draw(photos / "raw" / "d.png", seed=2)
    with pytest.raises(UserError, match=r"overwrite images.*\n.*raw/raw/d\.png"):
        find_photographs(str(photos / "raw"), out=photos)
