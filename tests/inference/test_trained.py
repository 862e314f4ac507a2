"""``secseg.load(...).predict`` gives the masks and probabilities of the command, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import secseg
from secseg.data.images import read_image
from secseg.inference.mask_folder import LEVELS, read_probabilities
from secseg.inference.trained import TrainedNet
from secseg.models.files.load import load_network
from secseg.utils.errors import UserError
from secseg.utils.resizing import resize_aligned
from tests.inference.conftest import Predict, draw

LABELS = {"a": ["cat", 15], "b": (), "c": "dog", "grey": [20], "turned": {"cow", "bird"}}
OPTIONS: list[tuple[list[str], dict[str, Any]]] = [
    (["crf=off"], {"crf": False}),
    (["crf=paper"], {}),
    (["crf.test.bilateral_xy=9", "crf.test.channels=bgr"], {"crf": {"bilateral_xy": 9, "channels": "bgr"}}),
    (["crf=paper", "labels=labels.csv"], {"labels": list(LABELS.values())}),
    (["crf=off", "labels=labels.csv"], {"crf": False, "labels": list(LABELS.values())}),
    (["crf=paper", "inference.most_pixels=700"], {"inference": {"most_pixels": 700}}),
    (
        ["crf=off", "inference=multi_scale", "inference.keep_ratio=true"],
        {"crf": False, "inference": {"scales": [0.75, 1.0, 1.25], "mirror": True, "keep_ratio": True}},
    ),
    (["crf=paper", "inference.drop_labels_below=0.2"], {"inference": {"drop_labels_below": 0.2}}),
    (["crf=objects", "crf.test.widths_from=1"], {"crf": {"widths_from": 1}}),
    (
        ["crf=objects", "crf.test.widths_from=1", "crf.test.widths_at=25", "inference=multi_scale"],
        {"crf": {"widths_from": 1, "widths_at": 25}, "inference": {"scales": [0.75, 1.0, 1.25], "mirror": True}},
    ),
]


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    """Images of several sizes and modes, one of them rotated by its orientation tag, sorted by name."""
    folder = tmp_path / "photos"
    for seed, (name, size) in enumerate({"a": (20, 30), "b": (33, 21), "c": (40, 40)}.items()):
        draw(folder / f"{name}.png", size, seed=seed)
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(draw(tmp_path / "upright.png", (26, 40), seed=9)) as photo:
        photo.convert("L").save(folder / "grey.png")
        photo.save(folder / "turned.jpg", exif=exif)
    words = {name: [given] if isinstance(given, str) else given for name, given in LABELS.items()}
    lines = (f"{name},{';'.join(map(str, given))}\n" for name, given in words.items())
    (tmp_path / "labels.csv").write_text("".join(["name,labels\n", *lines]))
    return sorted(folder.iterdir())


@pytest.fixture
def network(run_folder: Path) -> TrainedNet:
    return secseg.load(run_folder)


@pytest.mark.parametrize(
    ("words", "options"), OPTIONS, ids=lambda given: " ".join(given) if type(given) is list else ""
)
def test_masks_and_probabilities_are_those_of_the_command(
    words: list[str], options: dict[str, Any], predict: Predict, paths: list[Path], network: TrainedNet
) -> None:
    outcome = predict("images=photos", "out=m", "probabilities=true", *words)
    assert outcome.code == 0, outcome.error
    found = network.predict(paths, probabilities=True, **options)
    assert len(found) == len(paths)
    for path, (mask, probs) in zip(paths, found, strict=True):
        with Image.open(Path("m", f"{path.stem}.png")) as file:
            theirs = np.asarray(file)
        assert mask.dtype == np.uint8
        assert np.array_equal(mask, theirs), path
        assert mask.shape == read_image(path).shape[:2]
        stored, class_names = read_probabilities(Path("m/probabilities", f"{path.stem}.npz"))
        assert class_names == network.class_names
        assert (probs.dtype, probs.shape) == (np.float32, (21, *mask.shape))
        if stored.shape == probs.shape:
            assert np.array_equal(np.round(probs * LEVELS), np.round(stored * LEVELS))
        else:  # reduced in the file
            enlarged = resize_aligned(torch.from_numpy(stored)[None], mask.shape)[0]
            assert np.abs(enlarged.numpy() - probs).max() <= 0.5 / LEVELS + 1e-6


def test_the_options_change_the_masks(network: TrainedNet, paths: list[Path]) -> None:
    """So that the comparison with the command cannot hold for options that are not used."""
    masks = [network.predict(paths, **options) for _, options in OPTIONS]
    assert len({b"".join(mask.tobytes() for mask in several) for several in masks}) == len(OPTIONS)
    allowed = ({0, 8, 15}, {0}, {0, 12}, {0, 20}, {0, 3, 10})
    for several, (_, options) in zip(masks, OPTIONS, strict=True):
        within = [set(np.unique(mask)) <= numbers for mask, numbers in zip(several, allowed, strict=True)]
        assert all(within) == ("labels" in options)


def test_paths_pillow_images_and_arrays_give_the_same_mask_alone_and_in_a_list(
    network: TrainedNet, paths: list[Path]
) -> None:
    for path in paths:
        mask = network.predict(path)
        with Image.open(path) as image, Image.open(path) as decoded:
            decoded.load()
            several = network.predict([str(path), image, decoded, read_image(path)])
        assert mask.shape == read_image(path).shape[:2]
        assert all(np.array_equal(mask, other) for other in several), path
    assert network.predict([]) == []


def test_the_mask_is_of_evaluation_mode_without_gradients_and_the_mode_stays(
    network: TrainedNet, paths: list[Path]
) -> None:
    expected = network.predict(paths[0])
    network.train()
    assert np.array_equal(network.predict(paths[0]), expected)
    assert network.training
    assert all(parameter.grad is None for parameter in network.parameters())
    with torch.no_grad():
        for parameter in network.head.parameters():
            parameter.zero_()
        network.head.classifier.bias[3] = 9  # type: ignore[index]
    assert set(np.unique(network.predict(paths[0]))) == {3}, "changed weights are used"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_network_on_a_gpu_predicts_the_masks_of_the_cpu(network: TrainedNet, paths: list[Path]) -> None:
    expected = network.predict(paths)
    for mask, other in zip(network.cuda().predict(paths), expected, strict=True):
        assert (mask == other).mean() > 0.99


def test_the_loaded_network_gives_the_scores_of_the_stored_one(network: TrainedNet, run_folder: Path) -> None:
    images = torch.randint(0, 256, (2, 3, 65, 65), dtype=torch.uint8)
    assert torch.equal(network(images), load_network(run_folder)(images))


ARRAY = np.zeros((8, 9, 3), np.uint8)


@pytest.mark.parametrize(
    ("image", "options", "said"),
    [
        (ARRAY[..., 0], {}, r"An array \(8, 9\) of the type uint8 is not an image: give a path"),
        (ARRAY / 255, {}, "of the type float64 is not an image"),
        (ARRAY[:0], {}, r"An array \(0, 9, 3\)"),
        (torch.zeros(3, 8, 9), {}, "of the type Tensor cannot be read: give a path"),
        ("absent.jpg", {}, r"There is no image at absent\.jpg"),
        (".", {}, r"\. is a folder, not an image"),
        (ARRAY, {"labels": "cta"}, "'cta' is not a class. Did you mean 'cat'"),
        (ARRAY, {"labels": [21]}, "'21' is not a class"),
        ([ARRAY] * 2, {"labels": "cat"}, "labels='cat' for a list of 2 images"),
        ([ARRAY] * 2, {"labels": ["cat"]}, "labels=1 items for a list of 2 images"),
        (ARRAY, {"crf": "paper"}, "crf='paper': give True, False"),
        (ARRAY, {"crf": {"bilateral": 3}}, "crf has no setting 'bilateral'. Did you mean 'bilateral_"),
        (ARRAY, {"crf": {"backend": "latice"}}, "Did you mean 'lattice'"),
        (ARRAY, {"crf": {"_target_": "json.JSONEncoder", "backend": None}}, r"give plugins=\[json\]"),
        (ARRAY, {"inference": {"scale": [1]}}, "inference has no setting 'scale'. Did you mean 'scales'"),
        (ARRAY, {"inference": {"scales": [0]}}, r"inference.scales=\[0\]: give a list of numbers"),
    ],
)
def test_wrong_arguments_are_named(network: TrainedNet, image: Any, options: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        network.predict(image, **options)


def test_a_crf_of_a_package_that_load_names_is_used(
    run_folder: Path, paths: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_crf.py").write_text(
        "class OnlyFirst:\n"
        "    def __init__(self, params, gradient): pass\n"
        "    def __call__(self, logits, images, /):\n"
        "        return logits.exp() * 0 + (logits == logits[:, :1]).float()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    own = {"_target_": "my_crf.OnlyFirst", "backend": None}
    mask = secseg.load(run_folder, plugins=["my_crf"]).predict(paths[0], crf=own)
    assert set(np.unique(mask)) == {0}
    with pytest.raises(UserError, match="my_crf"):
        secseg.load(run_folder).predict(paths[0], crf=own)
