"""A user's folder opens if images and labels fit together; else every problem is reported."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from secseg.data.folder import open_folder
from secseg.data.label_cells import TableOptions
from secseg.utils.errors import UserError
from tests.folder_data import draw_folder, draw_images, draw_mask, write_cues

LABELS = {"a": (1,), "b": (1, 2), "sub/c": ()}


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("labels.csv", "image,labels\na.jpg,cat\nb.jpg,dog;cat\nsub/c.png,\n"),
        ("labels.csv", "image,cat,dog\na,1,0\nb,1,1\nsub/c,0,0\n"),
        ("labels.json", json.dumps({"a": ["cat"], "b": ["dog", "cat"], "images/sub/c.png": []})),
    ],
)
def test_tables_in_the_root_are_found(tmp_path: Path, name: str, table: str) -> None:
    data = open_folder(draw_folder(tmp_path, table, name))
    assert data.labels == LABELS
    assert data.class_names == ("background", "cat", "dog")
    assert data.images == {
        "a": tmp_path / "images" / "a.jpg",
        "b": tmp_path / "images" / "b.jpg",
        "sub/c": tmp_path / "images" / "sub" / "c.png",
    }
    assert (data.source, data.left_out, data.stray_masks) == (name, (), ())


def test_sub_folders_are_classes_and_background_holds_none(tmp_path: Path) -> None:
    files = ("cat/1.jpg", "größe = 50 %/2.jpg", "cat/old/3.jpg", "background/4.jpg")
    draw_images(tmp_path, files)
    draw_mask(tmp_path / "masks" / "cat" / "1.png", 1)
    data = open_folder(tmp_path)
    assert data.class_names == ("background", "cat", "größe = 50 %")
    assert data.labels == {"background/4": (), "cat/1": (1,), "cat/old/3": (1,), "größe = 50 %/2": (2,)}
    assert data.source == "sub-folders"
    assert data.masks["cat/1"].is_file()


def test_the_order_of_classes_is_that_of_the_columns_or_as_given(tmp_path: Path) -> None:
    root = draw_folder(tmp_path, "image,dog,a/b = c,background\na,0,1,0\nb,1,1,0\nsub/c,0,0,1\n")
    assert open_folder(root).class_names == ("background", "dog", "a/b = c")
    data = open_folder(root, classes=["a/b = c", "dog"])
    assert data.class_names == ("background", "a/b = c", "dog")
    assert data.labels == {"a": (1,), "b": (1, 2), "sub/c": ()}


def test_one_class_and_254_classes_are_enough_and_255_too_many(tmp_path: Path) -> None:
    root = draw_folder(tmp_path, "image,cat\na,1\nb,0\nsub/c,0\n")
    assert open_folder(root).class_names == ("background", "cat")
    for count in (254, 255):
        names = [f"class {number}" for number in range(count)]
        (root / "labels.json").write_text(json.dumps({"a": names, "b": [], "sub/c": []}))
        if count == 254:
            assert open_folder(root, labels="labels.json").labels["a"] == tuple(range(1, 255))
        else:
            with pytest.raises(UserError, match="255 classes; the maximum is 254"):
                open_folder(root, labels="labels.json")


def test_numbers_are_classes_only_where_their_names_are_given(tmp_path: Path) -> None:
    root = draw_folder(tmp_path, "a,1\nb,2 1\nsub/c,\n")
    with pytest.raises(UserError, match=r"numbers \(1, 2\), not names\. .*data\.classes="):
        open_folder(root)
    assert open_folder(root, classes=["cat", "dog"]).labels == LABELS


def test_places_can_be_named(tmp_path: Path) -> None:
    root = draw_folder(tmp_path / "root", None)
    (root / "images").rename(root / "photos")
    (tmp_path / "mine.csv").write_text("photos/a.jpg,cat\nphotos/b.jpg,cat|dog\nsub/c,\n")
    draw_mask(root / "truth" / "a.png", 1)
    data = open_folder(root, images="photos", labels=str(tmp_path / "mine.csv"), mask_folder="truth")
    assert data.labels == LABELS
    assert data.masks["a"].is_file()
    with pytest.raises(UserError, match=r"data\.images=photo: there is nothing at"):
        open_folder(root, images="photo")


def test_every_misfit_between_images_and_labels_is_reported_at_once(tmp_path: Path) -> None:
    root = draw_folder(tmp_path, "image,labels\na,cat\nB,dog\nc.png,Cat\nsub/d,cow\nsub/e.jpg,catt\n")
    draw_images(root / "images", ("a.png", "sub/A2.jpg", "sub/a2.jpg", "sub/e.jpg"))
    (root / "images" / "sub" / "f.jpg").write_bytes(b"no image")
    with pytest.raises(UserError) as failure:
        open_folder(root, classes=["cat", "dog", "horse"])
    said = str(failure.value)
    for part in (
        "2 names belong to several images each, up to suffixes and upper and lower case; rename or remove "
        f"all but one:\n  {root}/images/a.jpg, {root}/images/a.png\n"
        f"  {root}/images/sub/A2.jpg, {root}/images/sub/a2.jpg",
        "3 labels are not classes of data.classes:\n  line 4, c: 'Cat' is not a class. Did you mean 'cat'?",
        "  line 5, sub/d: 'cow' is not a class.",
        "  line 6, sub/e: 'catt' is not a class. Did you mean 'cat'?",
        "2 classes of data.classes have no image:\n  dog\n  horse",
        "3 labels belong to images that do not exist:\n  B (line 3). Did you mean 'b'?\n"
        "  c (line 4). Did you mean 'sub/c'?\n",
        "5 of 7 images have no labels.",
        "data.unlabelled=skip:\n  b\n  sub/A2\n  sub/a2\n  sub/c\n  sub/f",
    ):
        assert part in said
    assert "f.jpg is not an image" not in said, "it has no label, so it will not be read"


def test_images_without_labels_are_left_out_on_request(tmp_path: Path) -> None:
    root = draw_folder(tmp_path, "a,cat\nb,dog\n")
    with pytest.raises(UserError, match=r"1 of 3 images has no labels\. Add labels .*\n  sub/c$"):
        open_folder(root)
    data = open_folder(root, unlabelled="skip")
    assert (list(data.images), data.left_out) == (["a", "b"], ("sub/c",))


def test_an_image_that_cannot_be_read_is_reported_before_training(tmp_path: Path) -> None:
    root = draw_folder(tmp_path)
    (root / "images" / "a.jpg").write_bytes(b"no image")
    with pytest.raises(
        UserError,
        match=r"1 image cannot be read:\n  \S+a\.jpg is not .* damaged\.\nFetch it again",
    ):
        open_folder(root)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (
            "a,cat\nb,Cat\nsub/c,\n",
            r"differ only in upper .*: 'Cat' \(1 image, first b, line 2\); 'cat' \(1 image, .*\)\. Write each class",
        ),
        ("a,red ball\nb,red_ball\nsub/c,red  ball\n", "or underscores: 'red  ball' .*; 'red ball' .*; 'red_ball' "),
        ("a,Background\nb,cat\nsub/c,\n", "listed twice, or differ only in .*: 'Background'"),
        ("image,cat,dog\na,0,\nb,,0\nsub/c,0,0\n", "No image has a label: all 3 are background alone"),
        ("a,\nb,\nsub/c,\n", "There is no class: no image has a label"),
        ('a,"x\ny"\nb,cat|dog\nsub/c,\n', r"invisible characters: 'x\\ny'"),
    ],
)
def test_invalid_classes_are_reported(tmp_path: Path, table: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        open_folder(draw_folder(tmp_path, table))


def test_an_image_without_labels_is_the_only_one_that_a_wrong_name_may_mean(tmp_path: Path) -> None:
    draw_images(tmp_path / "images", [f"im_{number}.jpg" for number in ("004", "100", "104")])
    (tmp_path / "labels.csv").write_text("image,labels\nim_100,cat\nim_104,cat\nimm_004,cat\n")
    with pytest.raises(UserError, match=r"  imm_004 \(line 4\)\. Did you mean 'im_004'\?\n"):
        open_folder(tmp_path)


@pytest.mark.parametrize(
    ("rare", "common", "similar"),
    [
        ("stains", "stain", True),
        ("boxes", "box", True),
        ("Berries", "berry", True),
        ("stian", "stain", False),
        ("stan", "stain", True),
        ("strain", "stain", True),
        ("goat", "boat", True),
        ("cat", "car", False),
        ("type2", "type1", False),
        ("hole", "stain", False),
    ],
)
def test_names_that_are_a_plural_or_a_rare_misspelling_are_reported_with_their_images(
    tmp_path: Path, rare: str, common: str, similar: bool
) -> None:
    names = [f"im{number:02}" for number in range(21)]
    draw_images(tmp_path / "images", [f"{name}.jpg" for name in names])
    rows = [f"{name},{rare if name == 'im07' else common}" for name in names]
    (tmp_path / "labels.csv").write_text("\n".join(["image,labels", *rows]))
    said = "\n".join(open_folder(tmp_path).notes)
    assert (f"{rare!r} (1 image, first im07, line 9) and {common!r} (20 images, first im00, line 2)" in said) == similar
    assert ("correct the labels" in said) == similar
    assert open_folder(tmp_path, classes=sorted([rare, common])).notes == ()


def test_names_that_differ_in_a_letter_and_are_both_common_are_two_classes(tmp_path: Path) -> None:
    draw_folder(tmp_path, "image,labels\na,boat\nb,goat\nsub/c,boat;goat\n")
    assert open_folder(tmp_path).notes == ()


def test_a_class_without_a_name_is_reported(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"are empty, or hold .*: ''"):
        open_folder(draw_folder(tmp_path, '{"a": [" "], "b": ["cat"], "sub/c": []}', "labels.json"))


def test_classes_that_differ_only_in_a_hyphen_can_be_given(tmp_path: Path) -> None:
    root = draw_folder(tmp_path, "a,red-ball\nb,red ball\nsub/c,\n")
    assert open_folder(root, classes=["red-ball", "red ball"]).labels["b"] == (2,)


def test_labels_of_images_that_are_not_read_are_reported_as_such(tmp_path: Path) -> None:
    root = draw_folder(tmp_path, "a,cat\nb,\nsub/c,\nsub/d.heic,cat\ne,cat\nf,cat\n")
    for name in ("sub/d.heic", "e.HEIC"):
        (root / "images" / name).touch()
    with pytest.raises(UserError) as failure:
        open_folder(root)
    said = str(failure.value)
    assert "1 label belongs to an image that does not exist:\n  f (line 6)" in said
    assert "2 labels belong to images that are not read:\n  sub/d.heic (line 4)\n  e (line 5)" in said
    assert "Convert them to JPEG or PNG, for example with ImageMagick" in said


def test_background_is_not_given_as_a_class(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="background is always class 0"):
        open_folder(draw_folder(tmp_path), classes=["background", "cat", "dog"])


def test_files_in_the_folder_of_masks_that_belong_to_no_image_are_listed(tmp_path: Path) -> None:
    root = draw_folder(tmp_path)
    for name in ("a.png", "b_mask.png", "sub/c.png"):
        draw_mask(root / "masks" / name, 1)
    draw_images(root / "masks", ["b.jpg"])
    assert open_folder(root).stray_masks == ("b.jpg", "b_mask.png")


def test_a_folder_without_labels_or_images_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no folder \S+/nowhere\. Set data\.root"):
        open_folder(tmp_path / "nowhere")
    (tmp_path / "images").mkdir()
    with pytest.raises(UserError, match=r"holds no image \(\.jpg"):
        open_folder(tmp_path)
    draw_images(tmp_path / "images", ("a.jpg", "b.jpg"))
    with pytest.raises(UserError, match=r"no labels\.csv or labels\.json, and the images .* lie in no sub-folders"):
        open_folder(tmp_path)
    for name in ("labels.csv", "labels.json"):
        (tmp_path / name).touch()
    with pytest.raises(UserError, match=r"holds labels\.csv and labels\.json\. Choose one"):
        open_folder(tmp_path)
    write_cues(tmp_path / "cues.safetensors", {"a": (1,)})
    with pytest.raises(UserError, match="is a cue file, and data=folder takes a table"):
        open_folder(tmp_path, labels="cues.safetensors")


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("a,cat,0.93\nb,dog,0.5\nsub/c,,\n", r"2 labels are numbers \(0\.5, 0\.93; line 2\).*remove scores and boxes"),
        ("image,label\na,1.0\nb,2.0\nsub/c,\n", r"The labels are numbers \(1\.0, 2\.0\), not names"),
        ("image,label\na,yes\nb,no\nsub/c,no\n", r"The labels are no, yes \(line 3\), not names of classes"),
        ("image,labels\na,cat\nb\nsub/c,\n", r"1 of 3 images has no labels\..*\n  b \(line 3 has no separator"),
        ("a,cat\nb\nsub/c,\n", r"1 of 3 images has no labels\..*\n  b \(line 2 has no separator"),
        ("image,labels\na,cat\nb,nan\nsub/c,\n", r"1 of 3 images has no labels\..*\n  b \(line 3: 'nan'\)"),
        (
            "image,cat,dog\na,0.93,0\nb,0.2,1\nsub/c,0,0\n",
            r"(?s)line 2, cat: '0\.93' is neither.*Accepted forms: .*own_images\.md",
        ),
        ("image,labels\na,cat\u200b\nb,cat\nsub/c,\n", "invisible characters: 'cat"),
    ],
)
def test_words_that_are_no_classes_are_refused(tmp_path: Path, table: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        open_folder(draw_folder(tmp_path, table))


def test_unknown_labels_can_be_left_out_and_the_settings_of_the_table_are_used(tmp_path: Path) -> None:
    data = open_folder(draw_folder(tmp_path, "image,labels\na,cat\nb,nan\nsub/c,\n"), unlabelled="skip")
    assert (data.left_out, data.class_names) == (("b",), ("background", "cat"))
    root = draw_folder(tmp_path, "image,labels\na,cat\nb,cat dog\nsub/c,\n")
    assert open_folder(root, options=TableOptions("space")).labels == LABELS


def test_names_of_images_classes_and_masks_have_one_unicode_form(tmp_path: Path) -> None:
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    draw_images(tmp_path / "images", (f"{decomposed}.jpg", f"{decomposed}/b.jpg"))
    draw_mask(tmp_path / "masks" / f"{decomposed}.png", 1)
    (tmp_path / "labels.csv").write_text(f"{composed},{decomposed}\n{decomposed}/b,{composed}\n", "utf-8")
    data = open_folder(tmp_path, classes=[decomposed])
    assert data.labels == {composed: (1,), f"{composed}/b": (1,)}
    assert data.class_names == ("background", composed)
    assert data.masks[composed].is_file()
    assert data.stray_masks == ()
    (tmp_path / "labels.csv").unlink()
    (tmp_path / "images" / f"{decomposed}.jpg").unlink()
    assert open_folder(tmp_path).class_names == ("background", composed)


def test_two_images_whose_names_differ_only_in_their_unicode_form_are_refused(tmp_path: Path) -> None:
    draw_images(tmp_path / "images", ("caf\u00e9.jpg", "cafe\u0301.jpg"))
    (tmp_path / "labels.csv").write_text("caf\u00e9,cat\n", "utf-8")
    with pytest.raises(UserError, match="belongs to several images each"):
        open_folder(tmp_path)


def test_vectors_need_the_names_of_their_classes(tmp_path: Path) -> None:
    root = draw_folder(tmp_path, None)
    np.save(root / "labels.npy", {"a": np.array([1, 0]), "b": np.array([1, 1]), "sub/c": np.zeros(2)})
    with pytest.raises(UserError, match=r"labels are numbers \(1, 2\), not names"):
        open_folder(root, labels="labels.npy")
    assert open_folder(root, labels="labels.npy", classes=["cat", "dog"]).labels == LABELS
    with pytest.raises(UserError, match="have 2 entries, but there are 3 classes"):
        open_folder(root, labels="labels.npy", classes=["cat", "dog", "cow"])


def test_sub_folders_have_any_names(tmp_path: Path) -> None:
    draw_images(tmp_path, ("7/a.jpg", "yes/b.jpg", "tabby cat/c.jpg"))
    assert open_folder(tmp_path).class_names == ("background", "7", "tabby cat", "yes")
