"""COCO's annotation file is read as a stream: whatever the size of its parts, with little memory."""

from __future__ import annotations

import io
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from secseg.data import coco_annotations
from secseg.data.coco import CATEGORIES as RAW
from secseg.data.coco import COCO_CLASSES
from secseg.data.coco_annotations import entries, is_instances, read_instances
from secseg.utils.errors import UserError
from tests.data.coco_data import CATEGORIES, CONTIGUOUS, instances, scenes, write_json

VALUES: dict[str, Any] = {
    "info": {"text": 'a "quoted" \\ [ { é', "number": -1.5e-3},
    "images": [1, 23, 456.5, "x]", [], {}, [[1], {"a": [2]}], None, True, "日本"],
    "empty": [],
    "last": 12345,
}


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 64, 10_000])
@pytest.mark.parametrize("indent", [None, 1])
def test_a_stream_yields_each_entry_with_its_bytes(chunk: int, indent: int | None, monkeypatch: Any) -> None:
    monkeypatch.setattr(coco_annotations, "CHUNK", chunk)
    data = json.dumps(VALUES, ensure_ascii=False, indent=indent).encode()
    found = list(entries(io.BytesIO(data)))
    expected = [("info", VALUES["info"]), *(("images", one) for one in VALUES["images"]), ("last", 12345)]
    assert [(entry.key, json.loads(data[entry.start : entry.end])) for entry in found] == expected
    assert [entry.value for entry in found[1:8]] == VALUES["images"][:7]


@pytest.mark.parametrize(
    "text", ["", "[1]", '{"a" 1}', '{"a": [1 2]}', '{"a": [1,', '{"a": tru}', '{"a": 1', "{1: 2}x"]
)
def test_what_is_no_json_is_an_error_with_the_byte(text: str) -> None:
    with pytest.raises(ValueError, match="byte"):
        list(entries(io.BytesIO(text.encode())))


def test_deep_nesting_is_an_error() -> None:
    with pytest.raises(ValueError, match="nested too deeply"):
        list(entries(io.BytesIO(b'{"a": ' + b"[" * 100_000)))


def test_the_classes_are_those_of_coco_in_its_order() -> None:
    assert tuple(CATEGORIES) == RAW
    assert ("background", *CATEGORIES.values()) == COCO_CLASSES
    assert len(COCO_CLASSES) == 81


def test_images_labels_and_annotations_of_each_image_are_found(tmp_path: Path) -> None:
    images = scenes(30, seed=3)
    path = write_json(tmp_path, "train", images)
    found = read_instances(path)
    assert is_instances(path)
    assert found.labels == {scene.number: scene.labels() for scene in images}
    content = instances("train", images)
    for scene in images:
        assert found.images[scene.number] == (scene.name("train"), scene.height, scene.width)
        own = [one for one in content["annotations"] if one["image_id"] == scene.number]
        assert found.annotations(scene.number) == own


def test_an_image_with_a_crowd_alone_has_no_label(tmp_path: Path) -> None:
    scene = scenes(1, seed=0)[0]
    crowd = scene.__class__(7, 40, 40, (scene.boxes[0]._replace(category=17, crowd=True),))
    assert read_instances(write_json(tmp_path, "val", [crowd])).labels == {7: ()}


def test_the_memory_does_not_grow_with_the_polygons(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(coco_annotations, "CHUNK", 2**16)
    images = scenes(120, seed=0)
    content = instances("train", images)
    for one in content["annotations"]:
        one["segmentation"] = [[float(at) + 0.25 for at in range(3000)]]
    path = tmp_path / "instances_train2014.json"
    path.write_text(json.dumps(content))
    tracemalloc.start()
    read_instances(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert path.stat().st_size > 7e6
    assert peak < 2e6


def damaged(change: Any) -> bytes:
    content = instances("train", scenes(6, seed=0))
    change(content)
    return json.dumps(content).encode()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["annotations"][2].pop("category_id"), "an entry has no 'category_id'"),
        (lambda c: c["annotations"][2].update(category_id=12), "COCO has no category 12"),
        (lambda c: c["annotations"][2].update(image_id="9"), "image '9'"),
        (lambda c: c["annotations"][2].update(image_id=10**6), r"annotations of 1 others \(1000000\)"),
        (lambda c: c["annotations"].append(3), "damaged"),
        (lambda c: c["images"][0].update(file_name="../../etc/passwd"), "has the file 'passwd'"),
        (lambda c: c["images"][0].update(height=0), "has the size"),
        (lambda c: c["images"][0].update(id=True), "the image True"),
        (lambda c: c["categories"].pop(), "79 categories .*not the 80 of COCO"),
        (lambda c: c["categories"][0].update(name="human"), "80 categories .human.*data=folder"),
        (lambda c: c.pop("images"), "lists? 0 images"),
    ],
)
def test_a_file_that_is_not_cocos_is_refused_with_the_reason(tmp_path: Path, change: Any, message: str) -> None:
    path = tmp_path / "instances_train2014.json"
    path.write_bytes(damaged(change))
    with pytest.raises(UserError, match=message):
        read_instances(path)


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "instances_train2014.json"
    path.write_bytes(damaged(lambda _: None)[:-700])
    with pytest.raises(UserError, match=r"instances_train2014\.json are damaged.*byte"):
        read_instances(path)
    with pytest.raises(UserError, match="Cannot read the annotations"):
        read_instances(tmp_path / "other.json")


def test_the_numbers_in_the_test_data_are_those_of_the_classes() -> None:
    assert list(CONTIGUOUS.values()) == list(range(1, 81))
