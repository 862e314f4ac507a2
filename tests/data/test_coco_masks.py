"""COCO's masks: drawn as the code around COCO draws them, and recognised by their numbers."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from secseg.data.coco_annotations import read_instances
from secseg.data.coco_masks import RULES, draw_mask, find_numbering
from secseg.utils.errors import UserError
from tests.data.coco_data import CONTIGUOUS, Scene, scenes, write_json, write_masks

if not os.environ.get("CI"):
    pytest.importorskip("pycocotools")


@pytest.mark.parametrize("rule", RULES)
def test_masks_are_those_of_the_objects_in_the_order_of_the_rule(tmp_path: Path, rule: str) -> None:
    images = scenes(40, seed=5)
    found = read_instances(write_json(tmp_path, "train", images))
    for scene in images:
        mask = draw_mask(found.annotations(scene.number), (scene.height, scene.width), rule)
        assert mask.dtype == np.uint8
        np.testing.assert_array_equal(mask, scene.mask(rule))


def test_the_two_rules_and_the_crowds_give_different_masks() -> None:
    images = scenes(40, seed=5)
    assert sum((scene.mask("last") != scene.mask("smallest")).any() for scene in images) > 10


def test_curved_shapes_are_drawn_as_by_ann_to_mask(tmp_path: Path) -> None:
    """By the loop over ``annToMask`` that ReCAM and others have."""
    from pycocotools.coco import COCO

    images = scenes(12, seed=8)
    path = write_json(tmp_path, "train", images)
    text = path.read_text()
    rng = np.random.default_rng(0)
    while "[[" in text:  # another polygon for each rectangle, with two parts for some
        parts = rng.uniform(0, 40, (rng.integers(1, 3), 14)).round(2).tolist()
        start = text.index("[[")
        text = f"{text[:start]}<{str(parts)[1:-1]}>{text[text.index(']]', start) + 2 :]}"
    path.write_text(text.replace("<", "[").replace(">", "]"))
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(path))
    found = read_instances(path)
    shown = 0
    for scene in images:
        expected = np.zeros((scene.height, scene.width), np.uint8)
        for one in coco.loadAnns(coco.getAnnIds(scene.number, iscrowd=False)):
            expected[coco.annToMask(one) == 1] = CONTIGUOUS[one["category_id"]]
        mask = draw_mask(found.annotations(scene.number), (scene.height, scene.width), "last")
        np.testing.assert_array_equal(mask, expected)
        shown += bool(mask.any())
    assert shown > 8


@pytest.mark.parametrize(
    "shape",
    [
        {"counts": [5, 2000], "size": [30, 40]},
        {"counts": [5, 20], "size": [30, 40]},
        {"counts": [600, 600], "size": [40, 30]},
        {"counts": "zz", "size": [30, 40]},
        {"counts": [600, 600]},
        [],
        [[1.0]],
        [["a", "b", "c", "d", "e", "f"]],
        7,
        None,
    ],
)
def test_a_damaged_shape_is_named(shape: Any) -> None:
    one = {"segmentation": shape, "iscrowd": 0, "category_id": 3, "area": 1.0, "id": 77}
    with pytest.raises(UserError, match="annotation 77 is damaged"):
        draw_mask([one], (30, 40), "last")


def labels(images: list[Scene]) -> dict[str, tuple[int, ...]]:
    return {str(scene.number): scene.labels() for scene in images}


def mask_files(root: Path, images: list[Scene], numbering: str) -> dict[str, Path]:
    folder = write_masks(root, "val", images, numbering, names="bare")
    return {str(scene.number): folder / f"{scene.number}.png" for scene in images}


ANY, SHARED, AMBIGUOUS = range(1, 91), range(1, 12), (1, 2, 3, 13, 14, 20, 27, 40, 50)


def drawn(values: Any, count: int = 30) -> list[Scene]:
    return scenes(count, seed=1, categories=[raw for raw in values if raw in CONTIGUOUS])


@pytest.mark.parametrize("numbering", ["contiguous", "raw"])
def test_values_decide_without_labels(tmp_path: Path, numbering: str) -> None:
    files = mask_files(tmp_path, drawn(ANY, 80), numbering)
    found, reason = find_numbering(files, None)
    assert found == numbering
    assert reason.startswith("they hold ")


@pytest.mark.parametrize("numbering", ["contiguous", "raw"])
def test_labels_decide_where_values_do_not(tmp_path: Path, numbering: str) -> None:
    images = drawn(AMBIGUOUS if numbering == "raw" else (1, 2, 3, 14, 15, 20, 70, 90))
    images = [scene for scene in images if not {12, 26, 29, 30, 45, 66, 68, 69, 71} & set(scene.labels())]
    images = [scene for scene in images if max(scene.labels(), default=0) <= 80]
    files = mask_files(tmp_path, images, numbering)
    values = {int(one) for scene in images for one in np.unique(scene.mask(numbering=numbering))}
    if max(values) <= 80 and not values & {12, 26, 29, 30, 45, 66, 68, 69, 71}:
        with pytest.raises(UserError, match=r"data\.numbering=contiguous or data\.numbering=raw"):
            find_numbering(files, None)
    assert find_numbering(files, labels(images))[0] == numbering


def test_numbers_that_both_numberings_share_need_no_decision(tmp_path: Path) -> None:
    files = mask_files(tmp_path, drawn(SHARED), "raw")
    assert find_numbering(files, None)[0] == "contiguous"


def test_masks_that_contradict_the_labels_are_refused(tmp_path: Path) -> None:
    images = drawn(ANY, 60)
    files = mask_files(tmp_path, images, "raw")
    other = dict.fromkeys(files, (60, 61))
    with pytest.raises(UserError, match=r"seem to be raw .* of 60 masks show no other classes .*skips this check"):
        find_numbering(files, other)


@pytest.mark.parametrize("extra", [91, 92, 200, 12])
def test_values_of_neither_numbering_are_refused(tmp_path: Path, extra: int) -> None:
    from PIL import Image

    files = mask_files(tmp_path, drawn(ANY, 80), "raw")
    path = next(iter(files.values()))
    mask = np.array(Image.open(path))
    mask[0, 0] = extra
    Image.fromarray(mask).save(path)
    with pytest.raises(UserError, match=f"hold the values .*{extra}.*neither"):
        find_numbering(files, None)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with contextlib.redirect_stdout(io.StringIO()):
        yield
