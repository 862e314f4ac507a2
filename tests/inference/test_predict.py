"""The command predict: masks of the image's size and the allowed classes; bad input stops nothing else."""

from __future__ import annotations

import shutil
import tarfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from PIL import Image

import secseg
from secseg.crf import build_stage_crf
from secseg.data.classes import voc_palette
from secseg.data.images import read_image
from secseg.inference.mask_folder import LEVELS, MaskFolder, read_probabilities
from secseg.inference.predict import Summary, prediction_warnings
from secseg.inference.predictor import Predictor, Protocol
from secseg.inference.sources import InputImage
from secseg.models.files.load import read_checkpoint
from secseg.utils.config import config_dir, to_plain
from secseg.utils.files import sha256
from tests.inference.conftest import Predict, draw, masks_in, voc_layout
from tests.tiny_network import write_run

CRF = {"backend": "exact", "channels": "rgb", "scale": 1, "bilateral_weight": 10, "bilateral_xy": 80}
CRF |= {"bilateral_rgb": 13, "gaussian_weight": 3, "gaussian_xy": 3, "iterations": 10}
CRF |= {"widths_at": None, "widths_from": None}


def mask(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.array(image)


def test_each_mask_is_that_of_the_predictor_as_a_palette_png_of_the_images_size(
    predict: Predict, photos: Path, tmp_path: Path, run_folder: Path
) -> None:
    outcome = predict("images=photos", "crf.test.backend=exact")
    assert outcome.code == 0, outcome.error
    network = secseg.load(run_folder)
    assert network.input_size == 65
    predictor = Predictor(network, Protocol(input_size=65), build_stage_crf(CRF))
    for name in ("a.jpg", "b.png", "sub/c.jpg"):
        path = (tmp_path / "run" / "masks" / name).with_suffix(".png")
        expected = predictor(read_image(photos / name)).masks["with_crf"]
        assert len(np.unique(expected)) > 1, "an empty mask would show nothing"
        np.testing.assert_array_equal(mask(path), expected)
        with Image.open(path) as image:
            assert image.mode == "P"
            assert image.getpalette() == voc_palette().reshape(-1).tolist()


def test_results_state_protocol_counts_and_time_and_the_last_line_the_run(
    predict: Predict, photos: Path, tmp_path: Path, run_folder: Path
) -> None:
    outcome = predict("images=photos", "crf.test.backend=exact", "inference=multi_scale", "out=m")
    results = outcome.results
    assert results is not None
    assert (results["images"], results["made"], results["kept"], results["failures"]) == (3, 3, 0, {})
    protocol = results["protocol"]
    assert protocol["checkpoint"] == sha256(run_folder / "checkpoints" / "last.ckpt")
    assert (protocol["inference"]["scales"], protocol["inference"]["mirror"]) == ([0.75, 1.0, 1.25], True)
    assert protocol["crf"] == CRF
    assert protocol["labels"] is None
    assert results["time"]["shares"].keys() == {"reading", "network", "CRF", "output"}
    assert sum(results["time"]["shares"].values()) == pytest.approx(1)
    assert min(results["time"]["shares"].values()) > 0
    assert outcome.output.splitlines()[-1] == f"run: {tmp_path / 'run'}"
    assert "network" in outcome.output
    assert "images/s" in outcome.output


def test_masks_never_get_the_fingerprint_of_a_checkpoint_that_replaced_theirs(
    predict: Predict, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = write_run(tmp_path / "old")
    old_digest = sha256(old / "checkpoints" / "last.ckpt")
    new = write_run(tmp_path / "new", seed=1) / "checkpoints" / "last.ckpt"

    def read_then_replace(path: Path) -> Any:
        content = read_checkpoint(path)
        shutil.copy(new, copy := path.with_suffix(".copy"))
        copy.replace(path)
        return content

    with monkeypatch.context() as patch:
        patch.setattr("secseg.models.files.load.read_checkpoint", read_then_replace)
        outcome = predict("images=photos", "out=m", ckpt=old)
    assert (outcome.code, outcome.results) == (1, None)
    assert "last.ckpt was replaced or written while it was read" in outcome.error
    assert predict("images=photos", "out=m", ckpt=old).results["protocol"]["checkpoint"] == sha256(new) != old_digest


def test_a_run_that_has_not_finished_is_reported_with_its_step(predict: Predict, photos: Path, tmp_path: Path) -> None:
    run = write_run(tmp_path / "trained", step=150, steps=300)
    said = f"The training in {run} has not finished: its network is of step 150 of 300."
    outcome = predict("images=photos", ckpt=run)
    assert outcome.output.count(said) == 1
    assert outcome.results is not None
    assert said in outcome.results["warnings"][0]
    best = predict("images=photos", "overwrite=true", ckpt=run / "checkpoints" / "last.ckpt")
    assert "has not finished" not in best.output, "one checkpoint was chosen"
    (run / "results.json").touch()
    assert "has not finished" not in predict("images=photos", "overwrite=true", ckpt=run).output


def test_images_of_every_kind_are_predicted_and_damaged_ones_stop_nothing(
    predict: Predict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "odd"
    photo = Image.open(draw(tmp_path / "photo.png", (40, 60)))
    folder.mkdir()
    photo.convert("L").save(folder / "grey.jpg")
    photo.convert("P").save(folder / "palette.png")
    photo.convert("RGBA").save(folder / "alpha.png")
    photo.putalpha(0)
    photo.save(folder / "clear.png")
    photo = photo.convert("RGB")
    photo.convert("CMYK").save(folder / "cmyk.jpg")
    Image.fromarray(np.asarray(photo.convert("L")).astype(np.uint16) * 257).save(folder / "sixteen.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees clockwise
    photo.save(folder / "turned.jpg", exif=exif)
    draw(folder / "dot.png", (1, 1))
    good = {path.stem: (60, 40) if path.stem == "turned" else (40, 60) for path in folder.iterdir()} | {"dot": (1, 1)}
    bad = {"cut": "truncated", "empty": "not an image", "text": "not an image", "secret": "lack the permission"}
    photo.save(folder / "cut.jpg")
    (folder / "cut.jpg").write_bytes((folder / "cut.jpg").read_bytes()[:-200])
    (folder / "empty.jpg").touch()
    (folder / "text.jpg").write_text("no picture")
    photo.save(folder / "secret.jpg")
    (folder / "folder.jpg").mkdir()  # no file, so no photograph
    real_open = Image.open

    def guarded(path: Path, **options: Any) -> Image.Image:
        if Path(path).stem == "secret":
            raise PermissionError(13, "Permission denied", str(path))
        return real_open(path, **options)

    monkeypatch.setattr("secseg.data.decoding.Image.open", guarded)
    outcome = predict("images=odd", "out=m")
    monkeypatch.undo()
    assert outcome.code == 1
    assert "4 of 12 images have no mask" in outcome.error
    assert "1 image has transparent pixels, such as odd/clear.png." in outcome.output + outcome.error
    assert "Traceback" not in outcome.error
    assert outcome.output.splitlines()[-1].startswith("run: ")
    results = outcome.results
    assert results is not None
    failures = {Path(path).stem: reason for path, reason in results["failures"].items()}
    assert set(failures) == set(bad)
    for name, reason in bad.items():
        assert reason in failures[name]
        assert f"{name}.jpg" in outcome.error
    assert {name: mask(tmp_path / "m" / f"{name}.png").shape for name in good} == good
    assert len(masks_in(tmp_path / "m")) == len(good)


def test_labels_restrict_the_classes_of_each_mask(predict: Predict, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("name,labels\na.jpg,cat\nb.png,dog person\nsub/c,\n")
    outcome = predict("images=photos", "out=m", "labels=labels.csv")
    assert outcome.code == 0, outcome.error
    assert set(np.unique(mask(tmp_path / "m" / "a.png"))) <= {0, 8}
    assert set(np.unique(mask(tmp_path / "m" / "b.png"))) <= {0, 12, 15}
    assert set(np.unique(mask(tmp_path / "m" / "sub" / "c.png"))) == {0}
    predict("images=photos", "out=free")
    assert any(set(np.unique(mask(tmp_path / "free" / f"{name}.png"))) - {0, 8, 12, 15} for name in "ab")
    (tmp_path / "labels.csv").write_text("a.jpg,dog\nb.png,dog\nsub/c,dog\n")
    outcome = predict("images=photos", "out=m", "labels=labels.csv")
    assert outcome.code == 1
    assert "  labels: " in outcome.error, "other labels are other settings"


def test_overlays_and_probabilities_are_written_next_to_the_masks(
    predict: Predict, photos: Path, tmp_path: Path, run_folder: Path
) -> None:
    outcome = predict("images=photos", "out=m", "overlays=true", "probabilities=true")
    assert outcome.code == 0, outcome.error
    with Image.open(tmp_path / "m" / "overlays" / "sub" / "c.jpg") as image:
        assert (image.format, image.size) == ("JPEG", (30, 22))
    probs, class_names = read_probabilities(tmp_path / "m" / "probabilities" / "sub" / "c.npz")
    assert len(class_names) == 21
    exact = Predictor(secseg.load(run_folder), Protocol(input_size=65))(
        read_image(photos / "sub" / "c.jpg")
    ).probs.numpy()
    assert probs.shape == exact.shape == (21, 22, 30)
    assert 0 < np.abs(probs - exact).max() <= 0.5 / LEVELS + 1e-6


def test_a_list_gives_an_archive_for_the_server(predict: Predict, tmp_path: Path) -> None:
    ids = ("2008_000002", "2008_000001")
    voc_layout(tmp_path / "VOC2012", ids)
    outcome = predict("images=test", f"root={tmp_path}", "server=true", "out=m")
    assert outcome.code == 0, outcome.error
    assert outcome.results is not None
    assert outcome.results["archive"] == str(tmp_path / "run" / "results.tar")
    with tarfile.open(outcome.results["archive"]) as tar:
        assert [Path(name).stem for name in tar.getnames()] == sorted(ids)
    (tmp_path / "VOC2012" / "JPEGImages" / "2008_000001.jpg").write_bytes(b"")
    outcome = predict("images=test", f"root={tmp_path}", "server=true", "out=other", "hydra.run.dir=second")
    assert outcome.code == 1
    assert not (tmp_path / "second" / "results.tar").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("images=photo", "Did you mean 'photos'?"),
        ("images=[a.jpg,b.jpg]", "give one file, folder, glob or list"),
        ("images=photos ckpt=photos", "contains no checkpoints/last.ckpt"),
        (
            "images=photos ckpt=absent.ckpt",
            "ckpt=absent.ckpt: there is no run folder, checkpoint or exported",
        ),
        ("images=photos workers=0", "workers=0: give a whole number of at least 1"),
        ("images=photos overlays=perhaps", "overlays=perhaps: give true or false"),
        ("images=photos server=true", "server=true needs images=<split or id list> and root="),
        ("images=photos inference.scales=[0]", "scales=[0]: give a list of numbers in [0.1, 10]"),
        ("images=photos inference.scales=[big]", "scales=['big']: give a list of numbers"),
        ("images=photos crf.test.backend=latice", "Did you mean 'lattice'?"),
        ("images=photos labels=absent.csv", "no file of labels at absent.csv"),
        ("images=photos overlay=true", "Did you mean 'overlays'"),
        ("images=photos inference=multiscale", "Did you mean 'multi_scale'?"),
        ("ckpt=x", "images has no value: give images=<value>."),
    ],
)
def test_wrong_settings_end_in_one_message_before_anything_is_written(
    predict: Predict, photos: Path, tmp_path: Path, words: str, said: str
) -> None:
    outcome = predict("out=m", "crf=paper", *words.split())
    assert outcome.code == 1
    assert said in outcome.error
    assert "Traceback" not in outcome.error
    assert outcome.results is None
    assert not masks_in(tmp_path / "m")


def test_the_server_takes_only_vocs_classes(predict: Predict, tmp_path: Path) -> None:
    voc_layout(tmp_path / "VOC2012", ("a",))
    other = write_run(tmp_path / "other", ("background", "cat"))
    outcome = predict("images=test", f"root={tmp_path}", "server=true", ckpt=other)
    assert outcome.code == 1
    assert "the VOC server takes VOC's classes" in outcome.error


def test_the_inference_options_set_the_keys_of_the_protocol() -> None:
    with initialize_config_dir(str(config_dir() / "inference"), version_base="1.3"):
        options = {path.stem: to_plain(compose(path.stem)) for path in (config_dir() / "inference").glob("*.yaml")}
    assert all(option.keys() == asdict(Protocol()).keys() for option in options.values())
    assert {**options["official"], "input_size": 321} == asdict(Protocol())


def test_masks_made_are_judged_by_their_labels_or_by_their_number() -> None:
    names = ("background", "cat", "dog")

    def judged(images: int, pixels: list[list[int]], labels: dict[str, tuple[int, ...]] | None) -> list[str]:
        items = [InputImage(str(number), Path(f"{number}.png")) for number in range(images)]
        summary = Summary(MaskFolder(Path("masks"), False, False), images, 0, np.array(pixels), made=items)
        return [line.partition(".")[0] for line in prediction_warnings(summary, names, labels)]

    empty, cats = [[100, 0, 0], [0, 0, 0]], [[50, 50, 0], [90, 10, 0]]
    assert judged(2, empty, None) == judged(0, empty, {}) == judged(2, empty, {"0": (), "1": ()}) == []
    alone = "All 10 masks show background alone, without a pixel of 2 classes: cat, dog"
    assert judged(10, empty, None) == [alone]
    removed = "cat: the CRF removes 80 % of its area (50"
    assert judged(10, cats, None) == [removed]
    assert judged(2, cats, {"0": (1,), "1": (2,)}) == ["1 of 2 classes is in none of 2 masks: dog", removed]
