"""Caffe's weights give Caffe's scores, are matched strictly by name, and the report lists every tensor."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import secseg
from secseg.data.classes import VOC_CLASSES
from secseg.models import build_network
from secseg.models.files.caffe import import_caffe, read_caffe
from secseg.models.files.export import export_caffe
from secseg.utils.errors import UserError
from tests.models import caffemodel as write
from tests.reference import caffe

NODE = {
    "name": "vgg16_largefov",
    "input_size": 65,
    "freeze": False,
    "trunk": {"_target_": "secseg.models.vgg.VGG16LargeFOV", "weights": None},
    "head": {"_target_": "secseg.models.head.LargeFOVHead"},
}
WIDTHS = {"1": 64, "2": 128, "3": 256, "4": 512, "5": 512}
Blobs = dict[str, list[np.ndarray]]


@pytest.fixture(scope="module")
def blobs() -> Blobs:
    """Random weights of the published network's shapes, scaled so that the scores are of the order of 1."""
    rng = np.random.default_rng(0)
    layers: Blobs = {}
    inputs = 3
    shapes = {f"conv{n}": (WIDTHS[n[0]], 3) for stage in caffe.STAGES for n in stage}
    for name, (width, side) in {**shapes, "fc6": (1024, 3), "fc7": (1024, 1), "fc8-SEC": (21, 1)}.items():
        scale = (2 / (inputs * side**2)) ** 0.5 / (50 if name == "conv1_1" else 1)
        weight = rng.standard_normal((width, inputs, side, side), dtype=np.float32) * np.float32(scale)
        layers[name] = [weight, rng.standard_normal(width, dtype=np.float32)]
        inputs = width
    return layers


@pytest.fixture(scope="module")
def model(blobs: Blobs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("caffe") / "SEC.caffemodel"
    path.write_bytes(write.net(blobs, v1=True))
    yield path
    path.unlink()  # 80 MB


@pytest.fixture(scope="module")
def given(model: Path) -> dict[str, Tensor]:
    return read_caffe(model)


@pytest.fixture(scope="module")
def wanted() -> dict[str, Tensor]:
    with torch.device("meta"):
        return build_network(NODE, VOC_CLASSES, weights=False).state_dict()


@pytest.mark.parametrize("size", [65, 70])
def test_the_imported_network_gives_the_scores_of_caffes_forward_pass(
    given: dict[str, Tensor], blobs: Blobs, size: int
) -> None:
    with torch.device("meta"):  # without initialisation, which would take a second
        network = build_network(NODE, VOC_CLASSES, weights=False).eval()
    network.load_state_dict(import_caffe(given, network.state_dict(), "SEC.caffemodel").state, assign=True)
    image = np.random.default_rng(1).integers(0, 256, (size, size, 3), dtype=np.uint8)
    expected = caffe.large_fov(image, {name: (w, b) for name, (w, b) in blobs.items()}, "fc8-SEC")
    with torch.inference_mode():
        scores = network(torch.from_numpy(image.transpose(2, 0, 1).copy())[None])[0]
    assert expected.std() > 0.1
    torch.testing.assert_close(scores, torch.from_numpy(expected), atol=1e-4, rtol=1e-4)


def test_every_tensor_of_both_sides_is_in_the_report(given: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    more = {**given, "fc9.weight": torch.zeros(3, 2), "conv1_1.blob2": torch.zeros(1)}
    imported = import_caffe(more, wanted, "SEC.caffemodel")
    rows = {row.theirs: (row.ours, row.shape, row.action) for row in imported.report}
    assert rows.keys() == more.keys()
    assert {ours for ours, _, action in rows.values() if action == "copied"} == wanted.keys() == imported.state.keys()
    assert rows["fc8-SEC.bias"] == ("head.classifier.bias", (21,), "copied")
    assert rows["conv5_3.weight"] == ("trunk.layers.conv5_3.weight", (512, 512, 3, 3), "copied")
    assert rows["fc9.weight"] == (None, (3, 2), "ignored")
    assert rows["conv1_1.blob2"] == (None, (1,), "ignored")
    lines = imported.table().splitlines()
    assert len(lines) == 1 + len(more)
    assert "fc6.weight head.fc6.weight 1024 x 512 x 3 x 3 copied" in {" ".join(line.split()) for line in lines}


@pytest.mark.parametrize("classes", [None, 1000])
def test_the_classifier_is_initialised_if_the_file_has_none_or_one_for_other_classes(
    given: dict[str, Tensor], wanted: dict[str, Tensor], classes: int | None
) -> None:
    initial = {name: tensor for name, tensor in given.items() if not name.startswith("fc8")}
    if classes:
        initial |= {"fc8_imagenet.weight": torch.zeros(classes, 1024, 1, 1), "fc8_imagenet.bias": torch.zeros(classes)}
    imported = import_caffe(initial, wanted, "20M")
    initialised = [row.ours for row in imported.report if row.action == "initialised"]
    assert initialised == ["head.classifier.weight", "head.classifier.bias"]
    assert imported.state.keys() == wanted.keys() - set(initialised)
    ignored = [row.theirs for row in imported.report if row.action == "ignored"]
    assert ignored == (["fc8_imagenet.weight", "fc8_imagenet.bias"] if classes else [])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"conv3_2.weight": None, "conv3_2.bias": None}, r"missing: conv3_2\.weight \(256, 256, 3, 3\)"),
        ({"fc7.bias": None}, r"missing: fc7\.bias"),
        ({"fc6.weight": (4096, 512, 7, 7)}, r"other shape: fc6\.weight is \(4096, 512, 7, 7\)"),
        ({"conv1_1.weight": (64, 3, 9, 1)}, r"other shape: conv1_1\.weight"),
        ({"conv1_1.bias": (64, 1, 1, 1)}, r"other shape: conv1_1\.bias"),
        ({"fc8_voc12.weight": (21, 1024, 1, 1)}, "several last layers: fc8-SEC, fc8_voc12"),
    ],
)
def test_tensors_that_do_not_fit_are_refused_by_their_names_in_the_file(
    given: dict[str, Tensor], wanted: dict[str, Tensor], changes: dict[str, tuple[int, ...] | None], said: str
) -> None:
    changed = dict(given)
    for name, shape in changes.items():
        if shape is None:
            del changed[name]
        else:
            changed[name] = torch.zeros(1).expand(shape)
    with pytest.raises(UserError, match=said):
        import_caffe(changed, wanted, "SEC.caffemodel")


