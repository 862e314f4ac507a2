"""``make_cues maps=<folder>`` makes cues from maps and masks of other programs; ``export`` writes files for these."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from secseg.cli.make_cues import main
from secseg.cue_making.recipes.base import background_cue, foreground_cues, join_cues
from secseg.data.classes import VOC_CLASSES
from secseg.data.cues import Cues, CueStore, open_cues
from secseg.data.cues.map_files import NOT_SURE
from secseg.data.cues.store import resample
from secseg.data.labels import read_labels
from tests.command import Outcome, run_in_process
from tests.reference import map_files as others

SIZES = {"2007_000032": (50, 66), "2007_000039": (90, 60), "2007_000063": (45, 45), "2007_000068": (48, 133)}
KEYS = {"2007_000032": [14, 2], "2007_000039": [0], "2007_000063": [19, 0, 7], "2007_000068": []}
GRID = (41, 41)
Make = Callable[..., Outcome]


def maps_of(name: str) -> np.ndarray:
    rng = np.random.default_rng(SIZES[name][0])
    return rng.random((len(KEYS[name]), *SIZES[name])).astype(np.float32) ** 3


def masks() -> dict[str, np.ndarray]:
    """A mask for each image, with each of its classes, background and 255."""
    found = {}
    for name, size in SIZES.items():
        rng = np.random.default_rng(size[1])
        values = [0, 255, *(key + 1 for key in KEYS[name])]
        found[name] = resample(rng.choice(np.array(values, np.uint8), GRID), size)
    return found


WRITERS: dict[str, Callable[[Path, str], None]] = {
    "irn_cam": lambda path, name: others.write_irn(path, KEYS[name], maps_of(name)),
    "clip_es": lambda path, name: others.write_clip_es(path, KEYS[name], maps_of(name)),
    "psa_cam": lambda path, name: others.write_psa(path, KEYS[name], maps_of(name)),
    "psa_crf": lambda path, name: others.write_psa_crf(path, KEYS[name], maps_of(name), alpha=4),
}


def write_all(folder: Path, write: Callable[[Path, str], None]) -> Path:
    for name in SIZES:
        write(folder / f"{name}.npy", name)
    return folder


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    """Images of different sizes in the layout of VOC, without masks and labels."""
    root = tmp_path / "VOC2012"
    (root / "JPEGImages").mkdir(parents=True)
    for number, (name, (height, width)) in enumerate(SIZES.items()):
        noise = np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(noise).save(root / "JPEGImages" / f"{name}.jpg")
    (root / "train_aug.txt").write_text("\n".join(SIZES))
    return root


@pytest.fixture
def make(voc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Make:
    monkeypatch.chdir(tmp_path)

    def call(*words: str, out: str = "out") -> Outcome:
        run = tmp_path / f"run{len(list(tmp_path.glob('run*')))}"
        settings = ["data=voc12aug", f"data.root={voc}", f"out={tmp_path / out}", "device=cpu", "workers=2"]
        return run_in_process(main, [*settings, *words], run, monkeypatch, capsys)

    return call


def results(outcome: Outcome) -> dict[str, Any]:
    assert outcome.code == 0, outcome.output + outcome.error
    assert outcome.results is not None
    return outcome.results


def expected_on_grid(layout: str, name: str) -> dict[int, np.ndarray]:
    maps = maps_of(name).astype(np.float16).astype(np.float32) if layout == "clip_es" else maps_of(name)
    return {key + 1: resample(one, GRID) for key, one in zip(KEYS[name], maps, strict=True)}


@pytest.mark.parametrize("layout", ["irn_cam", "clip_es", "psa_cam"])
def test_maps_become_cues_by_a_recipe_and_the_file_states_what_they_were(
    layout: str, make: Make, tmp_path: Path
) -> None:
    folder = write_all(tmp_path / "cams", WRITERS[layout])
    outcome = make(f"maps={folder}", "cues=official", "cues.background=maps")
    found = results(outcome)
    store = CueStore.load(tmp_path / "out" / "cues.safetensors")
    for name in SIZES:
        maps = expected_on_grid(layout, name)
        assert store[name].labels == tuple(sorted(maps))
        stacked = np.zeros((20, *GRID), np.float32)
        for number, one in maps.items():
            stacked[number - 1] = one
        foreground = foreground_cues(stacked, store[name].labels)
        background = background_cue(stacked.max(0), zeros=True) if maps else np.ones(GRID, bool)
        np.testing.assert_array_equal(store[name].map, join_cues(foreground, background))
    assert f"maps: 4 files are {store.provenance['maps']['content']}, {folder}" in outcome.output
    stated = store.provenance["maps"]
    assert (stated["layout"], stated["folders"], stated["files"]) == (layout, ["cams"], 4)
    assert store.provenance["labels"] == "the classes of the maps"
    assert found["protocol"]["maps"] == stated
    assert found["ran"] == ["cues", "audit"]
    assert results(make(f"maps={folder}", "cues=official", "cues.background=maps"))["ran"] == ["audit"], "reused"
    others.write_psa(folder / "x.npy", [0], maps_of("2007_000039"))  # of no image of the split
    assert results(make(f"maps={folder}", "cues=official", "cues.background=maps"))["ran"] == ["audit"]
    assert results(make(f"maps={folder}", "cues=threshold"))["ran"] == ["cues", "audit"]


def test_the_crf_refines_maps_of_other_programs(make: Make, tmp_path: Path) -> None:
    folder = write_all(tmp_path / "cams", WRITERS["clip_es"])
    found = results(make(f"maps={folder}"))
    assert found["protocol"]["crf"]["backend"] == "lattice"
    store = CueStore.load(tmp_path / "out" / "cues.safetensors")
    assert {*np.unique(store["2007_000032"].map)} == {0, 3, 15, 255}
    assert not store["2007_000068"].map.any(), "an image without classes is background"


def test_crf_files_of_psa_give_its_confident_pixels(make: Make, tmp_path: Path) -> None:
    def write(alpha: float) -> Path:
        folder = tmp_path / f"alpha{alpha:g}"
        return write_all(folder, lambda path, name: others.write_psa_crf(path, KEYS[name], maps_of(name), alpha))

    low, high = write(2), write(8)
    words = ("cues=threshold", "cues.threshold=0", "cues.background=0.5")
    found = results(make(f"maps=[{low},{high}]", *words))
    assert found["protocol"]["maps"]["folders"] == ["alpha2", "alpha8"]
    store = CueStore.load(tmp_path / "out" / "cues.safetensors")
    for name in ("2007_000039", "2007_000068"):  # at most one class, so that the highest is that above a half
        pair = [others.read(folder / f"{name}.npy") for folder in (low, high)]
        np.testing.assert_array_equal(store[name].map, resample(others.psa_labels(*pair), GRID))
    assert {*np.unique(store["2007_000039"].map)} == {0, 1, 255}
    swapped = make(f"maps=[{high},{low}]", *words, out="other")
    assert "Give the folder of the low alpha first" in swapped.error
    results(make(f"maps={low}", "cues=official", out="saliency"))
    other = make(f"maps=[{low},{write_all(tmp_path / 'cams', WRITERS['psa_cam'])}]", *words, out="other")
    assert "holds CAMs of PSA (class: map), and other files in its folder hold CRF files of PSA" in other.error
    one = make(f"maps=[{tmp_path / 'cams'},{low}]", *words, out="other")
    assert "maps names two folders, which is for CRF files of PSA, but" in one.error


def test_masks_of_each_size_become_cues(make: Make, tmp_path: Path) -> None:
    for name, mask in masks().items():
        others.write_png(tmp_path / "ir_label" / f"{name}.png", mask)
    found = results(make(f"maps={tmp_path / 'ir_label'}", "cues=threshold"))
    assert found["protocol"]["maps"]["layout"] == "png"
    store = CueStore.load(tmp_path / "out" / "cues.safetensors")
    opened = open_cues(tmp_path / "ir_label")
    assert opened.provenance["resized_to"] == GRID
    for name, mask in masks().items():
        np.testing.assert_array_equal(store[name].map, resample(mask, GRID))
        np.testing.assert_array_equal(opened[name].map, resample(mask, GRID))
        assert store[name].labels == opened[name].labels == tuple(sorted(key + 1 for key in KEYS[name]))
    wrong = tmp_path / "ir_label" / "2007_000039.png"
    others.write_png(wrong, masks()["2007_000039"].T.copy())
    outcome = make(f"maps={tmp_path / 'ir_label'}", "cues=threshold", out="other")
    assert f"{wrong} is 90 x 60 pixels, and its image 60 x 90" in outcome.error


def test_labels_of_the_data_have_priority_over_the_classes_of_the_maps(make: Make, tmp_path: Path) -> None:
    folder = write_all(tmp_path / "cams", WRITERS["psa_cam"])
    table = tmp_path / "labels.csv"
    labels = {"2007_000032": "person;cat", "2007_000039": "dog", "2007_000063": "aeroplane;cat;tvmonitor"}
    table.write_text("image,labels\n" + "".join(f"{name},{labels.get(name, '')}\n" for name in SIZES))
    found = results(make(f"maps={folder}", "cues=threshold", f"data.labels={table}"))
    (warning,) = (text for text in found["warnings"] if "The maps differ from labels.csv" in text)
    assert "2 labels have no map, and get no cue; 2 maps are of classes that are no label" in warning
    store = CueStore.load(tmp_path / "out" / "cues.safetensors")
    assert {name: store[name].labels for name in store} == read_labels(table, list(SIZES), VOC_CLASSES)
    assert {*np.unique(store["2007_000032"].map)} <= {0, 15, 255}
    assert not store["2007_000039"].map.any()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["maps=nowhere"], "maps=nowhere: there is no folder of maps at this path"),
        (["maps=[a,b,c]"], "give one folder, or two with CRF files of PSA"),
        (["maps=cams", "stage=audit"], "maps is for stage=all"),
        (["maps=cams", "cues=official"], "This cue recipe needs saliency, and CAMs of PSA (class: map) have none"),
        (
            ["maps=cams", "cues=random_walk", "cues.affinity=features"],
            "needs the features of the classifier's trunk, and maps= has no classifier",
        ),
        (["maps=empty"], "have no file of maps or .png:"),
        (["maps=some"], "have no file of maps:"),
    ],
)
def test_settings_that_do_not_fit_end_in_one_message(make: Make, words: list[str], said: str, tmp_path: Path) -> None:
    write_all(tmp_path / "cams", WRITERS["psa_cam"])
    write_all(tmp_path / "some", WRITERS["psa_cam"])
    (tmp_path / "some" / "2007_000039.npy").unlink()
    (tmp_path / "empty").mkdir()
    outcome = make(*words)
    assert outcome.code == 1
    assert said in outcome.error
    assert "Traceback" not in outcome.error
    assert not (tmp_path / "out" / "cues.safetensors").exists()


def random_cues() -> CueStore:
    rng = np.random.default_rng(0)
    cues = {}
    for name, keys in KEYS.items():
        labels = tuple(sorted(key + 1 for key in keys))
        values = np.array([0, *labels, *([255] if labels else [])], np.uint8)
        cues[name] = Cues(labels, rng.choice(values, GRID))
    return CueStore.from_dict(cues, {})


@pytest.mark.parametrize("form", ["irn_cam", "psa_cam", "ir_label"])
def test_exported_cues_are_imported_unchanged(form: str, make: Make, tmp_path: Path) -> None:
    store = random_cues()
    store.save(tmp_path / "given.safetensors")
    found = results(make("stage=export", f"export={form}", "cue_file=given.safetensors"))["figures"]["export"]
    assert found["source"] == "cues"
    assert found["warnings"] == []
    results(make(f"maps={found['folder']}", "cues=threshold"))
    back = CueStore.load(tmp_path / "out" / "cues.safetensors")
    for name in store:
        assert back[name].labels == store[name].labels
        np.testing.assert_array_equal(back[name].map, store[name].map)
        if form == "ir_label":
            with Image.open(Path(found["folder"]) / f"{name}.png") as image:
                assert (image.mode, image.size) == ("L", SIZES[name][::-1])
        if form == "irn_cam" and KEYS[name]:
            labels = others.irn_labels(others.read(Path(found["folder"]) / f"{name}.npy"))
            np.testing.assert_array_equal(labels, resample(store[name].map, SIZES[name]))


def test_what_an_export_cannot_hold_is_counted(make: Make, tmp_path: Path, voc: Path) -> None:
    Image.new("RGB", (20, 20)).save(voc / "JPEGImages" / "2007_000032.jpg")
    store = random_cues()
    cues = {name: store[name] for name in store}
    cues["2007_000039"] = Cues((1, 5), cues["2007_000039"].map)
    cues["2007_000068"] = Cues((), np.full(GRID, 255, np.uint8))
    CueStore.from_dict(cues, {}).save(tmp_path / "given.safetensors")
    small = cues["2007_000032"].map
    cells = int((resample(resample(small, (20, 20)), GRID) != small).sum())
    for form, unlabelled, said in (("ir_label", 0, " and 1 labels without a cue"), ("psa_cam", 41 * 41, ".")):
        found = results(make("stage=export", f"export={form}", "cue_file=given.safetensors"))["figures"]["export"]
        (warning,) = found["warnings"]
        images = 1 + (unlabelled > 0)
        assert f"lost are {cells + unlabelled} grid cells of {images} images" in warning
        assert said in warning


def test_maps_that_make_cues_has_computed_are_exported_themselves(make: Make, tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    lines = [f"{name},{';'.join(str(key + 1) for key in KEYS[name])}\n" for name in SIZES]
    table.write_text("image,labels\n" + "".join(lines))
    words = [f"data.labels={table}", "localization=timm", "data.workers=0", "data.feature_cache=off", "cues=official"]
    words += ["cues.background=maps", "cues.grid=9"]
    for part in ("foreground", "background"):
        network = ("trunk.model=test_efficientnet", "trunk.weights=null", "input_size=65", "head.width=8")
        words += [f"localization.{part}.network.{word}" for word in network]
        words += [f"localization.{part}.{word}" for word in ("steps=2", "batch_size=2", "holdout=0")]
    outcome = make(*words, "export=irn_cam")
    found = results(outcome)["figures"]["export"]
    assert found["source"] == "maps"
    prints = results(outcome)["protocol"]["fingerprints"]
    assert f"export: the maps in {tmp_path / 'out' / 'maps' / prints['maps']}" in outcome.output
    content = others.read(Path(found["folder"]) / "2007_000063.npy")
    assert content["keys"].tolist() == [0, 7, 19]
    assert content["high_res"].shape == (3, 45, 45)
    assert content["cam"].shape == (3, 12, 12)
    highest = content["high_res"].max((1, 2))
    assert ((highest == 0) | ((highest > 0.8) & (highest <= 1))).all()
    assert not np.isin(content["high_res"], np.float32([NOT_SURE])).all()
    again = make(*words, "stage=export", "export=psa_cam")
    assert results(again)["figures"]["export"]["source"] == "maps", "the cue file names its maps"
    maps = others.read(Path(results(again)["figures"]["export"]["folder"]) / "2007_000063.npy")
    np.testing.assert_array_equal(np.stack(list(maps.values())), content["high_res"])
    (maps_file, *_) = (tmp_path / "out" / "maps" / prints["maps"]).glob("*")
    maps_file.unlink()
    assert results(make(*words, "stage=export", "export=psa_cam"))["figures"]["export"]["source"] == "cues"
