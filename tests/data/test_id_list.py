"""Id lists are read in the forms that programs write, and a line that can be read in two ways is not guessed."""

from __future__ import annotations

from pathlib import Path

import pytest

from secseg.data.folder import open_folder
from secseg.data.folder_module import choose_split
from secseg.data.id_list import read_ids
from secseg.data.images import image_name
from secseg.data.voc import open_split
from secseg.utils.errors import UserError
from tests.folder_data import draw_folder, draw_images

KNOWN = ("a", "b", "my photo", "photo", "photo 1", "photo 2", "caf\u00e9", "#1")


def read(tmp_path: Path, text: str | bytes) -> tuple[str, ...]:
    (tmp_path / "list.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_ids(tmp_path / "list.txt", lambda path: image_name(path).rpartition("/")[2], KNOWN)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("my photo\n", ("my photo",)),
        ("my photo.jpg\na.PNG\n", ("my photo", "a")),
        ("./a\n.\\b.jpg\nC:\\data\\JPEGImages\\my photo.jpg\n", ("a", "b", "my photo")),
        ("a.jpg 0\nmy photo.jpg 1\n", ("a", "my photo")),  # SEC's input_list.txt
        ("a 0\nmy photo 1\nphoto 1 2\n", ("a", "my photo", "photo 1")),
        ("photo 1\nphoto 2\n", ("photo 1", "photo 2")),
        ("a.jpg cat dog\nb.jpg\n", ("a", "b")),
        ("/JPEGImages/a.jpg /SegmentationClassAug/b.png\n", ("a",)),
        ("/JPEGImages/my photo.jpg /SegmentationClassAug/my photo.png\n", ("my photo",)),
        ("a\t\r\n\r\nb\t\r\n", ("a", "b")),
        ("# comment\na # note\n#1\n", ("a", "#1")),
        ("\"my photo.jpg\"\n'a'\n", ("my photo", "a")),
        ("cafe\u0301.jpg\n", ("caf\u00e9",)),
        ("\ufeffa\nb\n", ("a", "b")),
        ("a\nb\n".encode("utf-16"), ("a", "b")),
        ("absent.jpg 3\nabsent too\n", ("absent", "absent too")),
    ],
)
def test_a_line_is_an_id_or_a_file_with_other_columns(
    tmp_path: Path, text: str | bytes, names: tuple[str, ...]
) -> None:
    assert read(tmp_path, text) == names


@pytest.mark.parametrize(("text", "name"), [("a\nphoto 3\n", "photo 3"), ("a\nb 1\n", "b 1"), ("a cat\n", "a cat")])
def test_a_number_is_a_column_only_if_each_line_has_one(tmp_path: Path, text: str, name: str) -> None:
    assert read(tmp_path, text)[-1] == name  # no such image: the caller reports it


@pytest.mark.parametrize(("text", "said"), [("a 1\nb -1\nphoto -1\n", "(-1, 1)"), ("a.jpg 3 5\nb.jpg 3\n", "(3)")])
def test_a_column_of_labels_is_not_read_without_a_warning(
    tmp_path: Path, text: str, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    read(tmp_path, text)
    assert f"list.txt: the second column {said} is not read" in caplog.text


def test_a_number_that_may_end_a_name_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert read(tmp_path, "photo 3\n") == ("photo",)
    assert "the line 'photo 3' is read as the image photo, because there is no image photo 3." in caplog.text
    caplog.clear()
    (tmp_path / "list.txt").write_text("photo 3\n")
    assert read_ids(tmp_path / "list.txt", image_name, ("photo", "photo 3")) == ("photo 3",)
    assert caplog.text == ""


def test_an_index_and_a_mask_need_no_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    read(tmp_path, "a 0\nb 1\n")
    read(tmp_path, "a.jpg a.png\nb.jpg b.png\n")
    assert caplog.text == ""


def test_an_image_that_two_lines_name_in_different_forms_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"more than once.*:\n  a$"):
        read(tmp_path, "a.jpg 0\n./a\n")


def test_splits_of_a_folder_take_the_same_lines(tmp_path: Path) -> None:
    data = open_folder(draw_folder(tmp_path))
    lines = ["images/a.jpg", str(tmp_path / "images" / "b.jpg"), "sub\\c.png 5"]
    (tmp_path / "val.txt").write_text("\n".join(lines))
    assert choose_split(data, "val.txt", "val.txt", 0.1) == ("a", "b", "sub/c")


def test_names_of_files_have_one_unicode_form(tmp_path: Path) -> None:
    draw_images(tmp_path / "JPEGImages", ("cafe\u0301.jpg",))
    draw_images(tmp_path / "SegmentationClass", ("cafe\u0301.png",))
    (tmp_path / "val.txt").write_text("caf\u00e9\n", "utf-8")
    split = open_split(tmp_path, "val", require_masks=True)
    assert split.names == ("caf\u00e9",)
    assert split.images[0].is_file()
