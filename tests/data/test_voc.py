"""Splits open from the usual layouts; everything that is missing or does not fit is listed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from secseg.data.classes import VOC_CLASSES
from secseg.data.cues import Cues, CueStore
from secseg.data.voc import check_cues, open_split, shipped_ids
from secseg.utils.errors import UserError

IDS = ("2007_000033", "2007_000042", "2007_000061")


def touch(folder: Path, names: Sequence[str], suffix: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / f"{name}{suffix}").touch()


def make(folder: Path, ids: Sequence[str] = IDS, split: str | None = "val", lists: str = "Segmentation") -> Path:
    touch(folder / "JPEGImages", ids, ".jpg")
    touch(folder / "SegmentationClassAug", ids, ".png")
    if split:
        (folder / "ImageSets" / lists).mkdir(parents=True, exist_ok=True)
        (folder / "ImageSets" / lists / f"{split}.txt").write_text("\n".join(ids) + "\n")
    return folder


@pytest.mark.parametrize("layout", ["VOCdevkit/VOC2012", "VOC2012", "."])
@pytest.mark.parametrize("lists", ["Segmentation", "SegmentationAug", ".."])
def test_the_usual_layouts_open(tmp_path: Path, layout: str, lists: str) -> None:
    folder = make(tmp_path / "voc" / layout, lists=lists)
    split = open_split(tmp_path / "voc", "val", require_masks=True)
    assert split.names == IDS
    assert split.images == tuple(folder / "JPEGImages" / f"{name}.jpg" for name in IDS)
    assert split.masks == tuple(folder / "SegmentationClassAug" / f"{name}.png" for name in IDS)
    assert split.title == f"{folder.resolve().name} (split val)"
    assert split.class_names == VOC_CLASSES
    assert tuple(split.palette[15]) == (192, 128, 128)  # person


def test_a_list_next_to_vocdevkit_is_found(tmp_path: Path) -> None:
    make(tmp_path / "VOCdevkit" / "VOC2012", split=None)
    (tmp_path / "mine.txt").write_text(IDS[1])
    assert open_split(tmp_path, "mine", require_masks=True).names == IDS[1:2]


def test_the_official_lists_are_in_the_package(tmp_path: Path) -> None:
    make(tmp_path, shipped_ids("val"), split=None)
    assert len(open_split(tmp_path, "val", require_masks=True).names) == 1_449
    assert [len(set(shipped_ids(split))) for split in ("train", "train_aug")] == [1_464, 10_582]
    assert set(shipped_ids("train")) < set(shipped_ids("train_aug"))
    assert not set(shipped_ids("val")) & set(shipped_ids("train_aug"))


def test_a_list_in_the_data_has_priority_over_that_of_the_package(tmp_path: Path) -> None:
    make(tmp_path, shipped_ids("val"), split=None)
    (tmp_path / "val.txt").write_text("\n".join(IDS))
    assert open_split(tmp_path, "val", require_masks=True).names == IDS


def test_a_list_at_any_path_is_a_split(tmp_path: Path) -> None:
    root = make(tmp_path / "VOC2012")
    (tmp_path / "mine.txt").write_text(f"{IDS[1]}\n")
    assert open_split(root, str(tmp_path / "mine.txt"), require_masks=False).names == (IDS[1],)
    with pytest.raises(UserError, match=r"Cannot read the id list \S*absent\.txt"):
        open_split(root, str(tmp_path / "absent.txt"), require_masks=False)


def test_pairs_of_paths_are_lists_too(tmp_path: Path) -> None:
    make(tmp_path)
    (tmp_path / "val.txt").unlink(missing_ok=True)
    path = tmp_path / "ImageSets" / "Segmentation" / "val.txt"
    path.write_text("".join(f"/JPEGImages/{name}.jpg /SegmentationClassAug/{name}.png\r\n" for name in IDS))
    assert open_split(tmp_path, "val", require_masks=True).names == IDS
    path.write_text("".join(f"/JPEGImages/{name}.jpg\n" for name in IDS))
    assert open_split(tmp_path, "val", require_masks=True).names == IDS


def test_each_image_has_its_augmented_mask_or_else_vocs_own(tmp_path: Path) -> None:
    make(tmp_path)
    touch(tmp_path / "SegmentationClass", IDS, ".png")
    (tmp_path / "SegmentationClassAug" / f"{IDS[1]}.png").unlink()
    masks = open_split(tmp_path, "val", require_masks=True).masks
    assert masks is not None
    assert [path.parent.name for path in masks] == ["SegmentationClassAug", "SegmentationClass", "SegmentationClassAug"]


def test_a_folder_of_predicted_masks_replaces_the_masks_of_the_data(tmp_path: Path) -> None:
    make(tmp_path / "voc")
    touch(tmp_path / "predicted", IDS[:2], ".png")
    with pytest.raises(UserError, match=rf"1 of 3 images .*\n  {IDS[2]}: no mask\n"):
        open_split(tmp_path / "voc", "val", require_masks=True, masks=tmp_path / "predicted")
    touch(tmp_path / "predicted", IDS, ".png")
    masks = open_split(tmp_path / "voc", "val", require_masks=True, masks=tmp_path / "predicted").masks
    assert masks == tuple(tmp_path / "predicted" / f"{name}.png" for name in IDS)
    with pytest.raises(UserError, match=r"no folder of masks at .*absent"):
        open_split(tmp_path / "voc", "val", require_masks=True, masks=tmp_path / "absent")


def test_masks_may_be_missing_if_they_are_not_required(tmp_path: Path) -> None:
    make(tmp_path)
    for path in (tmp_path / "SegmentationClassAug").iterdir():
        path.unlink()
    masks = open_split(tmp_path, "val", require_masks=False).masks
    assert masks is not None
    assert masks[0] == tmp_path / "SegmentationClassAug" / f"{IDS[0]}.png"
    (tmp_path / "SegmentationClassAug").rmdir()
    assert open_split(tmp_path, "val", require_masks=False).masks is None
    with pytest.raises(UserError, match=r"(?s)3 of 3 .*(no mask.*){3}.*prepare_voc\.py"):
        open_split(tmp_path, "val", require_masks=True)


def test_missing_data_is_reported_with_the_searched_places_and_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(UserError) as failure:
        open_split(tmp_path / "nowhere", "val", require_masks=False)
    message = str(failure.value)
    assert f"no data at {tmp_path / 'nowhere'}, which is not a folder" in message
    for place in ("JPEGImages", "VOC2012/JPEGImages", "VOCdevkit/VOC2012/JPEGImages"):
        assert str(tmp_path / "nowhere" / place) in message
    assert f"python src/prepare_voc.py root={tmp_path / 'nowhere'}" in message


def test_every_id_without_image_or_mask_is_listed(tmp_path: Path) -> None:
    make(tmp_path)
    (tmp_path / "JPEGImages" / f"{IDS[0]}.jpg").unlink()
    (tmp_path / "SegmentationClassAug" / f"{IDS[0]}.png").unlink()
    (tmp_path / "SegmentationClassAug" / f"{IDS[2]}.png").unlink()
    with pytest.raises(UserError, match=rf"2 of 3 .*\n  {IDS[0]}: no image, no mask\n  {IDS[2]}: no mask\n"):
        open_split(tmp_path, "val", require_masks=True)
    with pytest.raises(UserError, match=rf"1 of 3 .*\n  {IDS[0]}: no image\n"):
        open_split(tmp_path, "val", require_masks=False)


def test_many_missing_files_are_counted(tmp_path: Path) -> None:
    make(tmp_path, split=None)
    with pytest.raises(UserError, match=r"(?s)10582 of 10582 images.*and 10572 more") as failure:
        open_split(tmp_path, "train_aug", require_masks=True)
    assert len(str(failure.value).splitlines()) < 15


def test_an_image_whose_name_differs_in_case_is_mentioned(tmp_path: Path) -> None:
    make(tmp_path, ["Cow_1"])
    (tmp_path / "ImageSets" / "Segmentation" / "val.txt").write_text("cow_1")
    with pytest.raises(UserError, match=r"cow_1: no image \(but Cow_1\.jpg\), no mask \(but Cow_1\.png\)"):
        open_split(tmp_path, "val", require_masks=True)


def test_suffixes_in_any_case_are_images(tmp_path: Path) -> None:
    make(tmp_path)
    (tmp_path / "JPEGImages" / f"{IDS[0]}.jpg").rename(tmp_path / "JPEGImages" / f"{IDS[0]}.JPG")
    (tmp_path / "JPEGImages" / f"{IDS[1]}.jpg").rename(tmp_path / "JPEGImages" / f"{IDS[1]}.jpeg")
    (tmp_path / "JPEGImages" / f"{IDS[2]}.png").touch()  # a .jpg comes before a .png
    found = [path.suffix for path in open_split(tmp_path, "val", require_masks=True).images]
    assert found == [".JPG", ".jpeg", ".jpg"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\nb\na\n", r"names these images more than once.*:\n  a$"),
        ("a\nb\nA\n", r"differ only in upper and lower case.*\n  a\n  A$"),
        ("\n\n", "is empty"),
        (b"\xff\xfe\x00", "Cannot read the id list"),
    ],
)
def test_an_invalid_list_is_reported(tmp_path: Path, text: str | bytes, message: str) -> None:
    make(tmp_path, "ab")
    data = text if isinstance(text, bytes) else text.encode()
    (tmp_path / "ImageSets" / "Segmentation" / "val.txt").write_bytes(data)
    with pytest.raises(UserError, match=message):
        open_split(tmp_path, "val", require_masks=True)


def test_an_unknown_split_names_the_nearest_and_all(tmp_path: Path) -> None:
    make(tmp_path, split="tune")
    with pytest.raises(UserError, match=r"no split 'tun'. Did you mean 'tune'.*Known: train, train_aug, tune, val"):
        open_split(tmp_path, "tun", require_masks=True)
    with pytest.raises(UserError, match=r"no split 'val'. Known: tune\."):  # VOC's lists are not for other classes
        open_split(tmp_path, "val", require_masks=True, class_names=("background", "ring"))


def store(**maps: tuple[tuple[int, ...], int]) -> CueStore:
    cues = {name: Cues(labels, np.full((3, 3), value, dtype=np.uint8)) for name, (labels, value) in maps.items()}
    return CueStore.from_dict(cues, {})


def test_images_without_cues_are_all_listed(tmp_path: Path) -> None:
    images = open_split(make(tmp_path, ["a", "b", "c"]), "val", require_masks=False)
    check_cues(images, store(a=((3,), 3), b=((20,), 255), c=((2, 5), 0), d=((200,), 200)), 21)
    with pytest.raises(UserError, match=r"2 of 3 images .*1 image\):\n  b\n  c\nSet data\.cues"):
        check_cues(images, store(a=((3,), 3)), 21)


def test_classes_that_the_data_does_not_have_are_all_listed(tmp_path: Path) -> None:
    images = open_split(make(tmp_path, ["a", "b", "c"]), "val", require_masks=False)
    cues = store(a=((3,), 3), b=((21,), 0), c=((5, 30), 30))
    with pytest.raises(UserError, match=r"2 images .* outside 0\.\.20.*\n  b: class 21\n  c: class 30$"):
        check_cues(images, cues, 21)


def test_cues_that_contradict_their_labels_are_all_listed(tmp_path: Path) -> None:
    images = open_split(make(tmp_path, ["a", "b", "c"]), "val", require_masks=False)
    cues = store(a=((3,), 3), b=((4,), 4), c=((5,), 5))
    cues.labels[1:] = 7
    with pytest.raises(UserError, match=r"2 images .* not among their labels.*\n  b: class 4\n  c: class 5$"):
        check_cues(images, cues, 21)


def test_the_animal_slice_is_complete_and_has_official_cues(voc_animals: Path) -> None:
    counts = [len(open_split(voc_animals, split, require_masks=True).names) for split in ("train_aug", "tune", "val")]
    assert counts == [1400, 138, 186]
    assert set(open_split(voc_animals, "train_aug", require_masks=True).names) < set(shipped_ids("train_aug"))
    assert set(open_split(voc_animals, "val", require_masks=True).names) < set(shipped_ids("val"))
