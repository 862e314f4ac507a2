"""COCO 2014 from small archives in the real layouts, however often the work is killed."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import signal
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from secseg.cli.prepare_coco import main
from secseg.data import prepare_coco
from secseg.data.classes import voc_palette
from secseg.data.coco_module import CocoDataModule
from secseg.data.prepare_coco import CocoSources, PartSource, official_sources, prepare
from secseg.data.prepare_voc import Archive
from secseg.utils.errors import UserError
from tests.data.coco_data import LAYOUTS, Scene, image_of, instances, scenes, write_images, write_json
from tests.data.test_coco_module import check

if not os.environ.get("CI"):
    pytest.importorskip("pycocotools")

ANNOTATIONS = "annotations_trainval2014.zip"
Parts = dict[str, list[Scene]]


def write_archives(folder: Path, parts: Parts) -> None:
    """Write the three files that COCO's page has, with the other files that they have in addition."""
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / ANNOTATIONS, "w", zipfile.ZIP_DEFLATED) as archive:
        for part, images in parts.items():
            archive.writestr(f"annotations/captions_{part}2014.json", "{}")
            archive.writestr(f"annotations/instances_{part}2014.json", json.dumps(instances(part, images)))
    for part, images in parts.items():
        with zipfile.ZipFile(folder / f"{part}2014.zip", "w") as archive:
            archive.writestr(f"{part}2014/", "")
            for scene in images:
                with archive.open(f"{part}2014/{scene.name(part)}.jpg", "w") as file:
                    image_of(scene).save(file, "JPEG", quality=95)


def sources(folder: Path, parts: Parts) -> CocoSources:
    def archive(name: str) -> Archive:
        content = (folder / name).read_bytes() if (folder / name).is_file() else b""
        return Archive(
            name, f"http://coco.invalid/{name}", name, hashlib.md5(content, usedforsecurity=False).hexdigest()
        )

    return CocoSources(
        archive(ANNOTATIONS),
        {
            part: PartSource(archive(f"{part}2014.zip"), len(images), sum(bool(scene.labels()) for scene in images))
            for part, images in parts.items()
        },
    )


def draw_parts(train: int = 20, val: int = 10) -> Parts:
    return {"train": scenes(train, 0, first=9), "val": scenes(val, 1, first=42_000)}


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("rule", ["last", "smallest"])
def test_archives_become_a_whole_data_set(tmp_path: Path, rule: str) -> None:
    parts = draw_parts()
    write_archives(tmp_path / "web", parts)
    root = tmp_path / "coco"
    prepare(root, tmp_path / "web", rule, sources(tmp_path / "web", parts))
    for part, images in parts.items():
        for scene in images:
            with Image.open(root / f"masks_{rule}/{part}2014/{scene.name(part)}.png") as mask:
                assert mask.mode == "P"
                np.testing.assert_array_equal(np.array(mask), scene.mask(rule))
                np.testing.assert_array_equal(np.array(mask.convert("RGB")), voc_palette()[scene.mask(rule)])
        names = (root / f"ImageSets/{part}2014.txt").read_text().split()
        assert names == [scene.name(part) for scene in images]
        names = (root / f"ImageSets/{part}2014_labelled.txt").read_text().split()
        assert names == [scene.name(part) for scene in images if scene.labels()]
    assert not (root / "annotations/captions_train2014.json").exists()
    for path in (root / "annotations").iterdir():  # the labels that were written are enough
        path.unlink()
    data = CocoDataModule(str(root), workers=0)
    check(data, parts, rule)
    assert data.label_source() == "labels_train2014.csv"
    assert data.mask_protocol()["mask_folder"] == root / f"masks_{rule}"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_images_and_annotations_that_are_there_need_no_archives(tmp_path: Path, layout: str) -> None:
    parts = draw_parts()
    for part, images in parts.items():
        write_images(tmp_path, part, images, layout)
        write_json(tmp_path, part, images)
    prepare(tmp_path, sources=sources(tmp_path, parts))
    check(CocoDataModule(str(tmp_path), workers=0), parts)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_missing_images_are_added_in_the_layout_of_the_others(tmp_path: Path, layout: str) -> None:
    parts = draw_parts()
    write_archives(tmp_path / "web", parts)
    root = tmp_path / "coco"
    write_images(root, "train", parts["train"][:7], layout)
    before = contents(root)
    prepare(root, tmp_path / "web", sources=sources(tmp_path / "web", parts))
    after = contents(root)
    assert {name: after[name] for name in before} == before
    for part, images in parts.items():
        for scene in images:
            assert f"{LAYOUTS[layout][part == 'val']}/{scene.name(part)}.jpg" in after
    check(CocoDataModule(str(root), workers=0), parts)


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")
def test_work_that_is_killed_at_any_time_is_finished_by_a_second_run_with_the_same_files(tmp_path: Path) -> None:
    parts = draw_parts(40, 20)
    web, root, stages = tmp_path / "web", tmp_path / "killed", []
    write_archives(web, parts)
    known = sources(web, parts)
    prepare(tmp_path / "whole", web, sources=known)
    whole = contents(tmp_path / "whole")
    for files in (15, 55, 85, 110):  # among the images of train, of val, the masks of train, of val
        process = multiprocessing.get_context("fork").Process(target=prepare, args=(root, web, "last", known))
        process.start()
        while process.is_alive() and sum(1 for _ in root.rglob("*")) < files:
            time.sleep(0.002)
        process.kill()
        process.join()
        stages.append(process.exitcode)
        for name, data in contents(root).items():
            if not name.rpartition("/")[2].startswith("."):
                assert data == whole[name], "what has its name is whole"
    assert stages == [-signal.SIGKILL] * 4
    prepare(root, web, sources=known)
    finished = contents(root)
    assert finished.keys() == whole.keys()
    for name in whole.keys() - {".working"}:  # this holds the number of the last process
        assert finished[name] == whole[name]


