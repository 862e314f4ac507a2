"""COCO 2014 in each layout and numbering: the same images, labels and masks, or a message that says what to set."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from secseg.data.coco_module import CocoDataModule
from secseg.utils.errors import UserError
from tests.data.coco_data import (
    CATEGORIES,
    CONTIGUOUS,
    LAYOUTS,
    MASK_NAMES,
    Scene,
    scenes,
    write_coco,
    write_images,
    write_json,
    write_masks,
)

FORMS = {"prefix": "COCO_{part}2014_{number:012}", **MASK_NAMES}
Parts = dict[str, list[Scene]]


def module(root: Path, **settings: Any) -> CocoDataModule:
    return CocoDataModule(str(root), **{"batch_size": 2, "workers": 0, **settings})


def labelled(images: list[Scene]) -> list[Scene]:
    return [scene for scene in images if scene.labels()]


def check(data: CocoDataModule, parts: Parts, rule: str = "last") -> None:
    """Compare splits, labels and masks with what was drawn."""
    data.open_train()
    train = labelled(parts["train"])
    assert data.train_images.names == tuple(scene.name("train") for scene in train)
    assert data.image_labels() == {scene.name("train"): scene.labels() for scene in train}
    data.open_scored()
    val = labelled(parts["val"])
    assert data.val_images.names == tuple(scene.name("val") for scene in val)
    assert data.val_classes() == {number for scene in val for number in scene.labels()}
    assert data.val_images.masks is not None
    for scene, path in zip(val, data.val_images.masks, strict=True):
        mask = data.val_images.read_mask(path, (scene.height, scene.width))
        np.testing.assert_array_equal(mask, scene.mask(rule))


@pytest.mark.parametrize("numbering", ["contiguous", "raw"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_layout_and_numbering_gives_the_same_data(tmp_path: Path, layout: str, numbering: str) -> None:
    parts = write_coco(tmp_path, layout=layout, numbering=numbering)
    data = module(tmp_path)
    check(data, parts)
    stated = data.mask_protocol()
    assert stated["numbering"] == numbering
    assert stated["mask_folder"] == tmp_path / "SegmentationClass"


@pytest.mark.parametrize("names", MASK_NAMES)
@pytest.mark.parametrize("folder", ["voc_format/class_labels", "mask", "anything"])
def test_masks_are_found_by_each_form_of_the_id(tmp_path: Path, names: str, folder: str) -> None:
    parts = write_coco(tmp_path, numbering=None)
    for part, images in parts.items():
        write_masks(tmp_path, part, images, "raw", names, folder, "smallest")
    check(module(tmp_path, mask_folder="anything" if folder == "anything" else None), parts, "smallest")


def test_all_masks_may_lie_in_one_folder(tmp_path: Path) -> None:
    parts = write_coco(tmp_path, numbering=None)
    for part, images in parts.items():
        for path in write_masks(tmp_path, part, images, names="bare").iterdir():
            path.rename(tmp_path / "SegmentationClass" / path.name)
        (tmp_path / "SegmentationClass" / f"{part}2014").rmdir()
    check(module(tmp_path), parts)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("place", ["", "ImageSets", "voc_format", "by_path"])
def test_lists_name_images_in_each_form_of_the_id(tmp_path: Path, form: str, place: str) -> None:
    parts = write_coco(tmp_path)
    chosen = parts["train"][3:12]
    path = tmp_path / place / "some.txt"
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(f"{FORMS[form].format(part='train', number=scene.number)}\n" for scene in chosen))
    data = module(tmp_path, train_split=str(path) if place == "by_path" else "some")
    data.open_train()
    assert data.train_images.names == tuple(scene.name("train") for scene in chosen)  # also those without labels
    assert data.image_labels() == {scene.name("train"): scene.labels() for scene in chosen}


def test_a_list_with_class_numbers_after_the_id_is_a_list(tmp_path: Path) -> None:
    parts = write_coco(tmp_path)
    lines = [f"{scene.name('train')} {' '.join(str(n - 1) for n in scene.labels())}\n" for scene in parts["train"][:6]]
    (tmp_path / "train.txt").write_text("".join(lines))
    data = module(tmp_path)  # a list has priority over all images of the annotations
    data.open_train()
    assert data.train_images.names == tuple(scene.name("train") for scene in parts["train"][:6])


def test_images_without_labels_are_kept_or_skipped_and_counted(tmp_path: Path) -> None:
    parts = write_coco(tmp_path)
    kept = module(tmp_path, without_labels="keep")
    kept.open_train()
    assert len(kept.train_images.names) == len(parts["train"]) == 20
    assert sum(not labels for labels in kept.image_labels().values()) == 2
    skipped = module(tmp_path)
    skipped.open_train()
    skipped.val_images, skipped.cues = skipped.train_images, None
    assert skipped.protocol()["left_out"] == {"train": 2}
    assert skipped.protocol()["train_images"] == 18
    assert skipped.protocol()["labels"] == "instances_train2014.json"
    (tmp_path / "all.txt").write_text("\n".join(str(scene.number) for scene in parts["train"]))
    both = module(tmp_path, train_split="all", without_labels="skip")
    both.open_train()
    assert both.train_images.names == skipped.train_images.names


def write_vectors(path: Path, parts: Parts, key: Any) -> None:
    vectors = {}
    for part, images in parts.items():
        for scene in images:
            vector = np.zeros(80, np.float32)
            vector[[number - 1 for number in scene.labels()]] = 1
            vectors[key(part, scene)] = vector
    np.save(path, vectors, allow_pickle=True)  # type: ignore[arg-type]


KEYS = {
    "int": lambda part, scene: scene.number,
    "int32": lambda part, scene: np.int32(scene.number),
    "bare": lambda part, scene: str(scene.number),
    "zeros": lambda part, scene: f"{scene.number:012}",
    "stem": lambda part, scene: scene.name(part),
}


@pytest.mark.parametrize("key", KEYS)
def test_labels_come_from_vectors_with_each_form_of_the_id(tmp_path: Path, key: str) -> None:
    parts = write_coco(tmp_path, layout="clip_es", numbering="raw")
    for path in (tmp_path / "annotations").iterdir():
        path.unlink()
    write_vectors(tmp_path / "cls_labels.npy", parts, KEYS[key])
    data = module(tmp_path, labels="cls_labels.npy")
    check(data, parts)
    assert data.label_source() == "cls_labels.npy"


def test_labels_come_from_a_table_of_names_and_from_masks(tmp_path: Path) -> None:
    parts = write_coco(tmp_path)
    with (tmp_path / "mine.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["image", "labels"])
        names = ["", *CATEGORIES.values()]
        for scene in parts["train"]:
            rows.writerow([f"{scene.number:012}.jpg", ";".join(names[number] for number in scene.labels())])
    data = module(tmp_path, labels="mine.csv")
    data.open_train()
    expected = {scene.name("train"): scene.labels() for scene in labelled(parts["train"])}
    assert data.image_labels() == expected
    shown = module(tmp_path, labels="masks")
    shown.open_train()
    found = shown.image_labels()
    assert set(found) == set(expected)
    assert all(set(found[name]) <= set(expected[name]) for name in found)


def test_without_annotations_all_images_of_the_folder_are_used_with_a_warning(tmp_path: Path) -> None:
    parts = write_coco(tmp_path)
    for path in (tmp_path / "annotations").iterdir():
        path.unlink()
    data = module(tmp_path)
    data.open_scored()
    assert len(data.val_images.names) == len(parts["val"])
    assert any("images without labels are not left out" in warning for warning in data.warnings)
    data.open_train()
    with pytest.raises(UserError, match=r"no image-level labels .*data\.labels="):
        data.image_labels()


def test_images_whose_names_show_no_part_need_annotations_or_a_list(tmp_path: Path) -> None:
    parts = {"train": scenes(6, 0, first=9), "val": scenes(6, 1, first=42_000)}
    for part, images in parts.items():
        for scene in images:
            path = write_images(tmp_path, part, [scene], "flat") / f"{scene.name(part)}.jpg"
            path.rename(path.with_name(f"{scene.number:012}.jpg"))
    with pytest.raises(UserError, match=r"not known which images .*data\.train_split=<list>\.txt"):
        module(tmp_path).open_train()
    for part, images in parts.items():
        write_json(tmp_path, part, images)
    data = module(tmp_path)
    data.open_train()
    assert data.train_images.names == tuple(f"{scene.number:012}" for scene in labelled(parts["train"]))


def test_masks_that_are_ambiguous_need_the_setting(tmp_path: Path) -> None:
    categories = (1, 2, 3, 13, 14, 20, 27)
    images = scenes(300, 0, first=9, categories=categories)
    write_images(tmp_path, "val", images)
    write_masks(tmp_path, "val", images, "raw")
    with pytest.raises(UserError, match=r"data\.numbering=contiguous or data\.numbering=raw"):
        module(tmp_path).open_scored()
    data = module(tmp_path, numbering="raw")
    data.open_scored()
    assert data.val_images.masks is not None
    np.testing.assert_array_equal(data.val_images.read_mask(data.val_images.masks[0]), images[0].mask())
    assert data.mask_protocol()["numbering_by"] == "data.numbering"
    assert {CONTIGUOUS[one] for one in categories} == {1, 2, 3, 12, 13, 19, 25}


def broken(root: Path, what: str) -> None:
    if what == "image":
        next((root / "val2014").iterdir()).unlink()
    elif what == "mask":
        (root / "SegmentationClass" / "val2014" / "COCO_val2014_000000042000.png").unlink()
    elif what == "two images":
        path = root / "val2014" / "COCO_val2014_000000042000.jpg"
        path.with_name("42000.jpg").write_bytes(path.read_bytes())
    elif what == "two folders":
        (root / "mask").mkdir()
        path = root / "SegmentationClass" / "val2014" / "COCO_val2014_000000042000.png"
        (root / "mask" / "42000.png").write_bytes(path.read_bytes())
    elif what == "list":
        (root / "val.txt").write_text("42000\n42001\n")
    elif what == "names":
        (root / "val.txt").write_text("42000\n2007_000032\n")


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("image", r"1 of 10 images has no file .split 'val', .*instances_val2014\.json"),
        ("mask", r"1 of 9 images has no mask .*prepare_coco"),
        ("two images", r"1 image has several files"),
        ("two folders", r"Several folders have masks.*data\.mask_folder="),
        ("list", r"1 of 2 images has no file .split 'val', .*val\.txt"),
        ("names", r"not of COCO's images:\n  2007_000032"),
    ],
)
def test_what_is_missing_or_double_is_named(tmp_path: Path, what: str, message: str) -> None:
    write_coco(tmp_path)
    broken(tmp_path, what)
    with pytest.raises(UserError, match=f"(?s){message}"):
        module(tmp_path).open_scored()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"numbering": "voc"}, r"data\.numbering=voc"),
        ({"without_labels": "drop"}, r"data\.without_labels=drop"),
        ({"numbering": "raw", "mask_values": "numbers"}, "state the same"),
        ({"images": "nowhere"}, r"data\.images=nowhere: there is no folder"),
        ({"mask_folder": "val2014"}, "no masks of COCO's images"),
        ({"val_split": "vall"}, r"no split 'vall'\. Did you mean 'val'"),
    ],
)
def test_settings_that_do_not_fit_are_named(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    write_coco(tmp_path, 2, 2)
    with pytest.raises(UserError, match=message):
        module(tmp_path, **settings).open_scored()


def test_an_empty_root_names_the_folders_that_would_be_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"(?s)no images of COCO 2014.*JPEGImages.*coco2014"):
        module(tmp_path).open_scored()
