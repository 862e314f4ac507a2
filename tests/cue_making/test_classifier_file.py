"""The file of a trained localization network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from secseg.cue_making.classifier import LocalizationNet, build_localization_net
from secseg.cue_making.classifier_file import FORMAT, load_localization, save_localization
from secseg.models.normalization import CAFFE_RGB
from secseg.utils.errors import UserError
from tests.cue_making.toy import NETWORK
from tests.tiny_network import write_run


@pytest.fixture
def network() -> LocalizationNet:
    torch.manual_seed(0)
    return build_localization_net(NETWORK, ("cat", "dog")).eval()


@pytest.fixture
def path(tmp_path: Path, network: LocalizationNet) -> Path:
    save_localization(tmp_path / "network.safetensors", network, NETWORK)
    return tmp_path / "network.safetensors"


def rewrite(path: Path, **changed: Any) -> None:
    with safe_open(path, "pt") as file:
        header = json.loads(file.metadata()[FORMAT])
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file(state, path, {FORMAT: json.dumps({**header, **changed})})


def test_what_was_saved_gives_the_same_maps_and_saliency(tmp_path: Path, network: LocalizationNet) -> None:
    network.trunk.normalization = CAFFE_RGB
    save_localization(tmp_path / "a.safetensors", network, NETWORK)
    loaded = load_localization(tmp_path / "a.safetensors")
    image = torch.randint(0, 256, (2, 3, 65, 65), dtype=torch.uint8)
    assert torch.equal(loaded.activation_maps(image), network.activation_maps(image))
    assert torch.equal(loaded.saliency(image), network.saliency(image))
    assert (loaded.class_names, loaded.input_size, loaded.training) == (("cat", "dog"), 65, False)
    assert loaded.trunk.normalization == CAFFE_RGB


def test_the_file_does_not_name_where_the_first_weights_came_from(tmp_path: Path, network: LocalizationNet) -> None:
    node = {**NETWORK, "trunk": {**NETWORK["trunk"], "weights": "/home/somebody/vgg.pth"}}
    save_localization(tmp_path / "a.safetensors", network, node)
    assert b"somebody" not in (tmp_path / "a.safetensors").read_bytes()
    load_localization(tmp_path / "a.safetensors")


def test_a_file_that_names_other_code_is_refused(path: Path) -> None:
    rewrite(path, network={**NETWORK, "trunk": {"_target_": "secseg.training.run.train"}})
    with pytest.raises(UserError, match="Do not trust"):
        load_localization(path)


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"version": 2}, "format 2"),
        ({"class_names": ["cat"]}, r"other shape: head\.classifier\.weight"),
        ({"class_names": None}, "damaged"),
        ({"network": {"trunk": {}}}, "damaged"),
        ({"network": []}, "damaged"),
        ({"normalization": {"mean": [1], "std": [1], "order": "rgb"}}, "damaged"),
    ],
)
def test_descriptions_that_do_not_fit_are_told(path: Path, changed: dict[str, Any], problem: str) -> None:
    rewrite(path, **changed)
    with pytest.raises(UserError, match=problem):
        load_localization(path)


def test_other_files_are_refused_with_what_to_give(tmp_path: Path, path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match="damaged"):
        load_localization(path)
    with pytest.raises(UserError, match="There is no localization network"):
        load_localization(tmp_path / "none.safetensors")
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(UserError, match="no localization network"):
        load_localization(tmp_path / "other.safetensors")
    with pytest.raises(UserError, match="cannot be read"):
        load_localization(write_run(tmp_path / "run") / "checkpoints" / "last.ckpt")