def test_what_is_whole_is_kept_and_what_is_not_is_made_again(tmp_path: Path) -> None:
    parts = draw_parts()
    write_archives(tmp_path / "web", parts)
    root, known = tmp_path / "coco", sources(tmp_path / "web", parts)
    prepare(root, tmp_path / "web", sources=known)
    masks = sorted((root / "masks_last/train2014").iterdir())
    masks[0].write_bytes(b"")
    Image.new("L", (3, 3)).save(masks[1])
    before = {path: path.stat().st_mtime_ns for path in masks}
    prepare(root, tmp_path / "web", sources=known)
    changed = [path for path in masks if path.stat().st_mtime_ns != before[path]]
    assert changed == masks[:2]
    for path, scene in zip(masks, parts["train"], strict=True):
        np.testing.assert_array_equal(np.array(Image.open(path)), scene.mask())


def test_other_counts_than_the_official_ones_are_refused(tmp_path: Path) -> None:
    parts = draw_parts()
    for part, images in parts.items():
        write_json(tmp_path, part, images[1:])
    with pytest.raises(UserError, match=r"instances_train2014\.json has 19 images, 17 .* train2014 has 20 and 18"):
        prepare(tmp_path, sources=sources(tmp_path, parts))


def test_images_that_the_archive_does_not_have_are_listed(tmp_path: Path) -> None:
    parts = draw_parts()
    write_archives(tmp_path / "web", {part: images[1:] for part, images in parts.items()})
    for part, images in parts.items():
        write_json(tmp_path / "coco", part, images)
    with pytest.raises(UserError, match=r"train2014\.zip does not have 1 image .*\n  COCO_train2014_000000000009"):
        prepare(tmp_path / "coco", tmp_path / "web", sources=sources(tmp_path / "web", parts))


def test_a_damaged_archive_and_a_missing_annotation_file_are_named(tmp_path: Path) -> None:
    parts = draw_parts()
    web = tmp_path / "web"
    write_archives(web, parts)
    path = web / "train2014.zip"
    data = bytearray(path.read_bytes())
    data[3000] ^= 255
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"train2014\.zip is damaged .*CRC"):
        prepare(tmp_path / "coco", web, sources=sources(web, parts))
    with zipfile.ZipFile(web / ANNOTATIONS, "w") as archive:
        archive.writestr("annotations/captions_val2014.json", "{}")
    with pytest.raises(UserError, match=r"no instances_train2014\.json and no instances_val2014\.json"):
        prepare(tmp_path / "other", web, sources=sources(web, parts))


def test_nothing_is_written_outside_the_root(tmp_path: Path) -> None:
    parts = draw_parts()
    web = tmp_path / "web"
    write_archives(web, parts)
    name = parts["train"][0].name("train")
    with zipfile.ZipFile(web / "train2014.zip", "w") as archive:
        archive.writestr(f"../../evil/{name}.jpg", b"evil")
        archive.writestr("/tmp/evil.jpg", b"evil")
    with pytest.raises(UserError, match="does not have 19 images"):
        prepare(tmp_path / "coco", web, sources=sources(web, parts))
    assert [path.parent for path in tmp_path.rglob(f"{name}.jpg")] == [tmp_path / "coco" / "train2014"]


def test_without_pycocotools_the_message_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secseg.utils.errors.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'secseg\[coco\]'"):
        prepare(tmp_path)


def test_the_command_writes_its_results_and_prints_the_next_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = draw_parts()
    write_archives(tmp_path / "web", parts)
    known = sources(tmp_path / "web", parts)
    monkeypatch.setattr(prepare_coco, "official_sources", lambda: known)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["prepare_coco.py", f"root={tmp_path / 'coco'}", f"archives={tmp_path / 'web'}"])
    main()
    lines = capsys.readouterr().out.splitlines()
    results = json.loads((tmp_path / lines[-1].removeprefix("run: ") / "results.json").read_text())
    assert results["images"] == {"train": 20, "val": 10}
    assert results["images_with_labels"] == {"train": 18, "val": 9}
    assert f"make_cues.py data=coco14 data.root={tmp_path / 'coco'}" in lines[-2]


def test_the_official_sources_have_the_counts_of_coco() -> None:
    official = official_sources()
    counts = {part: (source.count, source.labelled) for part, source in official.parts.items()}
    assert counts == {"train": (82_783, 82_081), "val": (40_504, 40_137)}
    archives = [official.annotations, *(source.images for source in official.parts.values())]
    assert [archive.url.rpartition("/")[2] for archive in archives] == [archive.filename for archive in archives]
    assert all(archive.url.startswith("http://images.cocodataset.org/") for archive in archives)
