"""Labels from VOC's own files: XML annotations and the lists of each class; what is no such file is refused."""

from __future__ import annotations

import time
from pathlib import Path
from xml.etree import ElementTree

import pytest

from secseg.data.folder import open_folder
from secseg.data.label_annotations import LARGEST, read_annotation
from secseg.data.label_cells import TableOptions
from secseg.data.labels import find_labels, read_labels
from secseg.utils.errors import UserError
from tests.folder_data import draw_folder

CLASSES = ("background", "cat", "dog", "dining table")
NAMES = ("2007_000001", "2007_000002", "2007_000003")
# Objects of each image: class, and whether it is difficult.
OBJECTS: dict[str, list[tuple[str, bool]]] = {
    "2007_000001": [("dog", False), ("cat", False), ("dog", True)],
    "2007_000002": [("dining table", True), ("cat", False)],
    "2007_000003": [],
}
PRESENT = {"2007_000001": (1, 2), "2007_000002": (1, 3), "2007_000003": ()}
ABSENT = PRESENT | {"2007_000002": (1,)}


def write_annotations(folder: Path, objects: dict[str, list[tuple[str, bool]]] = OBJECTS) -> Path:
    """Write annotations in the layout of the VOC devkit, with parts of objects, which have names, too."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, entries in objects.items():
        root = ElementTree.Element("annotation")
        ElementTree.SubElement(root, "filename").text = f"{name}.jpg"
        ElementTree.SubElement(ElementTree.SubElement(root, "source"), "name").text = "not a class"
        for label, difficult in entries:
            entry = ElementTree.SubElement(root, "object")
            ElementTree.SubElement(entry, "name").text = label
            ElementTree.SubElement(entry, "difficult").text = str(int(difficult))
            ElementTree.SubElement(ElementTree.SubElement(entry, "part"), "name").text = "head"
        ElementTree.ElementTree(root).write(folder / f"{name}.xml")
    return folder


def write_lists(folder: Path) -> Path:
    """Write ImageSets/Main in the layout of the VOC devkit: a class has two lists, with a line of each image."""
    folder.mkdir(parents=True)
    for label in CLASSES[1:]:
        lines = []
        for name, entries in OBJECTS.items():
            difficult = [hard for one, hard in entries if one == label]
            lines.append(f"{name} {'-1' if not difficult else ' 0' if all(difficult) else ' 1'}\n")
        (folder / f"{label}_train.txt").write_text("".join(lines[:2]))
        (folder / f"{label}_trainval.txt").write_text("".join(lines))
    (folder / "trainval.txt").write_text("\n".join(NAMES))
    return folder


@pytest.mark.parametrize("kind", ["Annotations", "ImageSets/Main"])
def test_both_folders_of_voc_give_its_labels_with_or_without_difficult_objects(tmp_path: Path, kind: str) -> None:
    folder = (write_annotations if kind == "Annotations" else write_lists)(tmp_path / kind)
    with pytest.raises(UserError, match=r"In 1 image, .*difficult:\n  2007_000002: dining table\n.*=present"):
        read_labels(folder, NAMES, CLASSES)
    for difficult, expected in (("present", PRESENT), ("absent", ABSENT)):
        found = find_labels(folder, NAMES, CLASSES, TableOptions(difficult=difficult))
        assert found.labels == expected
        assert found.source.endswith(f", difficult objects {difficult})")


@pytest.mark.parametrize("kind", ["Annotations", "ImageSets/Main"])
def test_difficult_objects_of_other_images_do_not_matter(tmp_path: Path, kind: str) -> None:
    folder = (write_annotations if kind == "Annotations" else write_lists)(tmp_path / kind)
    names = [NAMES[0], NAMES[2]]
    assert read_labels(folder, names, CLASSES) == {name: PRESENT[name] for name in names}


def test_images_without_an_annotation_are_listed(tmp_path: Path) -> None:
    folder = write_annotations(tmp_path / "Annotations", {"a": [("cat", False)]})
    with pytest.raises(UserError, match=r"1 of 2 images has no labels in .*Annotations:\n  b\n"):
        read_labels(folder, ["a", "b"], CLASSES)


def test_a_class_that_is_not_of_the_data_is_named_with_its_image(tmp_path: Path) -> None:
    folder = write_annotations(tmp_path / "Annotations", {"a": [("cats", False)]})
    with pytest.raises(UserError, match=r"image a, a: 'cats' is not a class\. Did you mean 'cat'"):
        read_labels(folder, ["a"], CLASSES)


def test_a_folder_of_own_images_takes_annotations_and_their_names_of_classes(tmp_path: Path) -> None:
    root = draw_folder(tmp_path)
    write_annotations(root / "Annotations", {"a": [("cow", False)], "b": [("cat", False), ("cow", False)]})
    write_annotations(root / "Annotations" / "sub", {"c": []})
    data = open_folder(root, labels="Annotations")
    assert data.class_names == ("background", "cat", "cow")
    assert data.labels == {"a": (2,), "b": (1, 2), "sub/c": ()}
    assert data.source == "Annotations (VOC's XML annotations)"


BOMB = '<?xml version="1.0"?><!DOCTYPE annotation [<!ENTITY a "aaaaaaaaaa">{}]><annotation>&z;</annotation>'.format(
    "".join(f'<!ENTITY {chr(98 + at)} "{f"&{chr(97 + at)};" * 10}">' for at in range(25))
)
EXTERNAL = (
    '<!DOCTYPE annotation [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
    "<annotation><object><name>&x;</name></object></annotation>"
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BOMB, r"declares a document type, .*nothing was expanded"),
        (EXTERNAL, "declares a document type"),
        ('<!DOCTYPE annotation SYSTEM "http://127.0.0.1:9/x.dtd"><annotation/>', "declares a document type"),
        ("<annotation><object><name>cat</name>", "is damaged or not XML: no element found"),
        ("", "is damaged or not XML"),
        ("\x89PNG", "is damaged or not XML"),
        ('<?xml version="1.0" encoding="nothing"?><annotation/>', "is damaged or not XML"),
        ("<annotation><object><name>&x;</name></object></annotation>", "is damaged or not XML: undefined entity"),
        ("<html/>", "is no annotation of VOC: its root is 'html'"),
        ("<annotation><object><difficult>0</difficult></object></annotation>", "has an object without a name"),
        ("<annotation><object><name>cat</name><difficult>2</difficult></object></annotation>", "cat has difficult='2'"),
        (f"<annotation>{' ' * LARGEST}</annotation>", "more than 4,194,304 bytes"),
    ],
    ids=str.__len__,
)
def test_hostile_and_damaged_annotations_are_refused_by_name(tmp_path: Path, text: str, said: str) -> None:
    folder = write_annotations(tmp_path / "Annotations", {"b": [("cat", False)]})
    (folder / "a.xml").write_text(text, "latin1")
    start = time.perf_counter()
    with pytest.raises(UserError, match=rf"1 annotation in (?s:.*)a\.xml(?s:.*){said}"):
        read_labels(folder, ["a", "b"], CLASSES)
    assert time.perf_counter() - start < 10


def test_deep_nesting_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_text(f"<annotation>{'<x>' * 100_000}{'</x>' * 100_000}<object><name>cat</name></object></annotation>")
    assert read_annotation(path) == {"cat": True}


def test_damaged_lists_are_refused_with_their_lines(tmp_path: Path) -> None:
    folder = write_lists(tmp_path / "Main")
    (folder / "cat_train.txt").write_text(f"{NAMES[0]} -1\n{NAMES[1]} 2\n{NAMES[2]}\n")
    (folder / "dog_train.txt").write_bytes(b"\xff")
    with pytest.raises(UserError) as raised:
        read_labels(folder, NAMES, CLASSES, TableOptions(difficult="present"))
    message = str(raised.value)
    assert f"cat_train.txt, line 1: {NAMES[0]} has another value in another list." in message
    assert f"cat_train.txt, line 2: '{NAMES[1]} 2' is not an image and 1, 0 or -1." in message
    assert f"cat_train.txt, line 3: '{NAMES[2]}' is not" in message
    assert "dog_train.txt: line 1 is not UTF-8" in message
    for ending in ("train", "trainval"):
        (folder / f"dog_{ending}.txt").unlink()
    with pytest.raises(UserError, match=r"has no list of dog \(dog_trainval\.txt\)\. Name a complete folder"):
        read_labels(folder, NAMES, CLASSES)


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "Main").mkdir()
    (tmp_path / "Main" / "trainval.txt").write_text("a")
    with pytest.raises(UserError, match="holds no labels: neither VOC's annotations"):
        read_labels(tmp_path / "Main", ["a"], CLASSES)
