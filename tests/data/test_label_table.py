"""Tables of labels are read in their usual forms, and problems are reported by their lines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from secseg.data.label_cells import TableOptions
from secseg.data.label_entries import LabelTable
from secseg.data.label_table import read_table
from secseg.utils.errors import UserError

NAMES = ("a", "b", "sub/c")
EXPECTED = {"a": ("cat",), "b": ("dog", "cat"), "sub/c": ()}


def read(tmp_path: Path, text: str, name: str = "labels.csv", classes: tuple[str, ...] = ()) -> LabelTable:
    (tmp_path / name).write_text(text, "utf-8")
    return read_table(tmp_path / name, NAMES, classes, "images/")


@pytest.mark.parametrize(
    "text",
    [
        "a.jpg,cat\nb.jpg,dog;cat\nsub/c.png,\n",
        "image,labels\na,cat\nb,dog;cat\nsub/c,\n",
        "\ufeffFile Name,Kinds\r\na.JPG,cat\r\n\r\nb.jpg,dog | cat\r\nsub\\c.png,\r\n",
        'image,labels\nimages/a.jpg,cat\nimages/b.jpg,"dog, cat"\n./images/sub/c.png,""\n',
        "a.jpg;cat\nb.jpg;dog|cat\nsub/c.png;\n",
        "a.jpg\tcat\nb.jpg\tdog,cat\nsub/c.png\t\n",
        "image,labels\na,cat\nb,dog,cat\nsub/c,\n",
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
        "line 6 has 2 cells, but there are 6 titles (image, cat, dog, cat, , split).",
        "line 4, split: 'vla' is not one of train, training, val, valid, validation, test, testing.",
        "line 6, split: '' is not one of train, training, val, valid, validation, test, testing.",
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


def read_bytes(tmp_path: Path, data: bytes, options: TableOptions | None = None) -> LabelTable:
    (tmp_path / "labels.csv").write_bytes(data)
    return read_table(tmp_path / "labels.csv", NAMES, options=options)


@pytest.mark.parametrize(
    "cells",
    [
        ("['cat']", "\"['dog', 'cat']\"", "[]"),  # pandas
        ("['cat']", "['dog', 'cat']", "[]"),  # pandas, without the quotes of CSV
        ('"[""cat""]"', '"[""dog"", ""cat""]"', "[]"),  # JSON
        ("['cat']", "['dog' 'cat']", "[]"),  # NumPy
        ("[np.str_('cat')]", "\"[np.str_('dog'), np.str_('cat')]\"", "[]"),
        ("\"('cat',)\"", "\"('dog', 'cat')\"", "()"),
        ("{'cat'}", "\"{'dog', 'cat'}\"", "set()"),
        ("[cat]", '"[dog, cat]"', "[]"),
        ("'cat'", "'dog';'cat'", ""),
    ],
)
def test_lists_in_cells_are_read_as_python_and_json_write_them(tmp_path: Path, cells: tuple[str, ...]) -> None:
    table = read(
        tmp_path, "image,labels\n" + "".join(f"{name},{cell}\n" for name, cell in zip(NAMES, cells, strict=True))
    )
    assert table.words == EXPECTED
    assert table.problems == []


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("\"['cat', 'dog'\"", "has a bracket or quote of a list"),
        ("\"['cat', dog]\"", "is not a list that can be read"),
        ("\"{'cat': 1}\"", "is not a list that can be read"),
        ('"[1, 0, 1]"', "a vector of 0 and 1"),
        ("[1. 0.]", "a vector of 0 and 1"),
        ("1 0 1", "a vector of 0 and 1"),
        ("cat;nan", "'nan' is listed with other labels"),
        ("b.jpg", "'b.jpg' is an image, not a label"),
    ],
)
def test_a_cell_that_holds_no_labels_is_reported_with_its_line(tmp_path: Path, cell: str, said: str) -> None:
    table = read(tmp_path, f"image,labels\na,{cell}\nb,dog\nsub/c,\n")
    assert [problem.partition(":")[0] for problem in table.problems] == ["line 2, a"]
    assert said in table.problems[0]


def test_a_vector_in_json_is_not_a_list_of_class_numbers(tmp_path: Path) -> None:
    problems = read(tmp_path, '{"a": [0, 1, 0], "b": [3, 1], "sub/c": []}', "labels.json").problems
    assert [problem.partition(":")[0] for problem in problems] == ["entry 'a', a"]


@pytest.mark.parametrize(
    ("yes", "no"),
    [
        ("1", "-1"), ("1.0", "-1.0"), ("yes", "no"), ("Y", "n"), ("x", ""), ("X", "-"), ("\u2713", ""),
        ("\u2611", "\u2610"), ("TRUE", "FALSE"), ("WAHR", "FALSCH"), ("vrai", "faux"), ("ja", "nein"), ("+", "-"),
        ("1.0", "nan"), ("x", "None"),
    ],
)  # fmt: skip
def test_columns_of_classes_hold_any_words_for_yes_and_no(tmp_path: Path, yes: str, no: str) -> None:
    table = read(tmp_path, f"image,cat,dog\na,{yes},{no}\nb,{yes},{yes}\nsub/c,{no},{no}\n")
    assert table.words == {"a": ("cat",), "b": ("cat", "dog"), "sub/c": ()}
    assert (table.columns, table.problems) == (("cat", "dog"), [])


def test_scores_unknown_cells_and_mixed_words_are_reported_with_their_lines(tmp_path: Path) -> None:
    table = read(tmp_path, "image,cat,dog\na,0.93,0.02\nb,0.1,93%\nsub/c,0,1\n")
    assert len(table.problems) == 4
    assert table.problems[0] == "line 2, cat: '0.93' is neither 1 nor 0. If this is a score, choose a threshold."
    table = read(tmp_path, "image,cat,dog\na,1,0\nb,nan,1\nsub/c,0,yes\n")
    assert table.problems == ["line 3, cat: 'nan' is neither 1 nor 0.", "line 4, dog: 'yes' is neither 1 nor 0."]


def test_a_zero_next_to_minus_one_needs_a_setting(tmp_path: Path) -> None:
    text = b"image,cat,dog\na,1,-1\nb,0,1\nsub/c,-1,-1\n"
    with pytest.raises(UserError, match=r"1, -1 and 0 \(1 cells\).*data\.difficult=present"):
        read_bytes(tmp_path, text)
    assert read_bytes(tmp_path, text, TableOptions(difficult="absent")).words["b"] == ("dog",)
    assert read_bytes(tmp_path, text, TableOptions(difficult="present")).words["b"] == ("cat", "dog")


def test_columns_without_a_title_of_labels_hold_words_for_yes_and_no_or_known_classes(tmp_path: Path) -> None:
    text = "image,first,second\na,cat,\nb,dog,cat\nsub/c,,\n"
    with pytest.raises(UserError, match=r"no column has the title labels, .* first, second do not hold .*'cat', 'dog'"):
        read(tmp_path, text)
    assert read(tmp_path, text, classes=("cat", "dog")).words == EXPECTED
    assert read(tmp_path, text.replace("first", "label_1").replace("second", "label_2")).words == EXPECTED
    assert read(tmp_path, "image,Finding Labels,Age\na,cat,30\nb,dog|cat,31\nsub/c,,32\n").words == EXPECTED


@pytest.mark.parametrize("word", ["nan", "NaN", "None", "NULL", "<NA>", "N/A", "#N/A", "#REF!", "?", "-"])
def test_a_word_for_a_missing_value_is_neither_a_class_nor_background(tmp_path: Path, word: str) -> None:
    table = read(tmp_path, f"image,labels\na,cat\nb,{word}\nsub/c,\n")
    assert table.words == {"a": ("cat",), "sub/c": ()}
    assert table.unknown == {"b": f"line 3: {word!r}"}
    assert read(tmp_path, f"image,labels\na,cat\nb,{word}\nsub/c,\n", classes=("cat", word)).words["b"] == (word,)


def test_names_with_spaces_are_split_only_on_request(tmp_path: Path) -> None:
    table = read(tmp_path, "image,labels\na,golden retriever\nb,labrador retriever\nsub/c,\n")
    assert table.words["a"] == ("golden retriever",)
    assert table.problems == []
    assert "2 labels have spaces" in table.notes[0]
    assert "data.label_separator=space" in table.notes[0]
    text = b"image,labels\na,cat\nb,dog cat\nsub/c,dog\n"
    assert "1 label consists of other labels: 'dog cat'." in read_bytes(tmp_path, text).problems[0]
    assert read_bytes(tmp_path, text, TableOptions("space")).words["b"] == ("dog", "cat")
    assert read_bytes(tmp_path, text.replace(b"g c", b"g/c"), TableOptions("/")).words["b"] == ("dog", "cat")
    assert read(tmp_path, text.decode(), classes=("cat", "dog")).words["b"] == ("dog", "cat")
    assert read(tmp_path, text.decode(), classes=("cat", "dog", "dog cat")).words["b"] == ("dog cat",)


@pytest.mark.parametrize(
    ("both", "remedy"),
    [
        ("red ball/box", "data.label_separator=/"),
        ("red ball + box", "'data.label_separator=\"+\"'"),
        ("box and red ball", "'data.label_separator=\" and \"'"),
        ("box_red ball", "data.label_separator=_"),
        ("red ball box box", "data.label_separator=space"),
    ],
)
def test_a_label_that_consists_of_other_labels_is_refused(tmp_path: Path, both: str, remedy: str) -> None:
    table = read(tmp_path, f"image,labels\na,red ball\nb,{both}\nsub/c,box\n")
    assert f"1 label consists of other labels: {both!r}." in table.problems[0]
    assert remedy in table.problems[0]
    assert read(tmp_path, "image,labels\na,cat-fish\nb,cat\nsub/c,sand and sea\n").problems == []


def test_columns_that_are_not_read_are_reported_with_the_one_that_may_be_the_split(tmp_path: Path) -> None:
    table = read(tmp_path, "image,labels,set,note\na,cat,Train,x\nb,dog,val,train\nsub/c,,Train,y\n")
    assert table.splits == {}
    assert "only labels and splits are read, not the columns 'set', 'note'" in table.notes[0]
    assert "the column 'set' holds train, val. If it is the split" in table.notes[1]
    assert len(table.notes) == 2


def test_the_split_has_the_words_of_other_programs(tmp_path: Path) -> None:
    table = read(tmp_path, "image,labels,Split\na,cat,Training\nb,dog,valid\nsub/c,,test\n")
    assert (table.splits, table.problems) == ({"a": "train", "b": "val", "sub/c": "test"}, [])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_names_have_one_unicode_form_in_every_encoding(tmp_path: Path, encoding: str) -> None:
    table = read_bytes(tmp_path, "image,labels\na,caf\u00e9\nb,cafe\u0301;tea\nsub/c,\n".encode(encoding))
    assert table.words == {"a": ("caf\u00e9",), "b": ("caf\u00e9", "tea"), "sub/c": ()}
    assert read(tmp_path, json.dumps({"a": ["cafe\u0301"]}), "labels.json").words == {"a": ("caf\u00e9",)}


@pytest.mark.parametrize(
    "text",
    [
        "sep=;\nimage;labels\na;cat\nb;dog,cat\nsub/c;\n",
        '"sep=\t"\r\nimage\tlabels\r\na\tcat\r\nb\tdog,cat\r\nsub/c\t\r\n',
        "a;cat\nb;dog,cat\nsub/c;\n",
        "a|cat\nb|dog;cat\nsub/c|\n",
        "image;labels;source, year\na;cat;x, 1\nb;dog,cat;y, 2\nsub/c;;z, 3\n",
    ],
)
def test_the_delimiter_is_found_by_the_images_or_named_by_excel(tmp_path: Path, text: str) -> None:
    table = read(tmp_path, text)
    assert table.words == EXPECTED
    assert table.problems == []


def test_lines_are_numbered_below_the_line_of_excel(tmp_path: Path) -> None:
    assert "line 4: a" in read(tmp_path, "sep=;\nimage;labels\na;cat\na;dog\n").problems[0]


@pytest.mark.parametrize(
    "text",
    [
        ",image,labels\n0,a.jpg,cat\n1,b.jpg,dog|cat\n2,sub/c.png,\n",
        "Unnamed: 0,image,dog,cat\n0,a.jpg,0,1\n1,b.jpg,1,1\n2,sub/c.png,0,0\n",
        "0,a.jpg,cat\n1,b.jpg,dog|cat\n2,sub/c.png,\n",
    ],
)
def test_a_column_that_counts_the_lines_is_left_out(tmp_path: Path, text: str) -> None:
    table = read(tmp_path, text)
    assert table.words == EXPECTED
    assert "the first column counts the lines" in table.notes[0]


def test_images_may_be_called_like_the_lines_of_pandas(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text(",image,labels\n0,2,cat\n1,0,dog\n2,1,\n")
    assert read_table(tmp_path / "labels.csv", ("0", "1", "2")).words == {"2": ("cat",), "0": ("dog",), "1": ()}
    (tmp_path / "labels.csv").write_text("image,labels\n0,2\n1,0\n2,1\n")
    assert read_table(tmp_path / "labels.csv", ("0", "1", "2")).words == {"0": ("2",), "1": ("0",), "2": ("1",)}


def test_the_image_may_be_in_another_column_and_empty_columns_at_the_end_are_ignored(tmp_path: Path) -> None:
    assert read(tmp_path, "labels,image\ncat,a.jpg\ndog|cat,b.jpg\n,sub/c.png\n").words == EXPECTED
    table = read(tmp_path, "image,dog,cat,,\na,0,1,,\nb,1,1,,\nsub/c,0,0,,\n")
    assert (table.words, table.problems) == (EXPECTED, [])


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"a.jpg cat\nb.jpg dog\nsub/c.png cat\n", r"spaces separate the image from its labels \(line 1\).*comma"),
        (b"PK\x03\x04...", r"is a ZIP file \(\.xlsx, \.npz\)\. Save a table as CSV"),
        ("a,cat\n".encode("utf-16-le"), "line 1 holds zero bytes"),
        (b"\xff\xfea", "line 1 is not UTF-16"),
    ],
)
def test_other_files_are_refused_with_the_reason(tmp_path: Path, data: bytes, said: str) -> None:
    with pytest.raises(UserError, match=said):
        read_bytes(tmp_path, data)