def test_values_that_are_not_finite_are_refused(given: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    with pytest.raises(UserError, match=r"SEC.caffemodel is damaged: .* conv4_1\.bias"):
        import_caffe({**given, "conv4_1.bias": torch.full((512,), float("inf"))}, wanted, "SEC.caffemodel")


def test_further_blobs_of_a_layer_are_numbered(tmp_path: Path) -> None:
    (tmp_path / "net.caffemodel").write_bytes(write.net({"bn": [np.full(n, n, np.float32) for n in (1, 2, 3)]}))
    read = {name: tensor.tolist() for name, tensor in read_caffe(tmp_path / "net.caffemodel").items()}
    assert read == {"bn.weight": [1], "bn.bias": [2, 2], "bn.blob2": [3, 3, 3]}


def test_a_state_dict_with_caffes_names_after_a_prefix_is_read_as_the_model(tmp_path: Path) -> None:
    bias = torch.arange(3.0)
    for prefix in ("", "features.", "module.features."):
        torch.save({f"{prefix}conv1_1.bias": bias, f"{prefix}fc8-SEC.bias": bias + 1}, tmp_path / "sec.pth")
        read = read_caffe(tmp_path / "sec.pth")
        assert list(read) == ["conv1_1.bias", "fc8-SEC.bias"]
        assert torch.equal(read["fc8-SEC.bias"], bias + 1)
    torch.save({"a.fc6.bias": bias, "b.fc6.bias": bias}, tmp_path / "two.pth")
    with pytest.raises(UserError, match=r"two tensors that end in fc6\.bias"):
        read_caffe(tmp_path / "two.pth")


def test_training_loads_trunk_fc6_and_fc7_from_a_caffemodel_and_initialises_the_classifier(
    model: Path, blobs: Blobs, caplog: pytest.LogCaptureFixture
) -> None:
    node = {**NODE, "trunk": {**NODE["trunk"], "weights": str(model)}}
    with caplog.at_level(logging.INFO):
        network = build_network(node, VOC_CLASSES)
    for ours, theirs in (("trunk.layers.conv4_2", "conv4_2"), ("head.fc6", "fc6"), ("head.fc7", "fc7")):
        for part, blob in zip(("weight", "bias"), blobs[theirs], strict=True):
            assert np.array_equal(network.get_parameter(f"{ours}.{part}").detach().numpy(), blob)
    assert float(network.head.classifier.weight.detach().std()) == pytest.approx(0.01, rel=0.1)
    assert network.trunk.normalization.order == "bgr"
    assert "fc8-SEC.weight" in caplog.text
    assert "initialised at random" in caplog.text


def test_the_published_network_is_exported_with_vocs_classes_and_loads_with_caffes_weights(
    model: Path, blobs: Blobs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = export_caffe(model, tmp_path / "sec")
    network = secseg.load(tmp_path / "sec")
    (tmp_path / "sec" / "model.safetensors").unlink()  # 80 MB
    assert (network.class_names, network.input_size) == (VOC_CLASSES, 321)
    assert network.trunk.normalization.order == "bgr"
    for ours, theirs in (("trunk.layers.conv1_1", "conv1_1"), ("head.classifier", "fc8-SEC")):
        for part, blob in zip(("weight", "bias"), blobs[theirs], strict=True):
            assert np.array_equal(network.get_parameter(f"{ours}.{part}").detach().numpy(), blob)
    card = " ".join((tmp_path / "sec" / "README.md").read_text("utf-8").split())
    for words in ("`SEC.caffemodel` (SHA-256", "does not describe their training", "secseg did not measure"):
        assert words in card
    assert len(results["report"]) == 2 * len(blobs)
    assert "head.classifier.weight" in capsys.readouterr().out


def test_a_file_of_initial_weights_is_not_exported_as_a_network(
    given: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    initial = {name: tensor for name, tensor in given.items() if not name.startswith("fc8")}
    monkeypatch.setattr("secseg.models.files.export.read_caffe", lambda path: initial)
    (tmp_path / "vgg16_20M.caffemodel").touch()
    with pytest.raises(UserError, match=r"no last layer \(fc8\) for the 21 classes of VOC.*backbone\.trunk\.weights="):
        export_caffe(tmp_path / "vgg16_20M.caffemodel", tmp_path / "out")
    with pytest.raises(UserError, match=r"There is no file .*none\.caffemodel"):
        export_caffe(tmp_path / "none.caffemodel", tmp_path / "out")
    assert not (tmp_path / "out").exists()
