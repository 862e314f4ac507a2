"""A folder of images is read with its links, and without the files of systems."""

from __future__ import annotations

from pathlib import Path

import pytest

from secseg.data.images import find_images
from secseg.data.walk import not_read_warning
from tests.folder_data import draw_images


def names(folder: Path) -> list[str]:
    return sorted(name for name, _ in find_images(folder).pairs)


def test_links_to_files_and_folders_are_followed(tmp_path: Path) -> None:
    draw_images(tmp_path / "elsewhere", ("dog/1.jpg", "2.jpg"))
    draw_images(tmp_path / "images", ("cat/0.jpg",))
    (tmp_path / "images" / "dog").symlink_to(tmp_path / "elsewhere" / "dog")
    (tmp_path / "images" / "cat" / "2.jpg").symlink_to(tmp_path / "elsewhere" / "2.jpg")
    assert names(tmp_path / "images") == ["cat/0", "cat/2", "dog/1"]
    (tmp_path / "link").symlink_to(tmp_path / "images")
    assert names(tmp_path / "link") == ["cat/0", "cat/2", "dog/1"]


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    draw_images(tmp_path, ("images/a/0.jpg", "images/b/1.jpg", "masks/0.png"))
    (tmp_path / "images" / "a" / "itself").symlink_to(".")
    (tmp_path / "images" / "a" / "above").symlink_to("../..")
    (tmp_path / "images" / "a" / "b").symlink_to("../b")
    (tmp_path / "images" / "b" / "a").symlink_to("../a")
    assert names(tmp_path / "images") == ["a/0", "a/b/1", "b/1", "b/a/0"]


@pytest.mark.parametrize(
    "place",
    ["@eaDir/0.jpg", "__MACOSX/._0.jpg", ".thumbnails/0.png", "#recycle/0.jpg", "$RECYCLE.BIN/0.jpg"],
)
def test_thumbnails_and_deleted_files_are_no_images(tmp_path: Path, place: str) -> None:
    draw_images(tmp_path, ("cat/0.jpg", f"cat/{place}"))
    assert names(tmp_path) == ["cat/0"]


@pytest.mark.parametrize("suffix", [".jfif", ".JPE", ".webp", ".TIF", ".bmp"])
def test_suffixes_of_formats_that_are_read_are_images(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"a{suffix}").touch()
    assert names(tmp_path) == ["a"]


def test_files_that_look_like_images_are_counted_by_suffix_in_one_line(tmp_path: Path) -> None:
    for name in ("a.heic", "b.HEIC", "sub/c.gif", "notes.txt", "Thumbs.db", ".hidden.heic", "d.dng"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = find_images(tmp_path)
    assert not found.pairs
    assert not_read_warning(found.not_read) == (
        "4 files look like images and are left out (2 .heic, 1 .dng, 1 .gif): "
        f"{tmp_path}/a.heic, {tmp_path}/b.HEIC, {tmp_path}/d.dng, .... Convert them to JPEG or PNG, for example with "
        "ImageMagick in their folder: magick mogrify -format jpg '*.heic'."
    )
