"""The file of a network contains no code and no paths of the machine, and every part of it is validated."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import secseg
from secseg.models import build_network
from secseg.models.files.model_file import FORMAT, write_model
from secseg.models.normalization import CAFFE
from secseg.utils.errors import UserError

NODE: dict[str, Any] = {
    "name": "tiny",
    "input_size": 65,
    "freeze": True,
    "trunk": {
        "_target_": "secseg.models.timm_trunk.TimmTrunk",
        "model": "test_efficientnet",
        "weights": "/home/someone/pretrained.pth",
        "output_stride": 16,
    },
    "head": {"_target_": "secseg.models.head.LargeFOVHead", "width": 8, "dilation": 2},
}
Header = dict[str, Any]
Change = Callable[[Header], Any]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    write_model(path, build_network(NODE, ["background", "cat"], weights=False), NODE)
    return path


def metadata(model: Path) -> dict[str, str]:
    with safe_open(model, "pt") as file:
        return file.metadata()


def rewritten(model: Path, path: Path, change: Change, state: dict[str, torch.Tensor] | None = None) -> Path:
    """Return a copy of the file whose decoded header was passed through ``change``."""
    header = json.loads(metadata(model)[FORMAT])
    header = change(header) or header
    save_file(state or load_file(model), path, {FORMAT: header if isinstance(header, str) else json.dumps(header)})
    return path


def test_the_file_keeps_a_normalization_that_the_options_of_the_trunk_do_not_determine(tmp_path: Path) -> None:
    network = build_network(NODE, ["background", "cat"], weights=False).eval()
    network.trunk.normalization = CAFFE
    write_model(tmp_path / "model.safetensors", network, NODE)
    loaded = secseg.load(tmp_path / "model.safetensors")
    image = torch.randint(0, 256, (1, 3, 65, 65), dtype=torch.uint8)
    with torch.inference_mode():
        assert torch.equal(loaded(image), network(image))
    assert loaded.trunk.normalization == CAFFE
    assert loaded.freeze


def test_the_file_contains_no_paths_of_the_machine(model: Path) -> None:
    header = metadata(model)[FORMAT]
    assert "someone" not in header
    assert json.loads(header)["network"]["trunk"]["weights"] is None
    assert NODE["trunk"]["weights"], "the caller's node stays as it was"


def test_a_truncated_file_is_refused(model: Path, tmp_path: Path) -> None:
    content = model.read_bytes()
    for end in [*range(0, 2000, 97), *range(2000, len(content), len(content) // 20), len(content) - 1]:
        (tmp_path / "cut").write_bytes(content[:end])
        with pytest.raises(UserError, match="cannot be read"):
            secseg.load(tmp_path / "cut")


def change(*keys: str, to: Any) -> Change:
    def apply(header: Header) -> None:
        for key in keys[:-1]:
            header = header[key]
        if to is None:
            del header[keys[-1]]
        else:
            header[keys[-1]] = to

    return apply


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (change("version", to=2), "has format 2"),
        (change("version", to=None), "is damaged"),
        (change("kind", to="localization"), "holds a localization network. Give the file of a segmentation network"),
        (change("kind", to=None), "is damaged"),
        (lambda header: "{", "is damaged"),
        (lambda header: "[1]", "is damaged"),
        (lambda header: "[" * 100_000, "is damaged"),
        (change("network", to=None), "is damaged"),
        (change("network", to=[1]), "damaged or incomplete"),
        (change("network", "head", to=None), "damaged or incomplete"),
        (change("network", "input_size", to="65"), "damaged or incomplete"),
        (change("class_names", to="cats"), "damaged or incomplete"),
        (change("class_names", to=["background"]), "at least 2 classes"),
        (change("class_names", to=["background", "cat", "dog"]), r"classifier\.weight"),
        (change("normalization", "std", to=[1, 0, 1]), "normalization is not finite"),
        (change("normalization", "mean", to=[1, 2]), "three channels"),
        (change("normalization", "order", to="hsv"), "three channels"),
        (change("network", "head", "width", to=9), "other shape: head.fc6.weight"),
        (change("network", "head", "width", to=10**9), "other shape: head.fc6.weight"),
        (change("network", "head", "width", to=10**30), "cannot be built|cannot be made"),
        (change("network", "head", "width", to="wide"), "width=wide: give a whole number"),
        (change("network", "head", "colour", to="red"), "colour=red"),
        (change("network", "trunk", "model", to="resnet5000"), "timm has no model"),
        (change("network", "trunk", "_target_", to="torch.nn.Identity"), "only what is in secseg"),
        (
            change("network", "trunk", "_target_", to="secseg.models.head.LargeFOVHead"),
            "is no (Trunk|Head)",
        ),
        (change("network", "head", "_target_", to="secseg.utils.files.os.system"), "is no (Trunk|Head)"),
        (change("network", "head", "_target_", to="secseg.nowhere"), "cannot be found"),
        (change("network", "head", "_target_", to=None), "nothing is not allowed"),
    ],
)
def test_a_description_that_is_damaged_or_hostile_is_refused(
    model: Path, tmp_path: Path, spoil: Change, said: str
) -> None:
    path = rewritten(model, tmp_path / "spoilt.safetensors", spoil)
    with pytest.raises(UserError, match=said):
        secseg.load(path)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda state: state.pop("head.fc7.bias"), r"missing: head\.fc7\.bias"),
        (lambda state: state.update(extra=torch.zeros(1)), "unknown: extra"),
        (lambda state: state.update({"head.fc7.bias": torch.zeros(9)}), r"other shape: head\.fc7\.bias"),
        (lambda state: state.update({"head.fc7.bias": torch.zeros(8).half()}), r"another type.*head\.fc7\.bias"),
    ],
)
def test_weights_are_checked_by_name_shape_and_type(
    model: Path, tmp_path: Path, spoil: Callable[[dict[str, torch.Tensor]], Any], said: str
) -> None:
    state = load_file(model)
    spoil(state)
    path = rewritten(model, tmp_path / "spoilt.safetensors", lambda header: None, state)
    with pytest.raises(UserError, match=said):
        secseg.load(path)
