"""The drawn data set."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from secseg.data.classes import VOID
from secseg.data.cues import CueStore
from secseg.data.cues.store import resample
from secseg.data.shapes import SHAPES_CLASSES, dataset, draw_shapes
from secseg.data.shapes.dataset import simulate_cues
from secseg.data.shapes.scene import Scene, draw_scene
from secseg.data.voc import open_split
from secseg.utils.errors import UserError


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shapes") / "drawn"
    draw_shapes(folder, train=4, val=2, seed=3)
    return folder


@pytest.fixture(scope="module")
def scenes():
    return [draw_scene(np.random.default_rng([0, number])) for number in range(40)]


def digests(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_same_seed_draws_the_same_bytes_and_another_seed_others(root: Path, tmp_path: Path) -> None:
    draw_shapes(tmp_path / "again", train=4, val=2, seed=3)
    draw_shapes(tmp_path / "other", train=4, val=2, seed=4)
    assert digests(tmp_path / "again") == digests(root)
    assert digests(tmp_path / "other")["JPEGImages/train_00000.jpg"] != digests(root)["JPEGImages/train_00000.jpg"]


def test_the_data_has_the_layout_of_voc(root: Path) -> None:
    for split, count in (("train", 4), ("val", 2)):
        images = open_split(root, split, require_masks=True, class_names=SHAPES_CLASSES)
        assert len(images.names) == count
        for photo, mask in zip(images.images, images.masks, strict=True):
            with Image.open(photo) as picture, Image.open(mask) as truth:
                assert truth.mode == "P"
                assert truth.size == picture.size
                assert set(np.unique(truth)) <= {*range(len(SHAPES_CLASSES)), VOID}


def test_an_interrupted_drawing_is_continued_and_a_whole_one_is_kept(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, drawn = tmp_path / "half", []

    def counted(rng: np.random.Generator) -> Scene:
        if len(drawn) == 3:
            raise KeyboardInterrupt
        drawn.append(rng)
        return draw_scene(rng)

    monkeypatch.setattr("os.cpu_count", lambda: 1)
    monkeypatch.setattr(dataset, "draw_scene", counted)
    with pytest.raises(KeyboardInterrupt):
        draw_shapes(folder, train=4, val=2, seed=3)
    assert not (folder / "shapes.json").exists()
    with pytest.raises(UserError, match="other settings"):
        draw_shapes(folder, train=4, val=2, seed=5)
    drawn[:] = [None] * 4  # never 3 again: count on
    draw_shapes(folder, train=4, val=2, seed=3)
    assert len(drawn) == 4 + 3
    assert digests(folder) == digests(root)
    draw_shapes(folder, train=4, val=2, seed=3)
    assert len(drawn) == 4 + 3


def test_a_folder_with_other_files_or_other_settings_is_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"other settings.*data\.root"):
        draw_shapes(root, train=5, val=2, seed=3)
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(UserError, match=r"thesis\.tex"):
        draw_shapes(tmp_path, train=4, val=2)
    with pytest.raises(UserError, match="is a file"):
        draw_shapes(tmp_path / "thesis.tex", train=4, val=2)
    with pytest.raises(UserError, match="at least 1"):
        draw_shapes(tmp_path / "none", train=0)
    with pytest.raises(UserError, match="draw_seed"):
        draw_shapes(tmp_path / "none", seed=-1)


def test_images_of_voc_are_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "ImageSets" / "Segmentation").mkdir(parents=True)
    (tmp_path / "JPEGImages").mkdir()
    listed = tmp_path / "ImageSets" / "Segmentation" / "val.txt"
    listed.write_text("2007_000033\n")
    with pytest.raises(UserError, match="JPEGImages"):
        draw_shapes(tmp_path, train=1, val=1)
    assert listed.read_text() == "2007_000033\n"


def test_an_image_does_not_depend_on_the_number_of_images(root: Path, tmp_path: Path) -> None:
    draw_shapes(tmp_path / "fewer", train=2, val=1, seed=3)
    fewer, more = digests(tmp_path / "fewer"), digests(root)
    images = [name for name in fewer if name.endswith((".jpg", ".png"))]
    assert len(images) == 6
    assert all(fewer[name] == more[name] for name in images)


def test_masks_have_void_at_each_border_and_the_classes_inside(scenes) -> None:
    for scene in scenes:
        mask = scene.mask()
        border = scene.object_map[:, 1:] != scene.object_map[:, :-1]
        assert (mask[:, 1:][border] == VOID).all()
        assert (mask[:, :-1][border] == VOID).all()
        truth = np.array([0, *scene.classes])[scene.object_map]
        assert (mask[mask != VOID] == truth[mask != VOID]).all()
        assert set(np.unique(mask)) - {0, VOID} == set(scene.classes)
        assert np.mean(mask == VOID) < 0.12


def test_images_hold_one_to_three_objects_that_often_overlap(scenes) -> None:
    counts = [len(scene.classes) for scene in scenes]
    assert set(counts) == {1, 2, 3}
    hidden = [
        np.count_nonzero(scene.object_map == number) < area
        for scene in scenes
        for number, area in enumerate(scene.full_areas, 1)
    ]
    assert 0.1 < np.mean(hidden) < 0.7
    shares = [np.mean(scene.object_map == n) for scene in scenes for n in range(1, len(scene.classes) + 1)]
    assert 0.03 < min(shares) < 0.1 < 0.3 < max(shares) < 0.5


def test_cues_cover_about_what_the_official_file_covers_and_every_class_has_one(scenes) -> None:
    cues = [simulate_cues(scene, np.random.default_rng(number)) for number, scene in enumerate(scenes)]
    maps = np.stack([entry.map for entry in cues])
    assert np.mean(maps == 0) == pytest.approx(0.098, abs=0.02)
    assert np.mean((maps > 0) & (maps != VOID)) == pytest.approx(0.142, abs=0.04)
    for scene, entry in zip(scenes, cues, strict=True):
        assert entry.labels == tuple(sorted(set(scene.classes)))
        assert set(entry.labels) == set(np.unique(entry.map)) - {0, VOID}


def test_cues_are_mostly_right_but_not_always_and_cover_a_part_of_each_object(scenes) -> None:
    right = {"foreground": [0, 0], "background": [0, 0]}
    found = objects = 0
    for number, scene in enumerate(scenes):
        cues = simulate_cues(scene, np.random.default_rng(number)).map
        truth = resample(scene.mask(), cues.shape)
        known = (cues != VOID) & (truth != VOID)
        for kind, chosen in (("background", cues == 0), ("foreground", cues != 0)):
            right[kind][0] += np.count_nonzero(known & chosen & (cues == truth))
            right[kind][1] += np.count_nonzero(known & chosen)
        objects += np.count_nonzero((truth > 0) & (truth != VOID))
        found += np.count_nonzero(known & (cues == truth) & (cues > 0))
    assert 0.9 < right["background"][0] / right["background"][1] < 0.995
    assert 0.7 < right["foreground"][0] / right["foreground"][1] < 0.95
    assert 0.25 < found / objects < 0.5


def test_the_provenance_of_the_cues_says_that_they_are_simulated(root: Path) -> None:
    assert "simulated" in CueStore.load(root / "cues.safetensors").provenance["source"]
