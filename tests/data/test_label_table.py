"""Tables of labels are read in their usual forms, and problems are reported by their lines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from secseg.data.label_table import LabelTable, read_table
from secseg.utils.errors import UserError

NAMES = ("a", "b", "sub/c")
EXPECTED = {"a": ("cat",), "b": ("dog", "cat"), "sub/c": ()}


def read(tmp_path: Path, text: str, name: str = "labels.csv", classes: tuple[str, ...] = ()) -> LabelTable:
    (tmp_path / name).write_text(text, "utf-8")
    return read_table(tmp_path / name, NAMES, classes, "images/")


@pytest.mark.parametrize(
    "text",
    [
        "a.jpg,cat\nb.jpg,dog cat\nsub/c.png,\n",
        "image,labels\na,cat\nb,dog;cat\nsub/c,\n",
        "\ufeffFile Name,Kinds\r\na.JPG,cat\r\n\r\nb.jpg,dog | cat\r\nsub\\c.png,\r\n",
        'image,labels\nimages/a.jpg,cat\nimages/b.jpg,"dog, cat"\n./images/sub/c.png,""\n',
        "a.jpg;cat\nb.jpg;dog|cat\nsub/c.png;\n",
        "a.jpg\tcat\nb.jpg\tdog cat\nsub/c.png\t\n",
        "image,labels\na,cat\nb,dog,cat\nsub/c\n",
        "image,width,label\na,30,cat\nb,31,dog|cat\nsub/c,32,\n",
    ],
)
def test_labels_in_one_cell_have_the_usual_separators(tmp_path: Path, text: str) -> None:
    table = read(tmp_path, text)
    assert table.words == EXPECTED
    assert (table.problems, table.columns, table.splits) == ([], None, {})


def test_spaces_belong_to_the_names_if_another_character_separates(tmp_path: Path) -> None:
    table = read(tmp_path, "a,traffic light\nb,grüner Tee; traffic light\nsub/c,x=1/2\n")
    assert table.words == {"a": ("traffic light",), "b": ("grüner Tee", "traffic light"), "sub/c": ("x=1/2",)}


def test_a_cell_that_equals_a_class_is_not_split(tmp_path: Path) -> None:
    table = read(tmp_path, "a,traffic light\nb,cat dog\nsub/c,\n", classes=("traffic light", "cat", "dog"))
    assert table.words == {"a": ("traffic light",), "b": ("cat", "dog"), "sub/c": ()}


@pytest.mark.parametrize(("yes", "no"), [("1", "0"), ("true", "False"), ("1.0", ""), ("1", "")])
def test_one_column_for_each_class_gives_the_classes_in_this_order(tmp_path: Path, yes: str, no: str) -> None:
    table = read(tmp_path, f"image,dog,traffic light\na,{no},{yes}\nb,{yes},{yes}\nsub/c,{no},{no}\n")
    assert table.columns == ("dog", "traffic light")
    assert table.words == {"a": ("traffic light",), "b": ("dog", "traffic light"), "sub/c": ()}


def test_one_class_has_one_column(tmp_path: Path) -> None:
    assert read(tmp_path, "image,cat\na,1\nb,0\nsub/c,\n").words == {"a": ("cat",), "b": (), "sub/c": ()}


def test_numbers_below_a_title_of_labels_are_labels(tmp_path: Path) -> None:
    assert read(tmp_path, "image,labels\na,1\nb,1 0\nsub/c,\n").words["b"] == ("1", "0")


@pytest.mark.parametrize("text", ["image,labels,split\na,cat,train\nb,,val\n", "image,Split,cat\na,train,1\nb,val,0\n"])
def test_a_column_split_is_read_in_addition_to_the_labels(tmp_path: Path, text: str) -> None:
    table = read(tmp_path, text)
    assert table.splits == {"a": "train", "b": "val"}
    assert table.words == {"a": ("cat",), "b": ()}


def test_a_class_may_be_called_split(tmp_path: Path) -> None:
    table = read(tmp_path, "image,banana,split\na,1,0\nb,1,1\n")
    assert (table.columns, table.splits) == (("banana", "split"), {})


def test_json_gives_a_list_of_labels_for_each_image(tmp_path: Path) -> None:
    assert read(tmp_path, json.dumps({"a.jpg": ["cat"], "b": ["dog", "cat"], "sub/c": []}), "x.json").words == EXPECTED


def test_every_wrong_line_is_reported(tmp_path: Path) -> None:
    table = read(tmp_path, "image,cat,dog,cat,,split\na,1,0,0,0,train\n\nb,yes,1,0,0,vla\nb,1,1,1,0,val\nsub/c,1\n")
    assert table.problems == [
        "line 1: the column 'cat' is listed twice.",
        "line 1: column 5 has no title.",
        "line 4, cat: 'yes' is neither 1 nor 0.",
        "line 5: b is listed a second time (first: line 4).",
        "line 6 has 2 cells, but there are 6 titles.",
        "line 4, split: 'vla' is not one of train, val, test.",
        "line 6, split: '' is not one of train, val, test.",
    ]
    table = read(tmp_path, '{"a": "cat", "b": [], "b.jpg": ["cat"], "sub/c": [true]}', "labels.json")
    assert [problem.partition(":")[0] for problem in table.problems] == ["a", "entry 'b.jpg'", "sub/c"]


@pytest.mark.parametrize(
    ("text", "name", "said"),
    [
        ("\n\n", "labels.csv", "is empty"),
        ("a,1,0\nb,0,1\nsub/c,0,0\n", "labels.csv", "a column for each class, but no titles"),
        ('a,cat\nb,"dog\n', "labels.csv", "line 2: unexpected end"),
        ('{"a": [],\n "b": [}', "labels.json", "line 2 column 8"),
        ('["a", "b"]', "labels.json", "does not have the form"),
    ],
)
def test_an_invalid_table_is_reported_with_its_line(tmp_path: Path, text: str, name: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        read(tmp_path, text, name)


def test_bytes_that_are_not_utf8_are_reported_by_their_line(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_bytes("a,cat\nb,größe\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"line 2 is not UTF-8\. Save the file as UTF-8"):
        read_table(tmp_path / "labels.csv", NAMES)
